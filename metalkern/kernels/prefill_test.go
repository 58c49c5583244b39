package kernels

import (
	"math"
	"testing"
)

type prefillCase struct {
	name    string
	layer   Layer
	form    prefillForm
	first   int // position of the first key
	lengths []int
	query   int // position of the first query
	tokens  int
}

func prefillCases() []prefillCase {
	small := prefillForm{m: 1, simdgroups: 2, keys: 32, stages: 1, groups: 1}
	staged := prefillForm{m: 1, simdgroups: 2, keys: 32, stages: 2, groups: 1}
	doubled := prefillForm{m: 2, simdgroups: 2, keys: 64, stages: 2, groups: 1}
	var cases []prefillCase
	for _, bits := range []int{16, 8, 4} {
		for _, dim := range headDims {
			form := map[int]prefillForm{64: staged, 80: small, 96: staged, 128: staged, 256: {m: 1, simdgroups: 2, keys: 16, stages: 1, groups: 1}}[dim]
			cases = append(cases, prefillCase{title("%d bits, heads of %d", bits, dim), Layer{Shape: shapeOf(6, 2, dim), Bits: bits}, form, 0, []int{33, 0, 70, 20}, 101, 22})
		}
	}
	for _, dim := range []int{16, 80} { // tiles whose pieces the threads do not divide evenly
		for _, pool := range []int{applePool, hopperPool} {
			for _, bits := range []int{16, 8} {
				l := Layer{Shape: shapeOf(4, 2, dim), Bits: bits}
				cases = append(cases, prefillCase{title("%d bits, heads of %d, as with %d KiB", bits, dim, pool>>10), l, l.prefillForm(pool), 0, []int{64, 30}, 60, 34})
			}
		}
	}
	f16 := Layer{Shape: shapeOf(4, 2, 64), Bits: 16}
	capped, windowed := f16, f16
	capped.SoftCap, windowed.Window = 2, 40
	return append(cases,
		prefillCase{"two blocks of rows", f16, doubled, 0, []int{64, 64, 64}, 120, 72},
		prefillCase{"two blocks of rows, 8 bits", Layer{Shape: shapeOf(4, 2, 64), Bits: 8}, doubled, 0, []int{64, 30}, 60, 34},
		prefillCase{"from the begin", f16, staged, 0, []int{64, 6}, 0, 70},
		prefillCase{"keys that lie behind the queries", f16, staged, 100, []int{64, 64}, 90, 50},
		prefillCase{"no keys", f16, staged, 0, []int{0}, 0, 5},
		prefillCase{"a soft cap", capped, staged, 0, []int{64, 20}, 50, 34},
		prefillCase{"a window", windowed, staged, 0, []int{64, 64, 20}, 100, 48},
		prefillCase{"a window, one buffer", windowed, small, 0, []int{64, 64, 20}, 100, 48},
	)
}

func TestPrefillAttentionIsAsExactAsFloat(t *testing.T) {
	var list []instance
	for _, c := range prefillCases() {
		list = append(list, c.layer.prefill(c.form))
	}
	onHosts(t, list, func(t *testing.T, b *bench) {
		for _, c := range prefillCases() {
			if c.form.pool(c.layer.Shape.HeadDim) > b.set.host.Info().Pool {
				continue
			}
			t.Run(c.name, func(t *testing.T) {
				b := b.sub(t)
				kernel, err := b.set.prefill(c.layer, c.form)
				must(b, err)
				testPrefill(b, c, kernel)
			})
		}
	})
}

func TestAttentionOnHopperIsAsExactAsFloat(t *testing.T) {
	onHosts(t, nil, func(t *testing.T, b *bench) {
		cases := prefillCases()
		for _, bits := range []int{16, 8, 4} {
			l := Layer{Shape: shapeOf(6, 2, attendDim), Bits: bits}
			cases = append(cases, prefillCase{name: title("%d bits, many tiles", bits), layer: l, lengths: []int{300, 64, 333}, query: 497, tokens: 200})
			for _, window := range []int{1, 63, 64, 65, 150, 600} { // about a tile, of a few, and of more than one query's keys
				l.Window = window
				cases = append(cases, prefillCase{name: title("%d bits, many tiles, a window of %d", bits, window), layer: l, lengths: []int{300, 64, 333}, query: 497, tokens: 200})
			}
			l.Window = 100 // some queries see nothing
			cases = append(cases, prefillCase{name: title("%d bits, a window behind the keys", bits), layer: l, lengths: []int{130, 70}, query: 250, tokens: 90})
		}
		for _, c := range cases {
			t.Run(c.name, func(t *testing.T) {
				b := b.sub(t)
				if !b.set.attendFor(c.layer) {
					t.Skipf("%s has no kernel for the layer", b.set.host.Info().Name)
				}
				kernel, err := b.set.attend(c.layer)
				must(b, err)
				testPrefill(b, c, kernel)
			})
		}
	})
}

func testPrefill(b *bench, c prefillCase, kernel *Prefill) {
	s := c.layer.Shape
	kv := newCache(c.layer, 3, c.first, c.lengths...)
	q := randoms(4, c.tokens*s.Heads*s.HeadDim, 1)
	positions := make([]int, c.tokens)
	for i := range positions {
		positions[i] = c.query + i
	}
	qs, data, blocks := buffer(b, q), buffer(b, kv.data), buffer(b, kv.blocks)
	n, wide := c.tokens*s.Heads, c.tokens*s.Heads*s.HeadDim
	logits := randoms(5, s.Heads, 2)
	sinks := buffer(b, logits)
	merge, err := b.set.Merge()
	must(b, err)
	got := b.inOrders(func() []float32 {
		whole := Partial{room(b, wide), room(b, n), room(b, n)}
		done, sunk := Partial{O: room(b, wide)}, room(b, wide)
		kernel.Launch(b.queue, qs, data, blocks, len(kv.blocks), kv.tiles, c.query, c.tokens, whole, false)
		kernel.Launch(b.queue, qs, data, blocks, len(kv.blocks), kv.tiles, c.query, c.tokens, done, true)
		all := append(floats(b, whole.O, wide), floats(b, whole.M, n)...)
		must(b, merge.Finish(b.queue, sunk, sinks, whole, 1, c.tokens, s))
		all = append(all, floats(b, whole.L, n)...)
		return append(append(all, floats(b, done.O, wide)...), floats(b, sunk, wide)...)
	})
	o, m, l := kv.attend(q, positions)
	gotO, gotM, gotL, out, sunk := got[:wide], got[wide:wide+n], got[wide+n:wide+2*n], got[wide+2*n:2*wide+2*n], got[2*wide+2*n:]
	want, wantSunk := make([]float64, wide), make([]float64, wide)
	for i := range m {
		if math.IsInf(m[i], -1) {
			if !math.IsInf(float64(gotM[i]), -1) || gotL[i] != 0 {
				b.Errorf("row %d without keys has m = %v, l = %v", i, gotM[i], gotL[i])
			}
			continue
		}
		f := math.Exp(float64(gotM[i]) - m[i])
		if d := math.Abs(float64(gotL[i])*f/l[i] - 1); !(d <= 1e-5) {
			b.Errorf("row %d: l is %v at m = %v, not %v at %v", i, gotL[i], gotM[i], l[i], m[i])
		}
		whole := l[i] + math.Exp(float64(logits[i%s.Heads])-m[i]) // with the sink, which has a weight and no value
		for j := range s.HeadDim {
			wantSunk[i*s.HeadDim+j] = o[i*s.HeadDim+j] / whole
			o[i*s.HeadDim+j] /= f
			want[i*s.HeadDim+j] = o[i*s.HeadDim+j] * f / l[i]
		}
	}
	keys := 0
	for _, n := range c.lengths {
		keys += n
	}
	bound := 1e-5 * max(1, float64(keys)/300) // matrix units cut what does not fit into a sum off
	near(b, "o", gotO, o, bound)
	near(b, "attention", out, want, 2*bound)
	near(b, "attention with sinks", sunk, wantSunk, 2*bound)
}
