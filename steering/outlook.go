package steering

import (
	"math"
	"slices"

	"github.com/orrery-ai/orrery/placement"
)

// outlook is what a pilot goes by when it decides: how many sequences there are, and what was learned until then. Contexts are those of its own
// sequence; steps are those of all of them in one mode, with caches as long as theirs are on average.
type outlook struct {
	*Pilot
	sequences int
	in        [placement.Ring + 1]int // of the others
	longer    int                     // tokens by which a cache is longer than its own, on average
	factors   [placement.Ring + 1]factor
}

// outlook is that of a sequence with so many tokens in its cache, or soon, if there are so many.
func (p *Pilot) outlook(sequences, context int, o *Others) *outlook {
	v := &outlook{Pilot: p, sequences: sequences, factors: p.lessons.factors(sizeOf(sequences))}
	if n := o.Sequences(); n > 0 && sequences > 1 {
		v.in, v.longer = o.In, longer(sequences, context, o)
	}
	return v
}

// longer is by how many tokens the caches of so many sequences are longer than that of one, on average.
func longer(sequences, context int, o *Others) int {
	if n := o.Sequences(); n > 0 {
		return (o.Tokens/n - context) * (sequences - 1) / sequences
	}
	return 0
}

// predicted is one step before correction. Without predictions all are alike, and the correction is the time.
func (v *outlook) predicted(m placement.Mode, context int) float64 {
	if v.predict == nil {
		return 1
	}
	return v.predict.Step(m, v.sequences, max(context+v.longer, 0))
}

// known reports whether there is anything to go by for a mode.
func (v *outlook) known(m placement.Mode) bool { return v.predict != nil || v.factors[m].measured }

// step is one step, corrected.
func (v *outlook) step(m placement.Mode, context int) float64 {
	return v.factors[m].median * v.predicted(m, context)
}

// writing is the time of so many steps from a context on. Steps grow almost linearly with it.
func (v *outlook) writing(m placement.Mode, context, tokens int) float64 {
	const parts = 4
	sum := 0.0
	for i := range parts {
		sum += v.predicted(m, context+(2*i+1)*tokens/(2*parts))
	}
	return v.factors[m].median * sum / parts * float64(tokens)
}

// moveFactor bounds how far switches that were measured correct predictions: there are few of them.
const moveFactor = 10

// move is the time of a switch, corrected.
func (v *outlook) move(from, to placement.Mode, context int) float64 {
	if v.predict == nil {
		return 0
	}
	cost := v.predict.Move(from, to, context)
	return cost * min(max(v.lessons.moves.factor(1).median, 1./moveFactor), moveFactor)
}

// possible is the modes that the sequence may be in, those left out to which switches have failed, or of which
// nothing sensible is predicted.
func (v *outlook) possible(context int) []placement.Mode {
	return slices.DeleteFunc(slices.Clone(v.modes), func(m placement.Mode) bool {
		f, step := v.failures[m], v.predicted(m, context)
		return m != v.mode && (f.times >= maxFailures || context < f.context || !(step > 0 && step < math.MaxFloat64))
	})
}

// uncertain is by how much two modes may seem to differ because of noise in what was measured, as a part.
func (v *outlook) uncertain(a, b placement.Mode) float64 {
	return certain * math.Hypot(v.factors[a].error, v.factors[b].error)
}

// weighed is a change of mode with what it would bring, in seconds.
type weighed struct {
	to         placement.Mode
	now, then  float64 // a step
	gain, cost float64 // over the tokens to come
	pays       bool    // by the package's rules
}

// weigh looks at a change at a context, with so many tokens to come. All who are not there yet are to follow, over the same links.
func (v *outlook) weigh(from, to placement.Mode, context, left int) weighed {
	w := weighed{to: to, now: v.step(from, context), then: v.step(to, context),
		cost: v.move(from, to, context) * float64(max(v.sequences-v.in[to], 1)),
		gain: v.writing(from, context, left) - v.writing(to, context, left)}
	sure := margin + v.uncertain(from, to)
	if v.in[to] > 0 {
		sure = 0 // to be apart costs more than either mode
	}
	follow := v.sequences == 1 || v.in[to] > 0 || left >= steady/2 // the others, while it still writes
	w.pays = follow && w.then < (1-sure)*w.now && w.gain > worth*w.cost
	return w
}

// untried is a mode of which nothing is known, or 0. The present one must be known, to compare with.
func (v *outlook) untried() placement.Mode {
	if !v.factors[v.mode].measured {
		return 0
	}
	for _, m := range v.modes {
		if !v.factors[m].measured && !v.lessons.tried[m] && v.failures[m].times == 0 {
			return m
		}
	}
	return 0
}

// course is how a job may go: in a mode, and from some length on perhaps in another one.
type course struct {
	mode, then placement.Mode
	from       int // tokens in the cache at which it changes
	seconds    float64
	apart      bool // there are others, and none of them is in the mode in which it ends
}

func (c course) last() placement.Mode {
	if c.then != 0 {
		return c.then
	}
	return c.mode
}

// weight is the course's time, and a hundredth more if it changes on the way: for less than that one that goes
// straight is better. For less than a twentieth the others would not follow.
func (c course) weight() float64 {
	weight := c.seconds
	if c.then != 0 {
		weight *= 1.01
	}
	if c.apart {
		weight *= 1 + margin
	}
	return weight
}

// changesAt is at how many points of an answer a change is considered for a course.
const changesAt = 8

// course is the fastest that begins in a mode.
func (v *outlook) course(m placement.Mode, context, prompt, tokens int) course {
	full := context + prompt
	best := course{mode: m, seconds: v.writing(m, full, tokens)}
	for _, other := range v.possible(full) {
		for i := range changesAt {
			if other == m {
				break
			}
			before := i * tokens / changesAt
			w := v.weigh(m, other, full+before, tokens-before)
			seconds := v.writing(m, full, before) + w.cost + v.writing(other, full+before, tokens-before)
			if w.pays && seconds < best.seconds {
				best = course{mode: m, then: other, from: full + before, seconds: seconds}
			}
		}
	}
	best.seconds += v.predict.Prefill(m, context, prompt)
	best.apart = v.sequences > 1 && v.in[best.last()] == 0
	return best
}
