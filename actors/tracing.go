package actors

import (
	"context"
	"errors"
	"fmt"

	"github.com/asynkron/protoactor-go/actor"
	"golang.org/x/sync/errgroup"

	"github.com/orrery-ai/orrery/proto"
	"github.com/orrery-ai/orrery/trace"
)

// Tracing is the recording of what the nodes of a loaded model do, and of its Conductor. It belongs to one
// goroutine at a time, and has to be stopped.
type Tracing struct {
	conductor *Conductor
	nodes     []tracedNode
	recorder  *trace.Recorder // our own
	room      int             // for spans on a node, at the most
	own       tracedNode
	stopped   bool
}

// tracedNode is what was collected from a node so far.
type tracedNode struct {
	trace.Recording
	next uint64 // number of the next span to read
}

// clockExchanges is how often a node is asked for its time; the quickest answer counts.
const clockExchanges = 32

// Trace begins to record, with room for so many spans on each node, trace.SlotBytes each. On failure nothing is
// recorded anywhere; the error names the node.
func (c *Conductor) Trace(ctx context.Context, spans int) (*Tracing, error) {
	r, err := trace.NewRecorder(spans)
	if err != nil {
		return nil, err
	}
	t := &Tracing{conductor: c, recorder: r, room: 2 * spans, nodes: make([]tracedNode, len(c.spec.Nodes))}
	t.own.Name = c.pid.Address
	if !c.recorder.CompareAndSwap(nil, r) {
		return nil, errors.New("the model is being traced already")
	}
	begun := make([]bool, len(t.nodes)) // or may have: another node's refusal cancels the wait for an answer
	err = t.onEveryNode(ctx, func(ctx context.Context, n int) error {
		begun[n] = true
		reply, err := askShard[*proto.TraceSet](ctx, t, n, &proto.StartTrace{Spans: uint32(spans)})
		if err != nil {
			return err
		}
		if reply.Error != "" {
			begun[n] = false
			return errorOf(reply.Error)
		}
		return t.readClock(ctx, n, 0)
	})
	if err != nil {
		for n, name := range c.spec.Nodes {
			if begun[n] {
				c.system.Root.Send(layerShardPID(name, c.model), &proto.StopTrace{Forget: true})
			}
		}
		c.recorder.Store(nil)
		return nil, err
	}
	c.driver.SetTrace(r)
	return t, nil
}

// onEveryNode does something for all nodes at once; a failure names the node.
func (t *Tracing) onEveryNode(ctx context.Context, do func(ctx context.Context, n int) error) error {
	g, ctx := errgroup.WithContext(ctx)
	for n, name := range t.conductor.spec.Nodes {
		t.nodes[n].Name = name
		g.Go(func() error {
			if err := do(ctx, n); err != nil {
				return fmt.Errorf("node %s: %w", name, err)
			}
			return nil
		})
	}
	return g.Wait()
}

// askShard asks a node's LayerShard.
func askShard[T any](ctx context.Context, t *Tracing, n int, msg any) (T, error) {
	c := t.conductor
	return Ask[T](ctx, c.system, layerShardPID(c.spec.Nodes[n], c.model), msg)
}

func (t *Tracing) set(ctx context.Context, n int, msg any) error {
	reply, err := askShard[*proto.TraceSet](ctx, t, n, msg)
	if err != nil {
		return err
	}
	return errorOf(reply.Error)
}

// readClock finds out how far a node's clock is off, at the beginning (0) or the end (1).
func (t *Tracing) readClock(ctx context.Context, n, end int) error {
	var xs []trace.Exchange
	for range clockExchanges {
		x := trace.Exchange{Asked: trace.Now()}
		reply, err := askShard[*proto.ClockRead](ctx, t, n, &proto.ReadClock{})
		if err != nil {
			return err
		}
		x.Answered, x.Theirs = trace.Now(), reply.Nanoseconds
		xs = append(xs, x)
	}
	var err error
	t.nodes[n].Clock[end], err = trace.Align(xs)
	return err
}

// Collect takes over what the nodes have recorded so far, and makes room for more. Recording goes on; a long one
// is collected now and then, so that no ring gets full.
func (t *Tracing) Collect(ctx context.Context) error {
	if t.stopped {
		return errTraceStopped
	}
	if err := t.onEveryNode(ctx, t.collect); err != nil {
		return err
	}
	return t.collectOwn()
}

var errTraceStopped = errors.New("the trace has been stopped")

// collect reads a node's pages until one is not full, but no more than a node can have kept: who says that there are always more would
// else be listened to until the memory is full.
func (t *Tracing) collect(ctx context.Context, n int) error {
	return t.collectFrom(ctx, layerShardPID(t.conductor.spec.Nodes[n], t.conductor.model), n)
}

// collectFrom is collect from the LayerShard of the node.
func (t *Tracing) collectFrom(ctx context.Context, shard *actor.PID, n int) error {
	node := &t.nodes[n]
	for before := len(node.Spans); len(node.Spans)-before < t.room; {
		page, err := Ask[*proto.SpansRead](ctx, t.conductor.system, shard, &proto.ReadSpans{From: node.next})
		if err != nil {
			return err
		}
		if page.Error != "" {
			return errors.New(page.Error)
		}
		had := len(node.Spans)
		if node.Spans, err = trace.ParseSpans(node.Spans, page.Spans, len(t.nodes)); err != nil {
			node.Spans = node.Spans[:had]
			return err
		}
		got := len(node.Spans) - had
		node.next, node.Dropped = node.next+uint64(got), page.Dropped
		if got < trace.PageSpans {
			return nil
		}
	}
	return nil
}

func (t *Tracing) collectOwn() error {
	page := make([]trace.Span, trace.PageSpans)
	for {
		n, err := t.recorder.Page(t.own.next, page)
		if err != nil {
			return err
		}
		t.own.Spans, t.own.next = append(t.own.Spans, page[:n]...), t.own.next+uint64(n)
		if n < len(page) {
			t.own.Dropped = t.recorder.Dropped()
			return nil
		}
	}
}

// Stop ends recording, on all nodes that can be told, collects what is left, and gives back the memory. Whatever the
// error, which names a node, recording is over.
func (t *Tracing) Stop(ctx context.Context) (*trace.Trace, error) {
	if t.stopped {
		return nil, errTraceStopped
	}
	t.stopped = true
	c := t.conductor
	c.driver.SetTrace(nil)
	c.recorder.Store(nil)
	err := t.onEveryNode(ctx, func(ctx context.Context, n int) error {
		if err := t.set(ctx, n, &proto.StopTrace{}); err != nil {
			return err
		}
		if err := t.readClock(ctx, n, 1); err != nil {
			return err
		}
		return t.collect(ctx, n)
	})
	for _, name := range c.spec.Nodes {
		c.system.Root.Send(layerShardPID(name, c.model), &proto.StopTrace{Forget: true})
	}
	if err == nil {
		err = t.collectOwn()
	}
	if err != nil {
		return nil, err
	}
	nodes := make([]trace.Recording, len(t.nodes))
	for i := range nodes {
		nodes[i] = t.nodes[i].Recording
	}
	return trace.New(t.own.Recording, nodes), nil
}
