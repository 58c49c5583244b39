package kvcache

import (
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"slices"
	"testing"

	"github.com/orrery-ai/orrery/attention"
	"github.com/orrery-ai/orrery/device"
	"github.com/orrery-ai/orrery/placement"
	"github.com/orrery-ai/orrery/residence"
)

// small is a geometry whose blocks have 4 tokens.
var small = Geometry{Shape: attention.Shape{Heads: 4, KVHeads: 2, HeadDim: 4, Scale: 0.5}, Layers: 4, Format: attention.F16, BlockTokens: 4, Memory: device.Host{}}

func span(first, end int) residence.Span { return residence.Span{First: first, End: end} }

func rect(l0, l1, t0, t1 int) residence.Rect {
	return residence.Rect{Layers: span(l0, l1), Tokens: span(t0, t1)}
}

// bytesOf is the budget that r takes when all of it is there.
func (g Geometry) bytesOf(layers, tokens int) int64 { return g.LayerBytes(tokens) * int64(layers) }

// alone is the epoch in which node 0 owns every layer, and holds everything before covered explicitly.
func alone(number uint64, layers, covered int) *residence.Epoch {
	e := &residence.Epoch{Number: number, Mode: placement.Pipeline, Owners: []residence.Owner{{Layers: span(0, layers)}}, Covered: covered}
	if covered > 0 {
		e.Held = []residence.Holding{{Rect: rect(0, layers, 0, covered)}}
	}
	return e
}

// row is the bytes that a head's key (or value) of one token is given, which no other has.
func row(g Geometry, layer, token, head int, value bool) []byte {
	h := fnv.New64a()
	fmt.Fprint(h, layer, token, head, value)
	b := make([]byte, 0, g.Format.BytesPerHead(g.Shape.HeadDim)+8)
	for seed := h.Sum64(); len(b) < g.Format.BytesPerHead(g.Shape.HeadDim); seed = seed*6364136223846793005 + 1442695040888963407 {
		b = binary.LittleEndian.AppendUint64(b, seed)
	}
	return b[:g.Format.BytesPerHead(g.Shape.HeadDim)]
}

// each visits the stored row of each head of one token of kv, scales included; what visit changes of it is stored.
func each(g Geometry, kv *attention.KV, token int, visit func(stored []byte, head int, value bool)) {
	dim := g.Shape.HeadDim
	one := attention.KV{Format: g.Format, Cap: 1}
	stored := make([]byte, g.Format.PlaneBytes(dim, 1))
	for h := range g.Shape.KVHeads {
		for value, data := range [][]byte{kv.K, kv.V} {
			one.Copy(stored, 0, 0, kv, data, h, token-kv.First, dim)
			visit(stored[:g.Format.BytesPerHead(dim)], h, value == 1)
			kv.Copy(data, h, token-kv.First, &one, stored, 0, 0, dim)
		}
	}
}

// intact reports whether token of kv is what was written.
func intact(g Geometry, kv *attention.KV, layer, token int) bool {
	ok := true
	each(g, kv, token, func(stored []byte, head int, value bool) {
		ok = ok && slices.Equal(stored, row(g, layer, token, head, value))
	})
	return ok
}

// store is what an engine does with a step that has begun.
func (st *Step) store(g Geometry) {
	st.write(g)
	st.End()
}

// write writes every row of the step's layers.
func (st *Step) write(g Geometry) {
	for l := st.layers.First; l < st.layers.End; l++ {
		for i := range st.Runs() {
			kv, at, _, n := st.Slot(i, l)
			for t := kv.First + at; t < kv.First+at+n; t++ {
				each(g, kv, t, func(stored []byte, head int, value bool) { copy(stored, row(g, l, t, head, value)) })
			}
			st.Stored(i, l)
		}
	}
}

// grow appends tokens [first, first+n) of layers.
func grow(t testing.TB, s *Sequence, layers residence.Span, covered, first, n int) *Step {
	t.Helper()
	var st Step
	if err := st.Begin(s, layers, covered, first, n); err != nil {
		t.Fatal(err)
	}
	st.store(s.geometry)
	st.Release() // the blocks are users of what it still shows
	return &st
}

// Table is what the node holds in an epoch, for a look while nothing is retired.
func (s *Sequence) Table(epoch uint64) *Table { return (*s.tables.Load())[epoch] }

// undivided is memory that can only be given back as it was taken, as that of GPUs.
type undivided struct{ device.Host }

func (undivided) Discard([]byte) bool { return false }

// carry copies r to another sequence as the engines do.
func carry(from, to *Sequence, batch uint64, r residence.Rect) error {
	parts, err := from.Parts(r)
	if err != nil {
		return err
	}
	for _, p := range parts {
		for l := p.Layers.First; l < p.Layers.End; l++ {
			kv := p.Layer(l)
			k, v, err := Pack(from.geometry.Memory, kv, from.geometry.Shape)
			if err != nil {
				return err
			}
			if err := to.Receive(batch, p.Layers, l, kv.First, kv.Len, k, v); err != nil {
				return err
			}
		}
	}
	return nil
}

func newSequence(t testing.TB, node int, b *Budget, e *residence.Epoch) *Sequence {
	t.Helper()
	s, err := NewSequence(7, node, small, b, e)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func takeUp(t testing.TB, s *Sequence, e *residence.Epoch, batch uint64) {
	t.Helper()
	if err := e.Validate(small.Layers, 8); err != nil {
		t.Fatal(err)
	}
	if _, _, err := s.TakeUp(e, batch); err != nil {
		t.Fatal(err)
	}
}

// wantHeld checks that a table lists exactly the tokens [first, end) of a layer, intact, in order.
func wantHeld(t testing.TB, tab *Table, layer, first, end int) {
	t.Helper()
	next := first
	for _, kv := range tab.Held(layer) {
		for ; next < kv.End(); next++ {
			if next < kv.First || !intact(small, &kv, layer, next) {
				t.Fatalf("layer %d token %d is not what was written", layer, next)
			}
		}
	}
	if next != end {
		t.Fatalf("layer %d is held up to token %d, not %d", layer, next, end)
	}
}
