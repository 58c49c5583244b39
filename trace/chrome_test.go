package trace_test

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/orrery-ai/orrery/trace"
	"github.com/orrery-ai/orrery/trace/tracetest"
	"github.com/orrery-ai/orrery/transport"
)

const ms = int64(time.Millisecond)

// span is one on the common clock, from begin to end in milliseconds.
func span(kind trace.Kind, begin, end, step, layer int) trace.Span {
	return trace.Span{Begin: int64(begin) * ms, End: int64(end) * ms, Kind: kind, Seq: 1, Step: uint64(step), Layer: int32(layer), Peer: trace.Nobody, Count: 1}
}

func over(s trace.Span, lane transport.Purpose, peer int16, bytes int64) trace.Span {
	s.Lane, s.Peer, s.Bytes = lane, peer, bytes
	return s
}

// token is one token on two nodes: node a has the only layer, and asks node b, which holds a part of its keys.
//
//	a  project 1-3, send 3-4, attend 4-6, wait 6-9, merge 9-10, forward 10-12, send 12-13; its part 1-14
//	b  answer 5-8: attend 5-7, send 7-8
func token() *trace.Trace {
	return &trace.Trace{
		Driver: trace.Node{Name: "c", Spans: []trace.Span{span(trace.Job, 0, 16, 0, trace.NoLayer), span(trace.Step, 0, 15, 1, trace.NoLayer),
			over(span(trace.Send, 0, 1, 1, trace.NoLayer), transport.Step, 0, 84), over(span(trace.Wait, 1, 14, 1, trace.NoLayer), transport.Result, 0, 80)}},
		Nodes: []trace.Node{
			{Name: "a", ClockError: 20 * time.Microsecond, Spans: []trace.Span{
				span(trace.Chunk, 1, 14, 1, 0), span(trace.Project, 1, 3, 1, 0), over(span(trace.Send, 3, 4, 1, 0), transport.Query, 1, 100), span(trace.Attend, 4, 6, 1, 0),
				over(span(trace.Wait, 6, 9, 1, 0), transport.Partial, 1, 120), span(trace.Merge, 9, 10, 1, 0), span(trace.Forward, 10, 12, 1, 0),
				over(span(trace.Send, 12, 13, 1, trace.NoLayer), transport.Result, trace.Client, 80)}},
			{Name: "b", Spans: []trace.Span{
				over(span(trace.Wait, 1, 5, 1, 0), transport.Query, 0, 100), over(span(trace.Answer, 5, 8, 1, 0), 0, 0, 0), over(span(trace.Attend, 5, 7, 1, 0), 0, 0, 0),
				over(span(trace.Send, 7, 8, 1, 0), transport.Partial, 0, 120)}},
		},
	}
}

func TestATokensTimeIsDividedAmongWhatTheNodesDid(t *testing.T) {
	tr := token()
	tracetest.Check(t, tr, 1)
	tokens := tr.Decoding()
	if len(tokens) != 1 || len(tr.Prefills()) != 0 {
		t.Fatalf("%+v", tokens)
	}
	got := tokens[0]
	for n, want := range []trace.Share{
		{Compute: 6 * time.Millisecond, Merge: 1 * time.Millisecond, Send: 2 * time.Millisecond, Wait: 3 * time.Millisecond, Other: 1 * time.Millisecond, Idle: 2 * time.Millisecond},
		{Compute: 2 * time.Millisecond, Send: 1 * time.Millisecond, Idle: 12 * time.Millisecond},
	} {
		if got.Nodes[n] != want {
			t.Errorf("node %d: %+v, want %+v", n, got.Nodes[n], want)
		}
	}
	// Project 2, the longer attention 2, merge 1, forward 2.
	if got.Took != 15*time.Millisecond || got.Device != 7*time.Millisecond || got.Orchestration() != 8*time.Millisecond || got.Driver != 2*time.Millisecond {
		t.Errorf("%+v", got)
	}
}

// Nodes that wait for one device, say: each says that it computed for as long as both did.
func TestATokensDeviceTimeIsNoLongerThanTheToken(t *testing.T) {
	tr := token()
	b := tr.Nodes[1].Spans
	for i := range b {
		if b[i].Kind == trace.Attend {
			b[i].Begin, b[i].End = 2*ms, 13*ms // while a projects and merges
		}
	}
	if got := tr.Decoding()[0]; got.Device != got.Took || got.Orchestration() != 0 {
		t.Errorf("%v of %v of computing", got.Device, got.Took)
	}
}

func TestATokenBeginsWithTheResultBeforeInItsJobOnly(t *testing.T) {
	tr := token()
	tr.Driver.Spans = append(tr.Driver.Spans, span(trace.Step, 17, 20, 2, trace.NoLayer), span(trace.Step, 22, 30, 3, trace.NoLayer))
	tr.Driver.Spans = append(tr.Driver.Spans, span(trace.Job, 16, 31, 0, trace.NoLayer))
	var took []time.Duration
	for _, token := range tr.Decoding() {
		took = append(took, token.Took/time.Millisecond)
	}
	if len(took) != 3 || took[1] != 3 || took[2] != 10 {
		t.Errorf("%v", took)
	}
}

func TestStepsAtTheSameTimeArePrefill(t *testing.T) {
	tr := token()
	two := span(trace.Step, 3, 20, 2, trace.NoLayer)
	two.Count = 8
	tr.Driver.Spans = append(tr.Driver.Spans, two)
	tr.Driver.Spans[0].End = 30 * ms
	if p := tr.Prefills(); len(p) != 1 || p[0].Tokens != 9 || p[0].Took != 20*time.Millisecond || len(p[0].Nodes) != 2 || len(tr.Decoding()) != 0 {
		t.Errorf("%+v, and %+v", p, tr.Decoding())
	}
}

// Node b sends two parcels and two layers of blocks to node a, which computes, waits for the second parcel, and computes.
func TestATransferIsHiddenWhereOneOfItsEndsComputes(t *testing.T) {
	arrive := func(lane transport.Purpose, at, end, step int) trace.Span {
		return over(span(trace.Arrive, at, end, step, 0), lane, 1, 500)
	}
	tr := &trace.Trace{Nodes: []trace.Node{
		{Name: "a", Spans: []trace.Span{span(trace.Attend, 0, 6, 1, 0), arrive(transport.KVRing, 4, 4, 1), over(span(trace.Wait, 6, 9, 1, 0), transport.KVRing, 1, 500),
			arrive(transport.KVRing, 9, 9, 1), span(trace.Forward, 9, 12, 1, 0), arrive(transport.KVMove, 14, 15, 9), arrive(transport.KVMove, 16, 17, 9)}},
		{Name: "b", Spans: []trace.Span{span(trace.Attend, 1, 3, 1, 0), span(trace.Attend, 7, 8, 1, 0), over(span(trace.Send, 1, 2, 1, 0), transport.KVRing, 0, 500), over(span(trace.Send, 5, 6, 1, 0), transport.KVRing, 0, 500),
			over(span(trace.Copy, 10, 13, 9, 0), transport.KVMove, 0, 500), over(span(trace.Copy, 10, 15, 9, 0), transport.KVMove, 0, 500)}}}}
	got := tr.Transfers()
	if len(got) != 2 {
		t.Fatalf("%+v", got)
	}
	// From 1 to 4 and from 5 to 9; the receiver computed until 6, the sender from 1 to 3 and from 7 to 8.
	if want := (trace.Transfer{From: 1, Lane: transport.KVRing, Bytes: 1000, Took: 7 * time.Millisecond, Sender: 3 * time.Millisecond, Receiver: 4 * time.Millisecond,
		Exposed: 2 * time.Millisecond}); got[0] != want {
		t.Errorf("%+v, want %+v", got[0], want)
	}
	// From 10 to 16, in which the receiver computed until 12.
	if want := (trace.Transfer{From: 1, Lane: transport.KVMove, Bytes: 1000, Took: 6 * time.Millisecond, Receiver: 2 * time.Millisecond, Exposed: 4 * time.Millisecond}); got[1] != want {
		t.Errorf("%+v, want %+v", got[1], want)
	}
}

func TestAWrittenTraceReadsAsWhatItWas(t *testing.T) {
	var b bytes.Buffer
	if err := token().WriteChrome(&b, map[string]string{"mode": "pooled"}); err != nil {
		t.Fatal(err)
	}
	f := tracetest.Read(t, bytes.NewReader(b.Bytes()))
	f.Check(t, 1)
	if got := strings.Join(f.Processes(), ", "); got != "c (driver), node a, node b" {
		t.Errorf("the processes are %s", got)
	}
	if f.Other["mode"] != "pooled" || f.Other["clock_error_us"].(map[string]any)["a"] != 20.0 {
		t.Errorf("%+v", f.Other)
	}
	// From a's query to b, from b's answer to a, and from a's result to the driver; nobody is seen to wait for the step.
	if f.Flows != 3 {
		t.Errorf("%d arrows", f.Flows)
	}
	for _, want := range []string{`"name":"send query"`, `"answers to a"`, `"bytes":120`, `"ts":3000.000`, `"dur":1000.000`, `"peer":"b"`} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("%s is not in\n%s", want, b.String())
		}
	}
}

func TestClocksComeTogetherByTheQuickestExchange(t *testing.T) {
	o, err := trace.Align([]trace.Exchange{{Asked: 100, Answered: 300, Theirs: 5000}, {Asked: 400, Answered: 410, Theirs: 5205}, {Asked: 500, Answered: 600, Theirs: 9999}})
	if want := (trace.Offset{At: 5205, Add: 405 - 5205, Error: 5}); err != nil || o != want {
		t.Errorf("%+v, %v", o, err)
	}
	if _, err := trace.Align(nil); err == nil {
		t.Error("nobody was asked, and it is known")
	}
}

func TestClocksThatDriftApartAreBroughtTogetherAllTheWay(t *testing.T) {
	// Theirs loses a tenth, and was at 1000 when ours was at 0.
	n := trace.Recording{Name: "a", Spans: []trace.Span{{Begin: 1000, End: 1090, Kind: trace.Attend}, {Begin: 1450, End: 1900, Kind: trace.Attend}},
		Clock: [2]trace.Offset{{At: 1000, Add: -1000, Error: 3}, {At: 1900, Add: -900, Error: 7}}}
	tr := trace.New(trace.Recording{Name: "c", Spans: []trace.Span{{Begin: 5, End: 6, Kind: trace.Step}}}, []trace.Recording{n})
	got := tr.Nodes[0]
	if got.Spans[0].Begin != 0 || got.Spans[0].End != 100 || got.Spans[1].Begin != 500 || got.Spans[1].End != 1000 || got.ClockError != 7 || tr.Driver.Spans[0].Begin != 5 {
		t.Errorf("%+v", tr)
	}
}
