package bench

import (
	"context"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/orrery-ai/orrery"
	"github.com/orrery-ai/orrery/device/cpu"
	"github.com/orrery-ai/orrery/placement"
)

// Decoding says what to measure of a loaded model.
type Decoding struct {
	Depths []int                                                          // tokens in the cache when it begins
	Modes  []orrery.Mode                                                  //
	Batch  int                                                            // sequences that generate at the same time
	Tokens int                                                            // of each to generate in each run
	Repeat int                                                            // runs
	Plain  *cpu.PlainRead                                                 // by as many threads as the nodes have, before each run, when they have nothing to do; nil, or several sequences: not measured
	Done   func(Decoded)                                                  // told of each as it is there; may be nil
	Costs  func(context.Context) (map[orrery.Mode]*placement.Cost, error) // measures, and predicts from that; nil: nothing is predicted
}

// Decoded is how fast one mode was at one depth.
type Decoded struct {
	Depth     int
	Mode      orrery.Mode
	Speed     Spread  // tokens/s of all sequences together
	StepBytes int64   // weights and KV cache that a step reads; 0 with several sequences, of which as many share the weights as have gone together
	Read      Spread  // Plain, in bytes/s; 0 if there is none
	OfRead    Spread  // part of Plain that a run reached, measured just before it; 0 if there is none
	Predicted float64 // tokens/s of all sequences, the mean of what was predicted before and after the runs at this depth; 0: it was not predicted
}

// Seconds is the time between two tokens, of whichever sequence, in the median run.
func (d *Decoded) Seconds() float64 { return 1 / d.Speed.Median }

// ReadRate is how many bytes/s the median run read; 0 where StepBytes is.
func (d *Decoded) ReadRate() float64 { return float64(d.StepBytes) * d.Speed.Median }

// warm is the tokens of a run before those that are timed: its first fills buffers, its second is the first that
// follows another.
const warm = 2

// idleAfter is when nodes have nothing to do after a run: they may spin for some time for the next message, see
// [orrery.SynchFast], which would slow the plain read; and one that notices that it was stopped does not spin in the run.
const idleAfter = 10 * time.Millisecond

// Context is the context with which a model must be loaded: each run adds a prompt of one token to what it
// generates. There must be a depth.
func (o *Decoding) Context() int {
	return slices.Max(o.Depths) + o.Repeat*(o.Tokens+warm+1)
}

func (o *Decoding) check() error {
	if len(o.Depths) == 0 || len(o.Modes) == 0 || slices.Min(o.Depths) < 0 || o.Batch < 1 || o.Tokens < 1 || o.Repeat < 1 {
		return fmt.Errorf("bench: %d depths, %d modes, %d sequences, %d tokens, %d runs: there must be some of each", len(o.Depths), len(o.Modes), o.Batch, o.Tokens, o.Repeat)
	}
	return nil
}

// Run measures every mode at every depth, in sessions of their own, which the runs lengthen: they begin at
// the depth and a few tokens beyond.
func (o *Decoding) Run(ctx context.Context, m *orrery.Model) ([]Decoded, error) {
	if err := o.check(); err != nil {
		return nil, err
	}
	var all []Decoded
	before, err := o.costs(ctx)
	if err != nil {
		return nil, err
	}
	for _, depth := range o.Depths {
		first := len(all)
		for _, mode := range o.Modes {
			d, err := o.measure(ctx, m, depth, mode)
			if err != nil {
				return all, fmt.Errorf("%v at %d tokens: %w", mode, depth, err)
			}
			if o.Done != nil {
				o.Done(d)
			}
			all = append(all, d)
		}
		after, err := o.costs(ctx)
		if err != nil {
			return all, err
		}
		for i := range all[first:] {
			d := &all[first+i]
			if was, is := before[d.Mode], after[d.Mode]; was != nil && is != nil {
				contexts := slices.Repeat([]int{depth}, o.Batch)
				d.Predicted = 2 * float64(o.Batch) / (was.Batch(contexts).Seconds() + is.Batch(contexts).Seconds())
			}
		}
		before = after
	}
	return all, nil
}

// costs is Costs, if there is such.
func (o *Decoding) costs(ctx context.Context) (map[orrery.Mode]*placement.Cost, error) {
	if o.Costs == nil {
		return nil, nil
	}
	return o.Costs(ctx)
}

func (o *Decoding) measure(ctx context.Context, m *orrery.Model, depth int, mode orrery.Mode) (Decoded, error) {
	var sessions []*orrery.Session
	defer func() {
		for _, s := range sessions {
			s.Close()
		}
	}()
	for range o.Batch {
		s, err := m.NewSession(ctx, orrery.SessionOptions{Mode: mode})
		if err != nil {
			return Decoded{}, err
		}
		sessions = append(sessions, s)
		if depth > 0 {
			if err := fill(ctx, s, depth); err != nil {
				return Decoded{}, err
			}
		}
	}
	d := Decoded{Depth: depth, Mode: mode}
	plain := o.Plain != nil && o.Batch == 1
	if o.Batch == 1 {
		d.StepBytes = m.StepBytes(depth)
	}
	var speeds, reads, ofRead []float64
	for range o.Repeat {
		read := 0.0
		if plain {
			time.Sleep(idleAfter)
			read = o.Plain.Rate(0)
		}
		speed, err := o.together(ctx, m, sessions)
		if err != nil {
			return Decoded{}, err
		}
		speeds = append(speeds, speed)
		if plain {
			reads, ofRead = append(reads, read), append(ofRead, speed*float64(d.StepBytes)/read)
		}
	}
	d.Speed = SpreadOf(speeds)
	if plain {
		d.Read, d.OfRead = SpreadOf(reads), SpreadOf(ofRead)
	}
	return d, nil
}

// together has all sessions generate at the same time, and returns the sum of their speeds. They begin within a step of
// each other and have as much to do, so that none has the nodes to itself for long.
func (o *Decoding) together(ctx context.Context, m *orrery.Model, sessions []*orrery.Session) (float64, error) {
	speeds := make([]float64, len(sessions))
	g, ctx := errgroup.WithContext(ctx)
	for i, s := range sessions {
		g.Go(func() error {
			stats, err := generate(ctx, s, someIDs(1, m.Vocab()), o.Tokens+warm, nil)
			if err != nil {
				return err
			}
			seconds := 0.0
			for _, gap := range stats.Gaps[warm-1:] {
				seconds += gap.Seconds()
			}
			speeds[i] = float64(o.Tokens) / seconds
			return nil
		})
	}
	err := g.Wait()
	sum := 0.0
	for _, n := range speeds {
		sum += n
	}
	return sum, err
}

// DecodedCurves are the curves of a picture, in tokens/s: one for each mode.
func DecodedCurves(all []Decoded) []Curve {
	var curves curves
	for _, d := range all {
		curves.add(d.Mode.String(), Point{Depth: d.Depth, Speed: d.Speed, Predicted: d.Predicted})
	}
	return curves
}
