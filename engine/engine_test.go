package engine

import (
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/orrery-ai/orrery/model/modeltest"
	"github.com/orrery-ai/orrery/placement"
	"github.com/orrery-ai/orrery/residence"
	"github.com/orrery-ai/orrery/transport"
	"github.com/orrery-ai/orrery/transport/fault"
)

// whole is the logits of the first n ids of a bench, computed by one engine in one step.
func whole(t *testing.T, o modeltest.Options, n int) []float32 {
	t.Helper()
	b := newBench(t, setup{nodes: 1, model: o})
	b.open(piped(1, b.model.Config.Layers, 1))
	logits, err := b.chunk(1, 0, b.ids(n))
	if err != nil {
		t.Fatal(err)
	}
	return logits
}

func TestAPipelineComputesWhatOneEngineDoes(t *testing.T) {
	want := whole(t, modeltest.Options{}, 23)
	for _, nodes := range []int{2, 3} {
		b := newBench(t, setup{nodes: nodes})
		ids := b.ids(23)
		b.open(piped(1, 4, nodes))
		var got []float32
		first := 0
		for _, size := range []int{5, 1, 8, 1, 8} {
			logits, err := b.chunk(1, first, ids[first:first+size])
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, logits...)
			first += size
		}
		near(t, "pipeline", got, want)
	}
}

// pool computes 12 tokens on node 0, and deals their blocks out over three nodes, in epoch 2.
func pool(b *bench, ids []int32) (logits []float32) {
	b.Helper()
	b.open(owned(1, placement.Pooled, 4, 3, 0))
	logits, err := b.chunk(1, 0, ids[:12])
	if err != nil {
		b.Fatal(err)
	}
	b.copyTo(3, 0, 1, rect(0, 4, 4, 8))
	b.copyTo(3, 0, 2, rect(0, 4, 8, 12))
	return logits
}

func TestPooledBlocksGiveWhatOneEngineDoes(t *testing.T) {
	want := whole(t, modeltest.Options{}, 20)
	b := newBench(t, setup{nodes: 3})
	ids := b.ids(20)
	got := pool(b, ids)
	b.takeUp(owned(2, placement.Pooled, 4, 3, 12), 3, 0, 1, 2)
	for _, s := range b.seqs {
		s.Retire(2)
	}
	for first := 12; first < 20; {
		n := min(3, 20-first)
		logits, err := b.chunk(2, first, ids[first:first+n])
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, logits...)
		first += n
	}
	near(t, "pooled", got, want)
	if b.budgets[1].Used() == 0 || b.budgets[2].Used() == 0 {
		t.Error("nobody else holds a block")
	}
}

func TestAQueryForAnUnknownEpochFailsWithTheNodesName(t *testing.T) {
	want := whole(t, modeltest.Options{}, 16)
	b := newBench(t, setup{nodes: 3})
	ids := b.ids(16)
	pool(b, ids)
	b.takeUp(owned(2, placement.Pooled, 4, 3, 12), 3, 0, 2) // not on node 1
	_, failed := b.chunk(2, 12, ids[12:13])
	if failed == nil || failed.Lost != "" || !strings.Contains(failed.Text, "epoch 2") || !strings.Contains(failed.Text, "n1") {
		t.Fatalf("the step failed with %+v", failed)
	}
	// Node 2 did answer. Its answer, to a step that has failed, is not taken for one to a later step.
	got := pool(b, ids) // once more from the start: a failed step leaves its sequence unusable
	b.takeUp(owned(2, placement.Pooled, 4, 3, 12), 3, 0, 1, 2)
	rest, err := b.chunk(2, 12, ids[12:])
	if err != nil {
		t.Fatal(err)
	}
	near(t, "after a failed step", append(got, rest...), want)
}

// ringPieces deals blocks of 4 tokens out, in the order 0, 1, …, 1, 0.
func ringPieces(first, n, nodes int) (ps []residence.Piece) {
	for at := first; at < first+n; at += 4 {
		i := at / 4 % (2 * nodes)
		ps = append(ps, residence.Piece{Tokens: span(at, min(at+4, first+n)), Node: min(i, 2*nodes-1-i)})
	}
	return ps
}

// after is the epoch that a round leaves: its pieces are where they were computed.
func after(number uint64, layers int, pieces []residence.Piece) *residence.Epoch {
	e := owned(number, placement.Ring, layers, 1, 0)
	for _, p := range pieces {
		e.Held = append(e.Held, residence.Holding{Rect: residence.Rect{Layers: span(0, layers), Tokens: p.Tokens}, Node: p.Node})
		e.Covered = p.Tokens.End
	}
	return e
}

func (b *bench) round(epoch uint64, pieces []residence.Piece, ids []int32) ([]float32, *RemoteError) {
	b.Helper()
	b.steps++
	if err := b.driver.Round(seqID, b.steps, epoch, pieces, ids, Want{Logits: true}); err != nil {
		b.Fatal(err)
	}
	return b.collect(len(b.engines), pieces[0].Tokens.First, len(ids))
}

func TestRingRoundsGiveWhatOneEngineDoes(t *testing.T) {
	want := whole(t, modeltest.Options{}, 60)
	for _, nodes := range []int{2, 3, 5} {
		b := newBench(t, setup{nodes: nodes})
		ids := b.ids(60)
		b.open(owned(1, placement.Ring, 4, nodes, 0))
		stale := header{Kind: kindBlock, Seq: seqID, Step: 99} // of a step that failed
		var head [headerBytes]byte
		if err := b.engines[0].lanes.ringOut[1].Send(time.Now().Add(patience), stale.encode(&head)); err != nil {
			t.Fatal(err)
		}
		first := ringPieces(0, 40, nodes)
		got, err := b.round(1, first, ids[:40])
		if err != nil {
			t.Fatal(err)
		}
		all := make([]int, nodes)
		for i := range all {
			all[i] = i
		}
		b.takeUp(after(2, 4, first), 0, all...)
		more, err := b.round(2, ringPieces(40, 12, nodes), ids[40:52])
		if err != nil {
			t.Fatal(err)
		}
		b.takeUp(after(3, 4, append(first, ringPieces(40, 12, nodes)...)), 0, all...)
		rest, err := b.chunk(3, 52, ids[52:])
		if err != nil {
			t.Fatal(err)
		}
		near(t, "ring", slices.Concat(got, more, rest), want)
	}
}

// A frame of 1 KiB and a window of 1 leave hardly any room on a lane: a node that passes a block on to one
// that has given the round up must not wait for room that will never be.
func TestAFailingNodeEndsTheRoundEverywhereAtOnce(t *testing.T) {
	big := modeltest.Options{HeadDim: 64}
	want := whole(t, big, 40)
	for failing := range 5 {
		b := newBench(t, setup{nodes: 5, model: big, transport: transport.Config{FrameBytes: 1 << 10, Window: 1}})
		ids := b.ids(40)
		b.decoder(failing, 0, 2)
		for range 2 {
			b.open(owned(1, placement.Ring, 4, 5, 0))
			if _, failed := b.round(1, ringPieces(0, 40, 5), ids); failed == nil || !strings.Contains(failed.Text, "weights") || failed.Lost != "" {
				t.Fatalf("node %d lacks weights, and the round failed with %v", failing, failed)
			}
		}
		b.decoder(failing, 0, 4)
		b.open(owned(1, placement.Ring, 4, 5, 0))
		got, failed := b.round(1, ringPieces(0, 40, 5), ids)
		if failed != nil {
			t.Fatal(failed)
		}
		near(t, "ring after a failed round", got, want)
	}
}

func TestCloseWakesAStepThatWaits(t *testing.T) {
	for name, start := range map[string]func(b *bench, ids []int32) error{
		"for a partial": func(b *bench, ids []int32) error {
			return b.driver.Chunk(0, seqID, 100, 2, 12, ids[12:13], Want{Token: true})
		},
		"for a block of the ring": func(b *bench, ids []int32) error {
			return b.driver.Round(seqID, 100, 1, ringPieces(12, 8, 3), ids[12:20], Want{})
		},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, setup{nodes: 3, mute: map[int]bool{1: true}})
			ids := b.ids(20)
			b.open(owned(1, placement.Pooled, 4, 3, 0))
			if _, err := b.chunk(1, 0, ids[:12]); err != nil {
				t.Fatal(err)
			}
			b.copyTo(3, 0, 2, rect(0, 4, 8, 12))
			e := owned(2, placement.Pooled, 4, 3, 12)
			b.takeUp(e, 3, 0) // node 1 is to hold a block, and says nothing
			if err := start(b, ids); err != nil {
				t.Fatal(err)
			}
			for b.engines[0].busy.TryLock() { // until the step runs
				b.engines[0].busy.Unlock()
				time.Sleep(time.Millisecond)
			}
			closed := make(chan error, 1)
			go func() {
				b.engines[0].Close()
				closed <- nil
			}()
			b.wait(closed)
		})
	}
}

// The frame that is lost has been sent without an error: only its receiver knows that something is missing. All
// lanes on its connection have broken with it, and which of them is named is a matter of chance.
func TestABrokenLaneEndsTheStepsThatNeedItAtOnce(t *testing.T) {
	for purpose, broken := range map[string]string{"hidden": "n1", "result": "n2"} {
		t.Run(purpose, func(t *testing.T) {
			script, err := fault.Parse("after 1 frame of " + purpose + ": flip bit")
			if err != nil {
				t.Fatal(err)
			}
			in := fault.New(script, slog.New(slog.DiscardHandler))
			t.Cleanup(in.Close)
			b := newBench(t, setup{nodes: 3, transport: transport.Config{Checksums: transport.ChecksumsOn}, dials: broken, dial: in.Dial})
			b.open(piped(1, 4, 3))
			ids := b.ids(2)
			failed := (*RemoteError)(nil)
			for step := 1; failed == nil && step <= 2; step++ {
				if err := b.driver.Chunk(0, seqID, uint64(step), 1, step-1, ids[step-1:step], Want{Token: true}); err != nil {
					t.Fatal(err)
				}
				r := b.result()
				if failed = r.Err; failed != nil && r.Step != EveryStep {
					t.Errorf("the failure is of step %d alone", r.Step)
				}
			}
			if failed == nil || failed.Lost != broken || !strings.Contains(failed.Text, broken) || !strings.Contains(failed.Text, "lane ") {
				t.Errorf("a %s of %s was lost, and the step failed with %+v", purpose, broken, failed)
			}
		})
	}
}

func TestStepsThatDoNotFitAreRefused(t *testing.T) {
	b := newBench(t, setup{nodes: 2})
	b.open(piped(1, 4, 2))
	ids := b.ids(64)
	for name, c := range map[string]struct {
		node  int
		seq   uint64
		epoch uint64
		ids   []int32
		want  string
	}{
		"unknown sequence": {0, 6, 1, ids[:1], "sequence 6 is not open on n0"},
		"unknown epoch":    {0, seqID, 2, ids[:1], "epoch 2"},
		"another's layers": {1, seqID, 1, ids[:1], "layer 0 is not of n1"},
		"no tokens":        {0, seqID, 1, nil, "0 tokens"},
		"not a token":      {0, seqID, 1, []int32{1, 256}, "token 1 of the step is 256"},
		"negative token":   {0, seqID, 1, []int32{-1}, "token 0 of the step is -1"},
	} {
		b.steps++
		if err := b.driver.Chunk(c.node, c.seq, b.steps, c.epoch, 0, c.ids, Want{Token: true}); err != nil {
			t.Fatal(err)
		}
		r := b.result()
		if r.Err == nil || r.Node != c.node || r.Step != b.steps || !strings.Contains(r.Err.Text, c.want) {
			t.Errorf("%s: %+v", name, r)
		}
	}
	hidden := make([]float32, b.model.Config.Hidden)
	var head [headerBytes]byte
	for name, send := range map[string]func(h header) error{
		"tokens in the middle of the layers": func(h header) error {
			h.Layer = 2
			return b.driver.send(1, h, nil, ids[:1])
		},
		"a hidden state before the first layer": func(h header) error {
			return b.engines[1].lanes.hiddenOut[0].Send(time.Now().Add(patience), h.encode(&head), bytesOf(hidden))
		},
	} {
		b.steps++
		if err := send(header{Kind: kindChunk, Seq: seqID, Step: b.steps, Epoch: 1, Count: 1, Flags: wantToken}); err != nil {
			t.Fatal(err)
		}
		if r := b.result(); r.Err == nil || r.Step != b.steps || !strings.Contains(r.Err.Text, "hidden state") {
			t.Errorf("%s: %+v", name, r)
		}
	}
	if _, err := b.chunk(1, 0, ids); err != nil {
		t.Errorf("a good step after them: %v", err)
	}
}

func TestACopyThatDoesNotArriveWholeIsReportedOnce(t *testing.T) {
	b := newBench(t, setup{nodes: 2})
	b.open(owned(1, placement.Pooled, 4, 2, 0))
	if _, err := b.chunk(1, 0, b.ids(8)); err != nil {
		t.Fatal(err)
	}
	if err := b.budgets[1].Take(1 << 26); err != nil { // its memory is full
		t.Fatal(err)
	}
	parts, err := b.seqs[0].Parts(rect(0, 4, 0, 8))
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range parts {
		if err := b.engines[0].SendPart(seqID, 3, 0, 1, 8, p); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.wait(b.copied); err == nil || !strings.Contains(err.Error(), "full") {
		t.Errorf("the copy ended with %v", err)
	}
	if err := b.engines[0].SendPart(seqID, 3, 0, 0, 8, parts[0]); err == nil {
		t.Error("a copy to the node itself")
	}
	b.budgets[1].Give(1 << 26)
	b.copyTo(5, 0, 1, rect(0, 4, 0, 8)) // of the failure nothing more is heard
	if n := len(b.copied); n > 0 {
		t.Errorf("%d further reports", n)
	}
}
