package orrery

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/orrery-ai/orrery/actors"
)

// LogitsOptions says how logits are computed.
type LogitsOptions struct {
	Mode     Mode                  // 0: the model's
	Decode   int                   // the last so many tokens are computed one at a time, as decode does
	SwitchAt []SwitchAt            // mode switches after so many tokens
	Progress func(done, total int) // told of the tokens as they are computed
}

// Logits computes the logits of every token of ids. write is called with rows of consecutive positions from
// first on, [rows][vocabulary], which are valid only during the call. Calls come in no particular order and
// may come at the same time. It returns the reports of the switches.
func (m *Model) Logits(ctx context.Context, ids []int32, o LogitsOptions, write func(first int, rows []float32) error) ([]SwitchReport, error) {
	if o.Decode < 0 || o.Decode > len(ids) {
		return nil, fmt.Errorf("orrery: decoding the last %d of %d tokens is not possible", o.Decode, len(ids))
	}
	if err := m.checkIDs(ids); err != nil {
		return nil, fmt.Errorf("orrery: %w", err)
	}
	if err := checkSwitches(o.SwitchAt); err != nil {
		return nil, fmt.Errorf("orrery: %w", err)
	}
	s, err := m.NewSession(ctx, SessionOptions{Mode: o.Mode, Context: max(1, min(len(ids), m.opts.Context))})
	if err != nil {
		return nil, err
	}
	defer s.Close()
	oneByOne := -1
	if o.Decode > 0 {
		oneByOne = len(ids) - o.Decode
	}
	asked := time.Now()
	r, err := s.conductor.Start(ctx, s.seq, actors.Job{IDs: ids, Logits: write, OneByOne: oneByOne, SwitchAt: o.SwitchAt})
	if err != nil {
		return nil, fmt.Errorf("orrery: %w", err)
	}
	g := newGeneration(ctx, s, r, nil, asked, o.Progress)
	for e := range g.events() {
		switch {
		case e.Kind == actors.Fed && o.Progress != nil:
			o.Progress(e.Count, len(ids))
		case e.Kind == actors.Switched:
			g.stats.Switches = append(g.stats.Switches, *e.Switch)
		case e.Kind == actors.Ended && e.Err != nil:
			return g.stats.Switches, fmt.Errorf("orrery: logits: %w", e.Err)
		case e.Kind == actors.Ended:
			return g.stats.Switches, nil
		}
	}
	return g.stats.Switches, errors.New("orrery: logits: the job ended without a word")
}
