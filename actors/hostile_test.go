package actors

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/asynkron/protoactor-go/actor"
	pb "google.golang.org/protobuf/proto"

	"github.com/orrery-ai/orrery/placement"
	"github.com/orrery-ai/orrery/proto"
	"github.com/orrery-ai/orrery/trace"
)

// good is a LoadModel that the first node of a rig takes.
func (r *rig) good(s *Spec) *proto.LoadModel {
	return &proto.LoadModel{Model: 1, Ref: s.Ref, Fingerprint: fmt.Sprintf("%x", s.Model.Fingerprint()), Nodes: r.names[:1], Addresses: s.Addresses[:1],
		ConductorNode: r.names[1], ConductorId: "nobody", ConductorAddress: s.Addresses[1], Layers: &proto.Span{End: 4}, Chunk: 8, Rows: 8, OwnRows: 8,
		RoundTokens: 8, BlockTokens: 4, Context: 64, KvBytes: 1 << 20, FixedBytes: 1 << 20, StepTimeoutMs: 1000, KvFormat: uint32(s.KV)}
}

func TestLoadsThatNoConductorAsksForAreRefused(t *testing.T) {
	r := newRig(t, 2)
	s := r.spec(placement.Pipeline)
	r.endpoints[1].SetPeer(r.names[0], r.endpoints[0].Addr())
	r.endpoints[0].SetPeer(r.names[1], r.endpoints[1].Addr())
	for name, c := range map[string]struct {
		change func(m *proto.LoadModel)
		want   string
	}{
		"no nodes":               {func(m *proto.LoadModel) { m.Nodes = nil }, "node 0 of 0"},
		"a node beyond":          {func(m *proto.LoadModel) { m.Node = math.MaxUint32 }, "node 4294967295 of 1"},
		"addresses of others":    {func(m *proto.LoadModel) { m.Addresses = nil }, "0 addresses of 1"},
		"no blocks":              {func(m *proto.LoadModel) { m.BlockTokens = 0 }, "block of 0"},
		"blocks of all":          {func(m *proto.LoadModel) { m.BlockTokens = math.MaxUint32 }, "block of 4294967295"},
		"chunks of all":          {func(m *proto.LoadModel) { m.Chunk = math.MaxUint32 }, "chunk of 4294967295"},
		"steps of all":           {func(m *proto.LoadModel) { m.Rows, m.OwnRows = math.MaxUint32, math.MaxUint32 }, "steps of 4294967295"},
		"steps that do not fit":  {func(m *proto.LoadModel) { m.Rows, m.OwnRows = 1<<20, 1<<20 }, "and 1048576 are kept"},
		"rounds of all":          {func(m *proto.LoadModel) { m.RoundTokens = math.MaxUint32 }, "rounds of 4294967295"},
		"askers beyond":          {func(m *proto.LoadModel) { m.Askers = []uint32{7} }, "nodes [7] of 1 ask"},
		"a format of the future": {func(m *proto.LoadModel) { m.KvFormat = math.MaxUint32 }, "KV format"},
		"negative memory":        {func(m *proto.LoadModel) { m.KvBytes = math.MinInt64 }, "-9223372036854775808 for the KV cache"},
		"all memory":             {func(m *proto.LoadModel) { m.KvBytes, m.FixedBytes = math.MaxInt64, math.MaxInt64 }, "bytes to be kept"},
		"more than there is":     {func(m *proto.LoadModel) { m.KvBytes = 1 << 49 }, "this one needs"},
		"no time":                {func(m *proto.LoadModel) { m.StepTimeoutMs = 0 }, "step timeout of 0 ms"},
		"time without an end":    {func(m *proto.LoadModel) { m.StepTimeoutMs = math.MaxInt64 }, "step timeout of 9223372036854775807 ms"},
		"layers beyond":          {func(m *proto.LoadModel) { m.Layers = &proto.Span{First: 3, End: math.MaxUint32} }, "layers [3, 4294967295) of 4"},
		"layers backwards":       {func(m *proto.LoadModel) { m.Layers = &proto.Span{First: 3, End: 1} }, "layers [3, 1) of 4"},
		"another model":          {func(m *proto.LoadModel) { m.Fingerprint = strings.Repeat("f", 1<<16) }, "is another one"},
		"no such model":          {func(m *proto.LoadModel) { m.Ref = "../../etc" }, "../../etc"},
	} {
		m := r.good(&s)
		c.change(m)
		m.Model = uint64(len(name)) // one that is being unloaded is waited for
		reply, err := Ask[*proto.Loaded](r.context(), r.systems[1], NodePID(r.names[0]), m)
		if err != nil || !strings.Contains(reply.GetError(), c.want) || len(reply.GetError()) > 1000 {
			t.Errorf("%s: %.200v, %v, want an error with %q", name, reply, err, c.want)
		}
		r.systems[1].Root.Send(NodePID(r.names[0]), &proto.UnloadModel{Model: m.Model})
		r.eventually("nothing is promised", func() bool { promised, _ := r.machines[r.names[0]].said(); return promised == 0 })
	}
	reply, err := Ask[*proto.Loaded](r.context(), r.systems[1], NodePID(r.names[0]), r.good(&s))
	if err != nil || reply.Error != "" {
		t.Errorf("what a conductor asks for: %v, %v", reply, err)
	}
}

// TestAModelOutlivesMessagesThatNoConductorSends: a member of the cluster may send anything to anybody's actors.
func TestAModelOutlivesMessagesThatNoConductorSends(t *testing.T) {
	r := newRig(t, 2)
	c := r.load(r.spec(placement.Pooled))
	seq, other := r.sequence(c, placement.Pooled), r.sequence(c, placement.Pooled)
	job := Job{IDs: prompt(41), MaxTokens: 9}
	want := r.generate(c, other, job)

	const most = math.MaxUint32
	all := &proto.Rect{Layers: &proto.Span{End: most}, Tokens: &proto.Span{End: most}}
	shard := layerShardPID(r.names[0], c.model)
	sequence := actor.NewPID(shard.Address, shard.Id+"/"+sequenceShardName(seq))
	epochs := []*proto.Epoch{
		nil, {}, {Number: math.MaxUint64, Covered: most},
		{Owners: []*proto.Owner{{Layers: &proto.Span{End: 4}, Node: most}}},
		{Owners: []*proto.Owner{{Layers: &proto.Span{First: 2, End: 1}}, {}}},
		{Owners: []*proto.Owner{{Layers: &proto.Span{End: 4}}}, Covered: most},
		{Owners: []*proto.Owner{{Layers: &proto.Span{End: 4}}}, Covered: most, Held: []*proto.Holding{{Rect: all}}},
		{Owners: []*proto.Owner{{Layers: &proto.Span{End: 4}}}, Covered: 4, Held: []*proto.Holding{{Rect: all, Node: most}, {}}},
	}
	var messages []pb.Message
	for i, e := range epochs {
		reply, err := Ask[*proto.SequenceOpened](r.context(), r.systems[1], shard, &proto.OpenSequence{Sequence: uint64(1000 + i), Epoch: e})
		if err != nil || reply.Error == "" {
			t.Errorf("epoch %v was opened: %v", e, err)
		}
		messages = append(messages, &proto.TakeUpEpoch{Epoch: e, Batch: math.MaxUint64})
	}
	messages = append(messages,
		&proto.CopyPart{}, &proto.CopyPart{Rect: all, To: most}, &proto.CopyPart{Rect: all, To: 1, Batch: 1 << 60, Id: most},
		&proto.FillParts{}, &proto.FillParts{Ids: []uint32{1, 2}}, &proto.FillParts{Batch: 1 << 60, Ids: []uint32{most}, Rects: []*proto.Rect{all}},
		&proto.FillParts{Batch: 1 << 60, Ids: []uint32{1}, Rects: []*proto.Rect{{Layers: &proto.Span{End: 4}, Tokens: &proto.Span{End: most}}}},
		&proto.DiscardBatch{Batch: 1 << 60},
	)
	for _, m := range messages {
		r.systems[1].Root.Send(sequence, m)
	}
	for _, m := range []pb.Message{
		&proto.LoadLayers{Layers: all.Layers}, &proto.LoadLayers{}, &proto.LoadLayers{Layers: &proto.Span{First: most}},
		&proto.CloseSequence{Sequence: math.MaxUint64}, &proto.Lend{Sequence: math.MaxUint64, Bytes: math.MaxInt64}, &proto.Lend{Sequence: seq, Bytes: math.MinInt64},
		&proto.StopTrace{}, &proto.Connect{}, &proto.Stats{}, &proto.LoadModel{},
	} {
		r.systems[1].Root.Send(shard, m)
	}
	if reply, err := Ask[*proto.Lent](r.context(), r.systems[1], shard, &proto.Lend{Sequence: seq, Bytes: math.MaxInt64}); err != nil || reply.Error == "" {
		t.Errorf("all memory was lent: %v", err)
	}
	if reply, err := Ask[*proto.TraceSet](r.context(), r.systems[1], shard, &proto.StartTrace{Spans: most}); err != nil || reply.Error == "" {
		t.Errorf("all memory is for spans: %v", err)
	}
	if reply, err := Ask[*proto.SpansRead](r.context(), r.systems[1], shard, &proto.ReadSpans{From: math.MaxUint64}); err != nil || reply.Error == "" {
		t.Errorf("spans without a trace: %v", err)
	}
	for _, m := range []pb.Message{ // to the conductor, of nodes and sequences that there are not
		&proto.LayersLoading{Node: most, Done: math.MaxUint64, Total: 1}, &proto.LayersLoaded{Node: most},
		&proto.SequenceOpened{Sequence: seq, Node: most}, &proto.SequenceOpened{Sequence: math.MaxUint64, Node: most, Error: "x"},
		&proto.EpochTaken{Sequence: seq, Epoch: math.MaxUint64, Node: most}, &proto.EpochTaken{Sequence: seq, Epoch: math.MaxUint64, Node: most, Error: "x"},
		&proto.Copied{Sequence: seq, Batch: math.MaxUint64, Id: most, Bytes: math.MinInt64, Node: most}, &proto.Copied{Sequence: seq, Batch: math.MaxUint64, Node: most, Error: "x"},
		&proto.Released{Sequence: seq, Node: most, Before: math.MaxUint64}, &proto.Released{Sequence: seq, Node: most, Batch: math.MaxUint64}, &proto.Lent{Sequence: seq, Node: most, Error: "x"},
	} {
		r.systems[1].Root.Send(c.pid, m)
	}
	if got := r.generate(c, seq, job); !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

// TestATraceOfANodeThatNeverEndsEnds: a page is always full, so that there seem to be more.
func TestATraceOfANodeThatNeverEndsEnds(t *testing.T) {
	r := newRig(t, 2)
	c := r.load(r.spec(placement.Pipeline))
	full := trace.AppendSpans(nil, slices.Repeat([]trace.Span{{Kind: trace.Step, Begin: 1, End: 2}}, trace.PageSpans))
	pid, err := r.systems[1].Root.SpawnNamed(actor.PropsFromFunc(func(ctx actor.Context) {
		if _, ok := ctx.Message().(*proto.ReadSpans); ok {
			ctx.Respond(&proto.SpansRead{Spans: full})
		}
	}), "endless")
	if err != nil {
		t.Fatal(err)
	}
	r.endpoints[1].Expose(pid.Id)
	tr := &Tracing{conductor: c, room: 3 * trace.PageSpans, nodes: make([]tracedNode, 2)}
	if err := tr.collectFrom(r.context(), pid, 1); err != nil || len(tr.nodes[1].Spans) != tr.room {
		t.Errorf("%d spans, %v; there was room for %d", len(tr.nodes[1].Spans), err, tr.room)
	}
}
