package engine

import (
	"encoding/binary"
	"flag"
	"math"
	"testing"

	"pgregory.net/rapid"

	"github.com/orrery-ai/orrery/attention"
	"github.com/orrery-ai/orrery/device"
	"github.com/orrery-ai/orrery/kvcache"
	"github.com/orrery-ai/orrery/model/modeltest"
	"github.com/orrery-ai/orrery/placement"
	"github.com/orrery-ai/orrery/residence"
	"github.com/orrery-ai/orrery/sampling"
	"github.com/orrery-ai/orrery/trace"
	"github.com/orrery-ai/orrery/transport"
)

// The folder in which rapid would leave what fails is that of the fuzz corpus.
func init() {
	if err := flag.Set("rapid.nofailfile", "true"); err != nil {
		panic(err)
	}
}

func TestHeadersAndRowsSurviveTheWire(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		u32, u64 := rapid.Uint32(), rapid.Uint64()
		want := header{Kind: kind(rapid.Byte().Draw(t, "kind")), Flags: rapid.Byte().Draw(t, "flags"), Layer: u32.Draw(t, "layer"),
			Seq: u64.Draw(t, "seq"), Step: u64.Draw(t, "step"), Epoch: u64.Draw(t, "epoch"), First: u32.Draw(t, "first"), Count: u32.Draw(t, "count"),
			A: u32.Draw(t, "a"), B: u32.Draw(t, "b"), C: u32.Draw(t, "c"),
			Sampling: sampling.Params{Temperature: rapid.Float32().Draw(t, "temperature"), TopK: int(u32.Draw(t, "top k")),
				TopP: rapid.Float32().Draw(t, "top p"), MinP: rapid.Float32().Draw(t, "min p"), Seed: u64.Draw(t, "seed")}}
		var b [headerBytes]byte
		payload := rapid.SliceOf(rapid.Byte()).Draw(t, "payload")
		got, rest, err := decode(append(want.encode(&b), payload...))
		if err != nil || got != want || string(rest) != string(payload) {
			t.Fatalf("%+v became %+v, %v", want, got, err)
		}
	})
	if _, _, err := decode(make([]byte, headerBytes-1)); err == nil {
		t.Error("a message without a header was taken")
	}
	rapid.Check(t, func(t *rapid.T) {
		u32, u64 := rapid.Uint32(), rapid.Uint64()
		want := BatchRow{Seq: u64.Draw(t, "seq"), Step: u64.Draw(t, "step"), Epoch: u64.Draw(t, "epoch"), First: int(u32.Draw(t, "first")), ID: rapid.Int32().Draw(t, "id"),
			Sampling: sampling.Params{Temperature: rapid.Float32().Draw(t, "temperature"), TopK: int(u32.Draw(t, "top k")), TopP: rapid.Float32().Draw(t, "top p"), MinP: rapid.Float32().Draw(t, "min p"), Seed: u64.Draw(t, "seed")}}
		var b [rowBytes]byte
		want.encode(b[:])
		var got BatchRow
		if got.decode(b[:]); got != want {
			t.Fatalf("%+v became %+v", want, got)
		}
	})
}

func TestPiecesSurviveTheWire(t *testing.T) {
	ps := ringPieces(7, 30, 3)
	got, err := decodePieces(encodePieces(ps), len(ps), 7, 30)
	if err != nil || len(got) != len(ps) {
		t.Fatal(got, err)
	}
	for i := range ps {
		if got[i] != ps[i] {
			t.Errorf("piece %d: %+v became %+v", i, ps[i], got[i])
		}
	}
	for name, c := range map[string]struct {
		b               []byte
		n, first, count int
	}{
		"none":             {nil, 0, 7, 0},
		"cut short":        {encodePieces(ps)[1:], len(ps), 7, 30},
		"too few":          {encodePieces(ps[1:]), len(ps) - 1, 7, 30},
		"ends early":       {encodePieces(ps[:3]), 3, 7, 30},
		"backwards":        {encodePieces([]residence.Piece{{Tokens: span(7, 6)}}), 1, 7, 1},
		"a gap":            {encodePieces([]residence.Piece{ps[0], ps[2]}), 2, 7, 30},
		"absurdly many":    {encodePieces(ps), 1 << 40, 7, 30},
		"beyond the count": {encodePieces(ps), len(ps), 7, 3},
	} {
		if got, err := decodePieces(c.b, c.n, c.first, c.count); err == nil {
			t.Errorf("%s: %v", name, got)
		}
	}
}

// FuzzLaneMessages hands a message as a hostile peer could send it to everything that takes one. Nothing
// may panic, and nothing may take more memory than the sequence's budget.
func FuzzLaneMessages(f *testing.F) {
	add := func(h header, payload []byte) {
		var b [headerBytes]byte
		f.Add(append(append([]byte{}, h.encode(&b)...), payload...))
	}
	vocab, width := 256, 64
	add(header{Kind: kindChunk, Seq: seqID, Epoch: 1, Count: 2, First: 8, Flags: wantToken | wantLogits}, make([]byte, 8))
	add(header{Kind: kindChunk, Seq: seqID, Epoch: 1, Count: 1, First: 8, Layer: 1}, make([]byte, 4))
	add(header{Kind: kindChunk, Seq: seqID, Epoch: 1, Count: 0xffffffff, First: 0xffffffff, Layer: 0xffffffff}, nil)
	add(header{Kind: kindChunk, Seq: seqID, Epoch: 1, Count: 1, First: 0xffffffff}, make([]byte, 4))
	add(header{Kind: kindAhead, Seq: seqID, Epoch: 1, Count: 1, First: 0xffffffff}, nil)
	add(header{Kind: kindRound, Seq: seqID, Epoch: 1, Count: 4, First: 8, A: 1}, append(encodePieces([]residence.Piece{{Tokens: span(8, 12)}}), make([]byte, 16)...))
	add(header{Kind: kindRound, Seq: seqID, Epoch: 1, Count: 4, First: 8, A: 0xffffffff}, make([]byte, 32))
	add(header{Kind: kindQuery, Seq: seqID, Epoch: 1, Count: 1, First: 8, Layer: 1}, make([]byte, 4*width))
	add(header{Kind: kindQuery, Seq: seqID, Epoch: 1, Count: 1, First: 8, Layer: 2}, make([]byte, 4*width))
	add(header{Kind: kindPartial, Seq: seqID, Epoch: 1, Count: 1}, make([]byte, 4*(width+8)))
	add(header{Kind: kindBlock, Seq: seqID, Epoch: 2, Count: 4, First: 8, A: 0, B: 2, C: 2, Layer: 1}, make([]byte, 4*2*2*16*4))
	add(header{Kind: kindBlock, Seq: seqID, Epoch: 2, Count: 4, First: 8, A: 0xffffffff, B: 0xffffffff, Layer: 0xffffffff}, nil)
	add(header{Kind: kindFail, Seq: seqID}, []byte("n1\x00gone"))
	add(header{Kind: kindLogits, Seq: seqID, Count: 1}, make([]byte, 4*vocab))
	add(header{Kind: kindLogits, Seq: seqID, Count: 0xffffffff}, nil)
	add(header{Kind: 200, Seq: 1 << 63}, []byte{1})
	rows := make([]byte, 2*rowBytes)
	for i := range 2 {
		r := BatchRow{Seq: seqID + uint64(i), Step: 1, Epoch: 1, First: 8, ID: 3}
		r.encode(rows[i*rowBytes:])
	}
	add(header{Kind: kindBatch, Count: 1}, rows[:rowBytes])
	add(header{Kind: kindBatch, Count: 2}, rows)
	add(header{Kind: kindBatch, Count: 2}, append(rows[:rowBytes:rowBytes], rows[:rowBytes]...))
	add(header{Kind: kindBatch, Count: 0xffffffff}, rows)
	add(header{Kind: kindBatch, Count: 2, Layer: 1}, append(rows[:2*rowBytes:2*rowBytes], make([]byte, 2*4*width)...))
	add(header{Kind: kindAheadRows, Count: 2, A: 2}, rows)
	add(header{Kind: kindAheadRows, Count: 0xffffffff, A: 0xffffffff}, rows)
	add(header{Kind: kindChosen, Count: 2}, make([]byte, 2*chosenBytes))
	add(header{Kind: kindChosen, Count: 0xffffffff}, nil)
	f.Add([]byte("short"))

	b := newBench(f, setup{nodes: 1, model: modeltest.Options{Layers: 2}, timeout: patience})
	go func() {
		for range b.results { // whatever the driver is told
		}
	}()
	f.Cleanup(func() {
		b.driver.Close()
		close(b.results)
	})
	e := b.engines[0]
	geometry := kvcache.Geometry{Shape: e.shape, Layers: 2, Format: attention.F32, BlockTokens: 4, Memory: device.Host{}}
	f.Fuzz(func(t *testing.T, msg []byte) {
		if len(msg) > 1<<16 {
			return // longer than the lanes
		}
		h, payload, err := decode(aligned(msg))
		if err != nil {
			return
		}
		budget := kvcache.NewBudget(1 << 16)
		s, err := kvcache.NewSequence(seqID, 0, geometry, budget, piped(1, 2, 1))
		if err != nil {
			t.Fatal(err)
		}
		e.AddSequence(s)
		var st kvcache.Step
		if err := st.Begin(s, span(0, 2), 0, 0, 8); err != nil {
			t.Fatal(err)
		}
		for l := range 2 {
			for i := range st.Runs() {
				st.Stored(i, l)
			}
		}
		st.Release()
		e.runStep(h, payload)
		e.runHidden(0, h, payload, nil)
		e.receiveBlock(0, h, payload)
		for len(b.copied) > 0 {
			<-b.copied
		}
		server := &server{engine: e, stream: e.cfg.Device.NewStream(), part: attention.NewPartial(e.cfg.Rows, e.shape)}
		if part, err := server.compute(h, payload); err == nil && len(part[1]) != 4*e.shape.Heads*int(h.Count) {
			t.Errorf("an answer of %d bytes to %d queries", len(part[1]), h.Count)
		}
		if part, _, err := server.computeRows(h, payload); err == nil && len(part[1]) != 4*e.shape.Heads*int(h.Count) {
			t.Errorf("an answer of %d bytes to queries of %d sequences", len(part[1]), h.Count)
		}
		belt := &belt{engine: e, h: h}
		if c, err := belt.parse(h, payload, int(h.Layer)); err == nil && len(c.kv) > 0 {
			e.work.runs = append(e.work.runs[:0], run{0, math.MaxInt32, 1})
			c.msg = &transport.Message{}
			if err := e.attendPassing(e.work.local, c); err != nil {
				t.Error(err)
			}
		}
		merged := e.work.merged.Slice(0, 1)
		merged.Reset()
		_ = e.mergePayload(h, payload, merged)
		if r, chosen, err := b.driver.parse(0, msg); err == nil && (r.Logits != nil && len(r.Logits) != int(h.Count)*vocab || len(chosen) > BatchRows*chosenBytes) {
			t.Errorf("%d logits of %d rows, %d bytes of tokens", len(r.Logits), h.Count, len(chosen))
		}
		s.Release()
		if budget.Used() != 0 {
			t.Errorf("%d bytes used after Release", budget.Used())
		}
	})
}

// aligned is a copy of msg where a lane would have put it.
func aligned(msg []byte) []byte {
	words := make([]uint64, len(msg)/8+1)
	b := make([]byte, 0, 8*len(words))
	for _, w := range words {
		b = binary.LittleEndian.AppendUint64(b, w)
	}
	copy(b, msg)
	return b[:len(msg)]
}

// TestSteadyDecodeAllocatesNothing is about one token of a pipeline of one node: the engine, the driver and the lanes between them.
func TestSteadyDecodeAllocatesNothing(t *testing.T) {
	b := newBench(t, setup{nodes: 1, block: 1 << 10})
	b.open(owned(1, placement.Pipeline, 4, 1, 0))
	at := 0
	token := []int32{7}
	if n := testing.AllocsPerRun(200, func() { b.decode(&at, token) }); n > 0 {
		t.Errorf("%v allocations a token", n)
	}
	r, err := trace.NewRecorder(1 << 14)
	if err != nil {
		t.Fatal(err)
	}
	b.engines[0].SetTrace(r)
	b.driver.SetTrace(r)
	if n := testing.AllocsPerRun(200, func() { b.decode(&at, token) }); n > 0 {
		t.Errorf("%v allocations a token that is traced", n)
	}
	if n, err := r.Page(0, make([]trace.Span, 100)); n != 100 || err != nil || r.Dropped() > 0 {
		t.Errorf("%d spans, %v, %d dropped", n, err, r.Dropped())
	}
}

func (b *bench) decode(at *int, token []int32) {
	b.steps++
	if err := b.driver.Chunk(0, seqID, b.steps, 1, *at, token, Want{Token: true}); err != nil {
		b.Fatal(err)
	}
	*at++
	if r := <-b.results; r.Err != nil || r.Token < 0 {
		b.Fatalf("%+v", r)
	}
}

func BenchmarkDecode(b *testing.B) {
	d := newBench(b, setup{nodes: 1, block: 1 << 10})
	d.open(owned(1, placement.Pipeline, 4, 1, 0))
	at := 0
	token := []int32{7}
	b.ReportAllocs()
	for b.Loop() {
		if at == 1<<10 {
			d.open(owned(1, placement.Pipeline, 4, 1, 0))
			at = 0
		}
		d.decode(&at, token)
	}
}
