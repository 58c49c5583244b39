package placement

import (
	"strings"
	"testing"
)

func TestAByteOfWeightsTakesAsLongAsItsFormat(t *testing.T) {
	const q8, q4, q4k = 0, 1, 2
	const n = 17 << 20
	r, w := fourLayers(Pipeline, rated(1e9, 1e9))
	weights := func(in map[string]int64, longer float64) float64 {
		rates := rated(1e9, 1e9)
		rates.Memory.Weights[q8], rates.Cache.Weights[q8] = longer, longer
		r.Nodes[0].Rates = rates
		w.ReadIn = []map[string]int64{in, nil, nil, nil}
		return costOf(t, r, w, mesh(1, Link{}), 1).Step(1000).Weights
	}
	const layer = 1 << 20
	all := map[string]int64{"Q8_0": layer}
	if got, want := weights(all, 2), weights(nil, 2)+layer/1e9; !near(got, want) {
		t.Errorf("a layer of bytes that take twice as long: %v s, want %v", got, want)
	}
	if got, want := weights(map[string]int64{"Q8_0": layer / 2, "F32": layer / 2}, 2), weights(nil, 2)+layer/2e9; !near(got, want) {
		t.Errorf("half of them: %v s, want %v", got, want)
	}
	for why, got := range map[string]float64{"a format that was not measured": weights(map[string]int64{"Q4_0": layer}, 2), "one that takes as long": weights(all, 1), "one of which nothing is known": weights(all, 0)} {
		if want := weights(nil, 2); !near(got, want) {
			t.Errorf("%s: %v s, want %v", why, got, want)
		}
	}
	plain := weights(nil, 2)
	w.ReadIn, w.HeadIn = nil, map[string]int64{"Q8_0": w.HeadRead}
	r.Nodes[0].Rates.Memory.Weights[q8], r.Nodes[0].Rates.Cache.Weights[q8] = 3, 3
	if got, want := costOf(t, r, w, mesh(1, Link{}), 1).Step(1000).Weights, plain+2*float64(w.HeadRead)/1e9; !near(got, want) {
		t.Errorf("a head of bytes that take three times as long: %v s, want %v", got, want)
	}

	// What an operation takes to begin is not of its bytes, and rows of as many elements are as long: so much of a curve that bends.
	c := Curve{}
	for i, size := range CurveSizes {
		c[i] = 1e-5 + size/1e10 + max(size-32<<20, 0)/1e10
	}
	var k Kernels
	k.Weights[q4] = 1
	halves := float64(n) * 16 / 4.5
	if got, want := k.takes(&c, storedIn(n, map[string]int64{"Q4_0": n})), 1e-5+(c.At(halves)-1e-5)*4.5/16; !near(got, want) {
		t.Errorf("%d bytes of Q4_0 take %v s, want %v", n, got, want)
	}
	if got, want := k.takes(&c, storedIn(n, map[string]int64{"Q4_K": n})), c.At(n); got != want {
		t.Errorf("%d bytes of a format that was not measured take %v s, want %v", n, got, want)
	}
	k.Weights[q4k] = 2
	if got, want := k.takes(&c, storedIn(0, nil)), c.At(0); got != want {
		t.Errorf("nothing takes %v s, want %v", got, want)
	}
}

func TestAChunkTakesAsLongAsProductsWithItsFormats(t *testing.T) {
	const layer = 1 << 20
	rates := rated(1e9, 1e9)
	r, w := fourLayers(Pipeline, rates)
	chunk := func(in map[string]int64, packed float64) float64 {
		rates.PrefillPacked = packed
		r.Nodes[0].Rates = rates
		w.ReadIn = []map[string]int64{in, in, in, in}
		const tokens = 100_000 // enough that computing takes longer than reading
		return costOf(t, r, w, mesh(1, Link{}), 1).matrices(0, Range{0, 4}, tokens)
	}
	all, twice := map[string]int64{"Q8_0": layer}, 2*rates.PrefillProduct
	plain := chunk(nil, twice)
	if got := chunk(all, twice); !near(got, plain/2) {
		t.Errorf("products twice as fast: %v s, want %v", got, plain/2)
	}
	if got := chunk(all, 0); !near(got, plain) {
		t.Errorf("products of which nothing is known: %v s, want %v", got, plain)
	}
	const packed, others = layer / 2 * 8 / 8.5, layer / 2 / 2 // elements
	if got, want := chunk(map[string]int64{"Q8_0": layer / 2}, twice), plain*(others+packed/2)/(others+packed); !near(got, want) {
		t.Errorf("half of the bytes: %v s, want %v", got, want)
	}
}

func TestFormatsAreNoMoreThanAllBytes(t *testing.T) {
	for want, spoil := range map[string]func(*Work){
		"ReadIn is of 1 layers": func(w *Work) { w.ReadIn = make([]map[string]int64, 1) },
		"layer 2: ": func(w *Work) {
			w.ReadIn = []map[string]int64{nil, nil, {"Q8_0": w.ReadBytes[2], "F32": 1}, nil}
		},
		"head: -1 bytes in Q4_0": func(w *Work) { w.HeadIn = map[string]int64{"Q4_0": -1} },
	} {
		r, w := fourLayers(Pipeline, rated(1e9, 1e9))
		spoil(&w)
		if _, err := NewCost(r, place(t, r), w, mesh(1, Link{}), 1); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want %q, got %v", want, err)
		}
	}
	for _, f := range []float64{-1, 1e4} {
		rates := rated(1e9, 1e9)
		rates.Cache.Weights[3] = f
		if err := rates.Check(); err == nil || !strings.Contains(err.Error(), "Cache.Weights") || !strings.Contains(err.Error(), "Q6_K") {
			t.Errorf("%v times as long: %v", f, err)
		}
	}
}
