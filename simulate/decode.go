package simulate

import (
	"context"
	"math"
	"slices"
)

// Steps is what some decode steps at one context took.
type Steps struct {
	Median float64 // seconds
	P99    float64 // seconds: no more than one step in a hundred took longer
	Parts  Parts   // of the mean step: what it waited for, along the path that decided when it was done
}

// Decode simulates so many decode steps, one after another, after a context of that many tokens. Where
// nothing is drawn all are alike, and one is simulated. The error is that of ctx.
func (s *Simulation) Decode(ctx context.Context, tokens, steps int) (Steps, error) {
	if !s.drawing() {
		steps = 1
	}
	s.begin()
	s.trace.on = true
	defer func() { s.trace.on = false }()
	f := flow{Simulation: s, decode: true, earlier: tokens, tokens: 1}
	took := make([]float64, steps)
	for i := range took {
		if err := f.run(ctx); err != nil {
			return Steps{}, err
		}
		took[i] = f.now
	}
	slices.Sort(took)
	r := Steps{Median: took[(steps-1)/2], P99: took[int(math.Ceil(0.99*float64(steps)))-1], Parts: f.parts}
	for i := range r.Parts {
		r.Parts[i] /= float64(steps)
	}
	return r, nil
}

// drawing reports whether steps differ by chance.
func (s *Simulation) drawing() bool {
	return s.uneven > 0 || slices.ContainsFunc(s.links, func(l Link) bool { return l.Jitter > 0 })
}

// BestArity is the arity of the tree with which a decode step takes least, in the median of so many. A
// star is not among those tried, except where two children are all there are.
func BestArity(ctx context.Context, c Config, tokens, steps int) (int, error) {
	best, least := 0, math.Inf(1)
	holders := 0
	for _, share := range c.Cost.Plan().Shares {
		if share.Blocks > 0 {
			holders++
		}
	}
	for _, c.Arity = range arities(holders) {
		s, err := New(c)
		if err != nil {
			return 0, err
		}
		r, err := s.Decode(ctx, tokens, steps)
		if err != nil {
			return 0, err
		}
		if r.Median < least {
			best, least = c.Arity, r.Median
		}
	}
	return best, nil
}
