package bench

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/orrery-ai/orrery"
	"github.com/orrery-ai/orrery/placement"
)

// Comparison says how predicted and measured speeds of decoding are to be held against each other, in rounds: what
// predictions go by is measured, then every mode at every depth for a short while, then what predictions go by again. A run is held
// against the mean of what was predicted just before and just after it, so that a machine that is faster for some seconds and then
// slower is so for both.
type Comparison struct {
	Depths []int         // tokens in the cache when the first round begins
	Modes  []orrery.Mode // in each round another one comes first
	Tokens int           // of a run, fewer where they would take more than a third of a second
	Rounds int
	Costs  func(context.Context) (map[orrery.Mode]*placement.Cost, error) // measures, and predicts from that
	Done   func(round int)                                                // told of each round when it is over; may be nil
}

// Compared is what became of one mode at one depth.
type Compared struct {
	Depth int
	Mode  orrery.Mode
	Runs  []Run // one for each round
}

// Run is a short time of decoding.
type Run struct {
	Context   int     // in the middle of it
	Speed     float64 // tokens/s: 1 over the median time between two tokens
	Predicted float64 // tokens/s
}

// Speed is what the runs measured, in tokens/s.
func (c *Compared) Speed() Spread { return c.spread(func(r Run) float64 { return r.Speed }) }

// Predicted is what was predicted of them, in tokens/s.
func (c *Compared) Predicted() Spread { return c.spread(func(r Run) float64 { return r.Predicted }) }

// Ratio is how many times faster than predicted the runs were.
func (c *Compared) Ratio() Spread {
	return c.spread(func(r Run) float64 { return r.Speed / r.Predicted })
}

func (c *Compared) spread(of func(Run) float64) Spread {
	values := make([]float64, len(c.Runs))
	for i, r := range c.Runs {
		values[i] = of(r)
	}
	return SpreadOf(values)
}

const (
	runFor       = time.Second / 3
	fewestTokens = 8 // of a run
)

// room is the tokens that a session has room for beyond its depth.
func (o *Comparison) room() int { return (o.Rounds + 1) * (max(o.Tokens, fewestTokens) + warm + 1) }

// Context is the context with which a model must be loaded.
func (o *Comparison) Context() int { return slices.Max(o.Depths) + o.room() }

// Sequences is how many sequences of that context it must be loaded for.
func (o *Comparison) Sequences() int { return len(o.Depths) * len(o.Modes) }

func (o *Comparison) check() error {
	if len(o.Depths) == 0 || len(o.Modes) == 0 || slices.Min(o.Depths) < 0 || o.Tokens < 1 || o.Rounds < 1 || o.Costs == nil {
		return fmt.Errorf("bench: %d depths, %d modes, %d tokens, %d rounds: there must be some of each, and a way to predict", len(o.Depths), len(o.Modes), o.Tokens, o.Rounds)
	}
	return nil
}

// compared is a mode at a depth on its way.
type compared struct {
	Compared
	session *orrery.Session
	step    time.Duration // the median of the last run
}

// Run compares. Every mode at every depth has a session of its own, which the rounds lengthen.
func (o *Comparison) Run(ctx context.Context, m *orrery.Model) ([]Compared, error) {
	if err := o.check(); err != nil {
		return nil, err
	}
	var all []*compared
	defer func() {
		for _, c := range all {
			c.session.Close()
		}
	}()
	for _, depth := range o.Depths {
		for _, mode := range o.Modes {
			s, err := m.NewSession(ctx, orrery.SessionOptions{Mode: mode, Context: depth + o.room()})
			if err != nil {
				return nil, fmt.Errorf("%v at %d tokens: %w", mode, depth, err)
			}
			c := &compared{Compared: Compared{Depth: depth, Mode: mode}, session: s}
			all = append(all, c)
			if depth > 0 {
				if err := fill(ctx, s, depth); err != nil {
					return nil, fmt.Errorf("%v at %d tokens: %w", mode, depth, err)
				}
			}
			if _, err := c.run(ctx, m, fewestTokens); err != nil { // with cold code, and to know how long a step takes
				return nil, err
			}
		}
	}
	return o.rounds(ctx, m, all)
}

func (o *Comparison) rounds(ctx context.Context, m *orrery.Model, all []*compared) ([]Compared, error) {
	before, err := o.Costs(ctx)
	if err != nil {
		return nil, err
	}
	for round := range o.Rounds {
		var runs []Run
		for i := range all {
			c := all[o.place(round, i)]
			r, err := c.run(ctx, m, min(o.Tokens, max(int(runFor/max(c.step, 1)), fewestTokens)))
			if err != nil {
				return nil, err
			}
			runs = append(runs, r)
		}
		after, err := o.Costs(ctx)
		if err != nil {
			return nil, err
		}
		for i, r := range runs {
			c := all[o.place(round, i)]
			was, is := before[c.Mode], after[c.Mode]
			if was == nil || is == nil {
				return nil, fmt.Errorf("bench: nothing is predicted of mode %v", c.Mode)
			}
			r.Predicted = 2 / (was.Step(r.Context).Seconds() + is.Step(r.Context).Seconds())
			c.Runs = append(c.Runs, r)
		}
		before = after
		if o.Done != nil {
			o.Done(round)
		}
	}
	results := make([]Compared, len(all))
	for i, c := range all {
		results[i] = c.Compared
	}
	return results, nil
}

// place is whose run is number i of a round: one depth comes after another, and their modes take turns to be the first.
func (o *Comparison) place(round, i int) int {
	n := len(o.Modes)
	return i/n*n + (i+round)%n
}

// run decodes so many tokens.
func (c *compared) run(ctx context.Context, m *orrery.Model, tokens int) (Run, error) {
	stats, err := generate(ctx, c.session, someIDs(1, m.Vocab()), tokens+warm, nil)
	if err != nil {
		return Run{}, fmt.Errorf("%v at %d tokens: %w", c.Mode, c.Depth, err)
	}
	gaps := slices.Sorted(slices.Values(stats.Gaps[warm-1:]))
	c.step = gaps[len(gaps)/2]
	return Run{Context: stats.Length + warm + tokens/2, Speed: 1 / max(c.step, 1).Seconds()}, nil
}
