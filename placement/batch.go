package placement

import (
	"math"
	"slices"
)

// BatchRows is how many sequences a step may have.
const BatchRows = 8

// Batch is what it takes until each of several sequences has had its next token: a round of steps, in each of which some of them have theirs.
type Batch struct {
	Step      Step    // one step, on average; with others in flight, as long as it takes then
	Rows      float64 // sequences in it, on average
	Steps     int     // of a round
	Flights   int     // steps that are in flight at a time
	Sequences int
	Busiest   float64 // seconds that a step keeps the processors busy that have most to do for it
}

// Seconds is the time between two tokens of a sequence. Steps follow each other as fast as they go round, or as the busiest node can be done with them.
func (b Batch) Seconds() float64 {
	return float64(b.Steps) * max(b.Step.Seconds()/float64(b.Flights), b.Busiest)
}

// Rate is the tokens/s of all sequences together.
func (b Batch) Rate() float64 { return float64(b.Sequences) / b.Seconds() }

// Batch predicts decode of several sequences, each at a context of that many tokens. Their next tokens go together as package batching puts them: on K nodes with
// layers K steps are in flight, each with its share of the sequences, at most [BatchRows]. A step
//
//   - reads weights once, of experts those that its tokens go to, taken to be any; and multiplies them by all its tokens, which takes longer than by one as [Rates.Rows] tells or,
//     of described nodes, if computing does;
//   - attends to the keys and values of its sequences, one after the other;
//   - exchanges with as many times the bytes, with as many messages;
//   - is handed out when the tokens of the one before are known to who drives, not ahead of them, which takes him a turn for each.
//
// Where several are in flight their nodes are busy at the same time, which is slower where they share memory or processors. Of one sequence it is [Cost.Step].
func (c *Cost) Batch(contexts []int) Batch { return c.batch(crewOf(contexts, len(c.owners)), false) }

// crew is the sequences of a round, as its average step has them.
type crew struct {
	at             []berth // in the order of contexts
	sequences      int
	rows           float64
	steps, flights int
}

// berth is a context, and how many sequences of a step are there.
type berth struct {
	context int
	share   float64
}

// crewOf is what becomes of sequences on so many nodes with layers. There must be one.
func crewOf(contexts []int, nodes int) *crew {
	n := len(contexts)
	most := min((n+nodes-1)/nodes, BatchRows)
	w := &crew{sequences: n, steps: (n + most - 1) / most}
	w.rows, w.flights = float64(n)/float64(w.steps), min(w.steps, nodes)
	sorted := slices.Sorted(slices.Values(contexts))
	for i, context := range sorted {
		if i == 0 || context != sorted[i-1] {
			w.at = append(w.at, berth{context: context})
		}
		w.at[len(w.at)-1].share++
	}
	for i := range w.at {
		w.at[i].share /= float64(w.steps)
	}
	return w
}

// tokens is how many a step attends to in a layer with such a window.
func (w *crew) tokens(window int) (n float64) {
	for _, at := range w.at {
		n += at.share * float64(min(window, at.context))
	}
	return n
}

// many reports whether there are several sequences, whose steps do not follow each other ahead of their tokens.
func (w *crew) many() bool { return w.sequences > 1 }

// batch is Batch, or what it would be if every holder had its share of the tokens at any context.
func (c *Cost) batch(w *crew, byWeight bool) Batch {
	b := Batch{Rows: w.rows, Steps: w.steps, Flights: w.flights, Sequences: w.sequences}
	step, round := c.reads(w)
	busy := make([]float64, len(c.speeds))
	// What stays in the caches goes by how long a step takes, and that by what stays: each round comes nearer, from below.
	const rounds = 6
	for range rounds {
		before := b
		reads := c.readings(step, round, b.Step.Seconds(), b.Seconds())
		c.beside(reads, w)
		clear(busy)
		b.Step = c.step(w, byWeight, reads, busy)
		b.Busiest = 0
		if w.flights > 1 {
			b.Busiest = c.busiest(busy)
		}
		if b == before {
			break // as of nodes that were not measured, in whose caches nothing is taken to stay
		}
	}
	return b
}

// busiest is for how long the processors are busy that have most to do, if nodes have so much.
func (c *Cost) busiest(busy []float64) (most float64) {
	for _, shared := range c.shared {
		all := 0.0
		for _, j := range shared {
			all += busy[j]
		}
		most = max(most, all)
	}
	return most
}

// beside makes what is read from memory as much slower as it is with nodes of the same machine at other steps at the same time.
func (c *Cost) beside(reads []readings, w *crew) {
	if w.flights == 1 {
		return
	}
	for _, o := range c.owners {
		others := 0.0
		for _, p := range c.owners {
			if slices.Contains(c.cache[o.node], p.node) && !slices.Contains(c.shared[o.node], p.node) {
				others++
			}
		}
		apart := len(c.cache[o.node]) - len(c.shared[o.node])
		if others == 0 || c.speeds[o.node].rates == nil {
			continue
		}
		busy := min(float64(w.flights-1)/float64(len(c.owners)-1), 1)
		slower := 1 + (c.speeds[o.node].atOnce.slower-1)*busy*others/float64(apart)
		reads[o.node].weights.slower *= slower
		reads[o.node].own.slower *= slower
	}
}

// weightsOf is what a step of so many tokens reads of a layer, and by how many of them each weight is multiplied.
func (c *Cost) weightsOf(layer int, rows float64) (weights stored, each float64) {
	weights = c.reading[layer]
	if c.work.ExpertShare == nil || c.work.ExpertShare[layer] == 0 || rows == 1 {
		return weights, rows
	}
	// An expert that the first token does not go to is left out by each other one with the same probability.
	others := (float64(c.model.LayerBytes[layer]) - weights.bytes) * (1 - math.Pow(1-c.work.ExpertShare[layer], rows-1))
	more := 1 + others/max(weights.bytes, 1)
	return weights.times(more), rows / more
}
