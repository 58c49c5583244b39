package placement

import (
	"fmt"
	"math"
	"slices"
)

// alike is the nodes that have something in common with node i, which is one of them. A node whose machine
// is not known has nothing in common with another.
func alike(nodes []Node, i int, same func(a, b Node) bool) []int {
	if nodes[i].Machine == "" {
		return []int{i}
	}
	var all []int
	for j, n := range nodes {
		if same(nodes[i], n) {
			all = append(all, j)
		}
	}
	return all
}

// reads is how many bytes all nodes of each node's machine read from one step to the next, until they read the same weights again, and from one round to the next, until they read
// the same keys and values again.
func (c *Cost) reads(w *crew) (step, round []float64) {
	reads, keys := make([]float64, len(c.speeds)), make([]float64, len(c.speeds)) // of a step, and of them keys and values
	attends := func(node, layer int, tokens float64) {
		bytes := tokens * float64(c.model.KVBytesPerToken[layer])
		reads[node], keys[node] = reads[node]+bytes, keys[node]+bytes
	}
	all := w.tokens(math.MaxInt)
	for _, o := range c.owners {
		for l := o.layers.First; l < o.layers.End; l++ {
			reads[o.node] += float64(c.model.LayerBytes[l])
			if window := c.model.window(l); window > 0 {
				attends(o.node, l, w.tokens(window))
			} else if c.plan.Mode == Pipeline {
				attends(o.node, l, all)
			}
		}
		if o.layers.End == len(c.model.LayerBytes) {
			reads[o.node] += float64(c.work.HeadRead)
		}
	}
	if c.plan.Mode != Pipeline {
		for l := range c.model.KVBytesPerToken {
			for j, s := range c.plan.Shares {
				if c.model.window(l) == 0 {
					attends(j, l, s.TokenWeight*all)
				}
			}
		}
	}
	step, round = make([]float64, len(reads)), make([]float64, len(reads))
	for i := range step {
		for _, j := range c.cache[i] {
			step[i] += reads[j]
			round[i] += reads[j] + float64(w.steps-1)*keys[j]
		}
	}
	return step, round
}

// readings is how a node reads in a step.
type readings struct {
	weights reading
	own     reading // keys and values that nodes attend to in turn
	held    reading // and at once, for which crowd knows how much longer still memory takes
}

// readings is how each node reads in a step, if all nodes of its machine read so many bytes until they read the same weights and the same keys again, so long after.
func (c *Cost) readings(step, round []float64, again, around float64) []readings {
	all := make([]readings, len(c.speeds))
	for i, s := range c.speeds {
		if s.rates == nil {
			continue
		}
		b := &s.atOnce
		if c.plan.Mode == Pipeline {
			b = &s.inTurn
		}
		all[i] = readings{
			weights: reading{b.weights.share(step[i], again), 1},
			own:     reading{s.inTurn.keys.share(round[i], around), s.inTurn.slower},
			held:    reading{s.atOnce.keys.share(round[i], around), s.inTurn.slower},
		}
	}
	return all
}

// crowd turns what nodes would take alone, some of it to read from memory, into what they take at once: those on the same processors
// together as long as was measured of as many alike, and those that share a machine's memory as much longer for what comes from there as
// was measured of them all.
func (c *Cost) crowd(times, memory []float64) {
	alone := append([]float64(nil), times...)
	for i, s := range c.speeds {
		if s.rates == nil || alone[i] == 0 {
			continue
		}
		busy, sum := 0, 0.0
		for _, j := range c.shared[i] {
			if alone[j] > 0 {
				busy++
				sum += alone[j]
			}
		}
		fromMemory := memory[i] / alone[i]
		times[i] = max(alone[i], sum/float64(busy)*s.rates.crowd(busy))
		if len(c.cache[i]) == len(c.shared[i]) {
			continue
		}
		others := 0.0
		for _, j := range c.cache[i] {
			if alone[j] > 0 && !slices.Contains(c.shared[i], j) {
				others++
			}
		}
		times[i] *= 1 + fromMemory*(s.atOnce.slower-1)*others/float64(len(c.cache[i])-len(c.shared[i]))
	}
}

// ShareMemory tells what was measured of each node beside the others of its machine. Without it, or where nothing was, predictions take each node to have the memory to itself, and the caches to hold as much for
// several nodes as for one that reads as much as they do.
func (c *Cost) ShareMemory(together []Together) error {
	if len(together) != len(c.speeds) {
		return fmt.Errorf("placement: what %d of %d nodes are to the others of their machine", len(together), len(c.speeds))
	}
	for i := range together {
		if err := together[i].Check(); err != nil {
			return fmt.Errorf("placement: node %s: %w", c.plan.Shares[i].Node, err)
		}
	}
	for i := range c.speeds {
		s := &c.speeds[i]
		turn, once := together[i].Turn, together[i].Once
		if c.plan.Mode == Ring {
			once = together[i].Ring
		}
		if s.rates == nil || !turn.Known() {
			continue
		}
		alone := among(&turn, turn.Cached[:])
		strangers := alone.intrusion(s.rates)
		s.inTurn = newBeside(&turn, strangers)
		s.atOnce = beside{s.inTurn.keys, s.inTurn.weights, 1}
		if once.Known() {
			s.atOnce = newBeside(&once, strangers)
			s.atOnce.slower = max(once.Slower/turn.Slower, 1)
		}
	}
	return nil
}

// DriveFrom tells the way between each node and the process that drives the steps: it hands a step to the
// first owner, and gets the token from the last, which a step waits for if they are not the same node; and how many seconds it takes from the one to the other, 0 if that is
// not known. Without it, predictions take the token to go from the last owner to the first.
func (c *Cost) DriveFrom(ways []Link, turn float64) error {
	if !(turn >= 0 && turn <= maxLatency) {
		return fmt.Errorf("placement: who drives takes %v seconds between two steps, which is not in 0..%d", turn, maxLatency)
	}
	if len(ways) != len(c.speeds) {
		return fmt.Errorf("placement: ways to %d of %d nodes", len(ways), len(c.speeds))
	}
	for _, l := range ways {
		if err := l.check(); err != nil {
			return fmt.Errorf("placement: the way from who drives: %w", err)
		}
	}
	c.driver, c.turn = ways, turn
	return nil
}
