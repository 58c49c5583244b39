package actors

import (
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/orrery-ai/orrery/placement"
	"github.com/orrery-ai/orrery/proto"
	"github.com/orrery-ai/orrery/trace"
	"github.com/orrery-ai/orrery/trace/tracetest"
	"github.com/orrery-ai/orrery/transport"
)

func (r *rig) trace(c *Conductor, spans int) *Tracing {
	r.Helper()
	t, err := c.Trace(r.context(), spans)
	if err != nil {
		r.Fatal(err)
	}
	return t
}

func (r *rig) stop(t *Tracing) *trace.Trace {
	r.Helper()
	tr, err := t.Stop(r.context())
	if err != nil {
		r.Fatal(err)
	}
	return tr
}

// lanes counts what was sent over each lane.
func lanes(tr *trace.Trace) map[transport.Purpose]int {
	n := map[transport.Purpose]int{}
	for _, node := range append(tr.Nodes, tr.Driver) {
		for _, s := range node.Spans {
			if s.Kind == trace.Send || s.Kind == trace.Copy {
				n[s.Lane]++
			}
		}
	}
	return n
}

func TestATraceShowsEveryLayerOfEveryTokenInEveryMode(t *testing.T) {
	for _, mode := range modes {
		r := newRig(t, 3)
		c := r.load(r.spec(mode))
		seq := r.sequence(c, mode)
		tracing := r.trace(c, 1<<14)
		steps := 41 + len(r.generate(c, seq, Job{IDs: prompt(41), MaxTokens: 9})) - 1
		if mode == placement.Pooled { // blocks go to their holders in their own time
			r.eventually("a node asks another", func() bool {
				steps += len(r.generate(c, seq, Job{MaxTokens: 2}))
				if err := tracing.Collect(r.context()); err != nil {
					t.Fatal(err)
				}
				return slices.ContainsFunc(tracing.nodes[2].Spans, func(s trace.Span) bool { return s.Kind == trace.Answer })
			})
		}
		tr := r.stop(tracing)
		tracetest.Check(t, tr, r.model.Config.Layers)
		if len(tr.Nodes) != 3 || tr.Nodes[2].Name != "n2" || tr.Driver.Name != "n0" {
			t.Errorf("%v: the nodes are %+v", mode, tr.Nodes)
		}
		decoding, prefills := tr.Decoding(), tr.Prefills()
		if len(prefills) != 1 || prefills[0].Tokens < 40 || len(decoding)+prefills[0].Tokens != steps {
			t.Errorf("%v: %d tokens of decode, and %+v", mode, len(decoding), prefills)
		}
		for _, d := range decoding {
			if d.Device <= 0 || d.Took < d.Device || len(d.Nodes) != 3 {
				t.Errorf("%v: %+v", mode, d)
			}
			for n, s := range d.Nodes {
				if sum := s.Compute + s.Merge + s.Send + s.Wait + s.Other + s.Idle; sum != d.Took {
					t.Errorf("%v: node %d spent %v of %v", mode, n, sum, d.Took)
				}
			}
		}
		sent := lanes(tr)
		for lane, want := range map[transport.Purpose]bool{transport.Step: true, transport.Result: true, transport.Hidden: mode != placement.Ring,
			transport.Query: mode != placement.Pipeline, transport.Partial: mode != placement.Pipeline, transport.KVRing: mode == placement.Ring, transport.KVMove: mode == placement.Pooled} {
			if lane == transport.KVMove && mode == placement.Ring {
				continue // what is left of less than a block moves in its own time
			}
			if got := sent[lane] > 0; got != want {
				t.Errorf("%v: %d messages went over %v", mode, sent[lane], lane)
			}
		}
	}
}

func TestATraceShowsASwitch(t *testing.T) {
	r := newRig(t, 2)
	c := r.load(r.spec(placement.Pipeline))
	seq := r.sequence(c, placement.Pipeline)
	tracing := r.trace(c, 1<<14)
	r.generate(c, seq, Job{IDs: prompt(30), MaxTokens: 12, SwitchAt: []SwitchAt{{Token: 2, Mode: placement.Pooled}}})
	tr := r.stop(tracing)
	tracetest.Check(t, tr, r.model.Config.Layers)
	switches, arrived := 0, 0
	for _, s := range tr.Driver.Spans {
		if s.Kind == trace.Switch && s.Bytes > 0 && s.First >= 30 {
			switches++
		}
	}
	for _, n := range tr.Nodes {
		for _, s := range n.Spans {
			if s.Kind == trace.Arrive {
				arrived++
			}
		}
	}
	if sent := lanes(tr)[transport.KVMove]; switches != 1 || arrived == 0 || sent == 0 {
		t.Errorf("%d switches, %d layers of blocks sent, %d arrived", switches, sent, arrived)
	}
}

// Collecting now and then makes room: a small ring loses nothing, and what was collected is not lost either.
func TestCollectingMakesRoomForALongTrace(t *testing.T) {
	r := newRig(t, 2)
	c := r.load(r.spec(placement.Pipeline))
	seq := r.sequence(c, placement.Pipeline)
	tracing := r.trace(c, 512)
	tokens := 0
	for range 8 {
		tokens += len(r.generate(c, seq, Job{IDs: prompt(2), MaxTokens: 8}))
		if err := tracing.Collect(r.context()); err != nil {
			t.Fatal(err)
		}
	}
	tr := r.stop(tracing)
	tracetest.Check(t, tr, r.model.Config.Layers)
	if got := len(tr.Decoding()); tokens != 64 || got < 56 {
		t.Errorf("%d tokens were generated, and %d traced", tokens, got)
	}
}

func TestAFullRingIsSaid(t *testing.T) {
	r := newRig(t, 2)
	c := r.load(r.spec(placement.Pipeline))
	tracing := r.trace(c, 4)
	r.generate(c, r.sequence(c, placement.Pipeline), Job{IDs: prompt(3), MaxTokens: 5})
	if tr := r.stop(tracing); tr.Dropped() == 0 || len(tr.Nodes[0].Spans) != 4 {
		t.Errorf("%d spans are there, %d were dropped", len(tr.Nodes[0].Spans), tr.Dropped())
	}
}

func TestATraceTakesMemoryThatTheNodeGetsBack(t *testing.T) {
	r := newRig(t, 2)
	c := r.load(r.spec(placement.Pipeline))
	before := r.stats(1).PromisedBytes
	tracing := r.trace(c, 1<<10)
	if got := r.stats(1).PromisedBytes - before; got != trace.RecorderBytes(1<<10) {
		t.Errorf("%d bytes more are promised", got)
	}
	if _, err := c.Trace(r.context(), 1<<10); err == nil || !strings.Contains(err.Error(), "already") {
		t.Errorf("a second trace: %v", err)
	}
	r.stop(tracing)
	r.eventually("n1 has the memory back", func() bool { return r.stats(1).PromisedBytes == before })
	if _, err := tracing.Stop(r.context()); err == nil {
		t.Error("it was stopped twice")
	}
	if err := tracing.Collect(r.context()); err == nil {
		t.Error("it was collected after its end")
	}
	for _, spans := range []int{-1, 0, trace.MaxSpans + 1} {
		if _, err := c.Trace(r.context(), spans); err == nil {
			t.Errorf("%d spans were granted", spans)
		}
	}
	r.stop(r.trace(c, 1<<10))
}

// Nobody waits for a model that was closed meanwhile, and the memory of its trace is free.
func TestATraceOfAModelThatIsGoneEndsWithAnErrorThatNamesANode(t *testing.T) {
	r := newRig(t, 2)
	c, err := Load(r.context(), r.systems[0], r.endpoints[0], r.spec(placement.Pipeline))
	if err != nil {
		t.Fatal(err)
	}
	tracing := r.trace(c, 64)
	c.Close()
	r.eventually("it is unloaded", r.nothingLoaded)
	if _, err := tracing.Stop(r.context()); err == nil || !strings.Contains(err.Error(), "node n") {
		t.Errorf("%v", err)
	}
	if promised := r.stats(0).PromisedBytes + r.stats(1).PromisedBytes; promised != 0 {
		t.Errorf("%d bytes are promised to nobody", promised)
	}
}

// A node that cannot take part is named, and the others forget the trace.
func TestATraceThatOneNodeRefusesIsNone(t *testing.T) {
	r := newRig(t, 2)
	c := r.load(r.spec(placement.Pipeline))
	shard := layerShardPID("n1", c.model)
	set, err := Ask[*proto.TraceSet](r.context(), r.systems[0], shard, &proto.StartTrace{Spans: 8})
	if err != nil || set.Error != "" {
		t.Fatal(set, err)
	}
	before := r.stats(0).PromisedBytes
	if _, err := c.Trace(r.context(), 8); err == nil || !strings.Contains(err.Error(), "node n1") || !strings.Contains(err.Error(), "already") {
		t.Errorf("%v", err)
	}
	r.eventually("n0 has forgotten", func() bool { return r.stats(0).PromisedBytes == before })
	for _, msg := range []any{&proto.ReadSpans{From: 5}, &proto.ReadSpans{From: 1 << 60}} {
		if page, err := Ask[*proto.SpansRead](r.context(), r.systems[0], shard, msg); err != nil || page.Error == "" {
			t.Errorf("%+v, %v", page, err)
		}
	}
	r.systems[0].Root.Send(shard, &proto.StopTrace{Forget: true})
	r.stop(r.trace(c, 8))
	if page, err := Ask[*proto.SpansRead](r.context(), r.systems[0], shard, &proto.ReadSpans{}); err != nil || page.Error == "" {
		t.Errorf("a model that is not traced has spans: %+v, %v", page, err)
	}
}

func TestAStopThatIsCancelledStillEndsTheTrace(t *testing.T) {
	r := newRig(t, 2)
	c := r.load(r.spec(placement.Pipeline))
	before := r.stats(1).PromisedBytes
	tracing := r.trace(c, 64)
	ctx, cancel := context.WithCancel(r.context())
	cancel()
	if _, err := tracing.Stop(ctx); err == nil || !strings.Contains(err.Error(), "node n") {
		t.Errorf("%v", err)
	}
	r.eventually("n1 has forgotten", func() bool { return r.stats(1).PromisedBytes == before })
	r.stop(r.trace(c, 64))
}

func TestClocksOfOneProcessAreFoundToBeOne(t *testing.T) {
	r := newRig(t, 2)
	c := r.load(r.spec(placement.Pipeline))
	tracing := r.trace(c, 64)
	for i := range tracing.nodes {
		if o := tracing.nodes[i].Clock[0]; o.Add > o.Error || o.Add < -o.Error || o.Error <= 0 {
			t.Errorf("node %d: %+v", i, o)
		}
	}
	r.stop(tracing)
}
