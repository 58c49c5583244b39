package orrery

import (
	"context"
	"fmt"

	"github.com/orrery-ai/orrery/actors"
	"github.com/orrery-ai/orrery/trace"
)

// TraceOptions says how much is recorded.
type TraceOptions struct {
	// Spans is what every node has room for until the next Collect; what comes when its room is full is counted, and
	// not kept. A token of decode takes about 10 for each layer. Default 1<<17, of trace.SlotBytes each, from the
	// memory that the node offers; at most trace.MaxSpans.
	Spans int
}

// defaultSpans is room for the trace of some thousand tokens of a small model, in 8 MiB.
const defaultSpans = 1 << 17

// Tracing is the recording of what the nodes of a model do, of all its sessions. Stop it.
type Tracing struct{ t *actors.Tracing }

// Trace begins to record, on all nodes of the model, what they compute, wait for and send: package trace has the
// spans, and what can be read from them. A model is traced once at a time. If the model is loaded anew, because a node
// was lost, what was recorded is lost, too.
func (m *Model) Trace(ctx context.Context, o TraceOptions) (*Tracing, error) {
	conductor, err := m.ready(ctx, false)
	if err != nil {
		return nil, fmt.Errorf("orrery: %w", err)
	}
	if o.Spans == 0 {
		o.Spans = defaultSpans
	}
	t, err := conductor.Trace(ctx, o.Spans)
	if err != nil {
		return nil, fmt.Errorf("orrery: tracing: %w", err)
	}
	return &Tracing{t}, nil
}

// Collect takes over what has been recorded so far, which makes room for more on the nodes. Recording goes on. It is
// for generations of many tokens: the nodes are kept busy with it for some milliseconds.
func (t *Tracing) Collect(ctx context.Context) error {
	if err := t.t.Collect(ctx); err != nil {
		return fmt.Errorf("orrery: tracing: %w", err)
	}
	return nil
}

// Stop ends the recording, and gives what was recorded, on the clock of this process. It waits for at most half a
// minute for each answer of a node, unless ctx has a deadline. Also if it fails, with an error that names the node,
// nothing is recorded any more.
func (t *Tracing) Stop(ctx context.Context) (*trace.Trace, error) {
	tr, err := t.t.Stop(ctx)
	if err != nil {
		return nil, fmt.Errorf("orrery: tracing: %w", err)
	}
	return tr, nil
}
