package bench

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/orrery-ai/orrery"
)

// Decode says how the speed of decoding is to be measured at depths that are filled, not computed.
type Decode struct {
	Modes  []orrery.Mode
	Depths []int // tokens in the cache before the first that counts
	Tokens int   // steps of a run
	Repeat int   // runs of each depth and mode, taken in turns so that what disturbs the machine disturbs all alike
	// Progress, unless nil, is told of the runs that are done.
	Progress func(done, total int)
}

// DecodeRow is what was measured at a depth in a mode.
type DecodeRow struct {
	Depth     int
	Mode      orrery.Mode
	Steps     []time.Duration // median step of each run, ascending
	Predicted time.Duration   // of a step in the middle of a run; 0 if nothing could be predicted
}

// Median is the middle one of the runs' steps.
func (r *DecodeRow) Median() time.Duration { return r.Steps[len(r.Steps)/2] }

// Run measures. The model must have room for the largest depth and the tokens of a run. Rows come by depth,
// then by mode, as they were asked for. What is predicted comes from what the nodes and the ways between them
// measured of themselves; unpredicted is why that is not known, which is no failure.
func (d *Decode) Run(ctx context.Context, m *orrery.Model) (rows []DecodeRow, unpredicted, err error) {
	if d.Tokens < 2 || d.Repeat < 1 {
		return nil, nil, fmt.Errorf("%d runs of %d tokens: a run needs two", d.Repeat, d.Tokens)
	}
	costs, unpredicted := m.Costs(ctx)
	for _, depth := range d.Depths {
		for _, mode := range d.Modes {
			row := DecodeRow{Depth: depth, Mode: mode}
			if c := costs[mode]; c != nil {
				row.Predicted = time.Duration(c.Step(depth+d.Tokens/2).Seconds() * float64(time.Second))
			}
			rows = append(rows, row)
		}
	}
	for run := range d.Repeat {
		for i := range rows {
			step, err := d.step(ctx, m, rows[i].Mode, rows[i].Depth)
			if err != nil {
				return nil, nil, fmt.Errorf("%v at %d tokens: %w", rows[i].Mode, rows[i].Depth, err)
			}
			rows[i].Steps = append(rows[i].Steps, step)
			if d.Progress != nil {
				d.Progress(run*len(rows)+i+1, d.Repeat*len(rows))
			}
		}
	}
	for i := range rows {
		slices.Sort(rows[i].Steps)
	}
	return rows, unpredicted, nil
}

// step is the median step of one run.
func (d *Decode) step(ctx context.Context, m *orrery.Model, mode orrery.Mode, depth int) (time.Duration, error) {
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
	stats, err := generate(ctx, s, someIDs(1, m.Vocab()), d.Tokens, nil)
	return stats.MedianGap(), err
}
