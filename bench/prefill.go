package bench

import (
	"context"
	"fmt"
	"slices"

	"github.com/orrery-ai/orrery"
)

// Prefilling says which prompts to have a loaded model read.
type Prefilling struct {
	Depths []int           // tokens in the cache when a prompt begins
	Tokens []int           // of prompts
	Modes  []orrery.Mode   //
	Repeat int             // runs
	Limits *Limits         // of what the nodes compute with, measured before each run, when they have nothing to do; nil: not measured
	Done   func(Prefilled) // told of each as it is there; may be nil
}

// Prefilled is how fast one mode read prompts of a length at a depth.
type Prefilled struct {
	Depth, Tokens int
	Mode          orrery.Mode
	Speed         Spread  // tokens/s
	Operations    float64 // multiplications and additions that the prompt takes
	Peak, Product Spread  // Limits, in operations/s; 0 if there are none
	OfPeak        Spread  // part of Peak that a run reached, measured just before it
	OfProduct     Spread  // likewise
}

// Seconds is the time of the median run.
func (p *Prefilled) Seconds() float64 { return float64(p.Tokens) / p.Speed.Median }

// Rate is the operations/s of the median run.
func (p *Prefilled) Rate() float64 { return p.Operations / p.Seconds() }

// Context is the context with which a model must be loaded. There must be a depth and a prompt.
func (o *Prefilling) Context() int { return slices.Max(o.Depths) + slices.Max(o.Tokens) + 1 }

func (o *Prefilling) check() error {
	if len(o.Depths) == 0 || len(o.Tokens) == 0 || len(o.Modes) == 0 || slices.Min(o.Depths) < 0 || slices.Min(o.Tokens) < 1 || o.Repeat < 1 {
		return fmt.Errorf("bench: %d depths, %d prompts, %d modes, %d runs: there must be some of each", len(o.Depths), len(o.Tokens), len(o.Modes), o.Repeat)
	}
	return nil
}

// warmTokens is a prompt that is read before anything is timed: the first finds buffers cold.
const warmTokens = 64

// Run measures every prompt at every depth in every mode, each run in a session of its own.
func (o *Prefilling) Run(ctx context.Context, m *orrery.Model) ([]Prefilled, error) {
	if err := o.check(); err != nil {
		return nil, err
	}
	var all []Prefilled
	for _, depth := range o.Depths {
		for _, tokens := range o.Tokens {
			for _, mode := range o.Modes {
				p := Prefilled{Depth: depth, Tokens: tokens, Mode: mode, Operations: m.PrefillOperations(depth, tokens)}
				if err := o.measure(ctx, m, &p); err != nil {
					return all, fmt.Errorf("%v, %d tokens behind %d: %w", mode, tokens, depth, err)
				}
				if o.Done != nil {
					o.Done(p)
				}
				all = append(all, p)
			}
		}
	}
	return all, nil
}

func (o *Prefilling) measure(ctx context.Context, m *orrery.Model, p *Prefilled) error {
	if _, err := read(ctx, m, p.Mode, 0, min(warmTokens, p.Tokens)); err != nil {
		return err
	}
	var speeds, peaks, products, ofPeak, ofProduct []float64
	for range o.Repeat {
		peak, product, err := o.limits()
		if err != nil {
			return err
		}
		speed, err := read(ctx, m, p.Mode, p.Depth, p.Tokens)
		if err != nil {
			return err
		}
		speeds = append(speeds, speed)
		if o.Limits != nil {
			rate := speed * p.Operations / float64(p.Tokens)
			peaks, products, ofPeak, ofProduct = append(peaks, peak), append(products, product), append(ofPeak, rate/peak), append(ofProduct, rate/product)
		}
	}
	p.Speed = SpreadOf(speeds)
	if o.Limits != nil {
		p.Peak, p.Product, p.OfPeak, p.OfProduct = SpreadOf(peaks), SpreadOf(products), SpreadOf(ofPeak), SpreadOf(ofProduct)
	}
	return nil
}

func (o *Prefilling) limits() (peak, product float64, err error) {
	if o.Limits == nil {
		return 0, 0, nil
	}
	product, err = o.Limits.Product()
	return o.Limits.Peak(), product, err
}

// read has a prompt read in a session of its own, and returns tokens/s.
func read(ctx context.Context, m *orrery.Model, mode orrery.Mode, depth, tokens int) (float64, error) {
	s, err := m.NewSession(ctx, orrery.SessionOptions{Mode: mode})
	if err != nil {
		return 0, err
	}
	defer s.Close()
	if depth > 0 {
		if err := fill(ctx, s, depth); err != nil {
			return 0, err
		}
	}
	stats, err := generate(ctx, s, someIDs(tokens, m.Vocab()), 1, nil)
	return stats.PrefillRate(), err
}

// PrefilledCurves are the curves of a picture, in tokens/s: one for each mode and length of prompt.
func PrefilledCurves(all []Prefilled) []Curve {
	var curves curves
	for _, p := range all {
		curves.add(fmt.Sprintf("%v, %d tokens", p.Mode, p.Tokens), Point{Depth: p.Depth, Speed: p.Speed})
	}
	return curves
}
