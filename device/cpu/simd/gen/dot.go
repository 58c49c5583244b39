package main

import (
	"strings"

	"github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// dots are the inner products of activations with stored weights. One row and two rows accumulate in
// the same order, so that a token's result does not depend on what it is batched with.
var dots = func() []routine {
	var rs []routine
	for _, f := range formats {
		lower := strings.ToLower(f.name)
		rs = append(rs,
			routine{"dot_" + lower, func(a *asm) { dot(a, f, 1) }},
			routine{"dot_pair_" + lower, func(a *asm) { dot(a, f, 2) }})
	}
	return rs
}()

const (
	cacheLine = 64
	// prefetchAhead is how many bytes of weights ahead to ask for. The processor's own prefetching stops at
	// each page; with this, streaming weights comes within some 15% of only reading them, from 70%.
	prefetchAhead = 2048
)

// dot writes the inner products of rows vectors with one row of weights.
func dot(a *asm, f format, rows int) {
	doc := "\tfor i, v := range x {\n\t\tsum += v * w[i]\n\t}"
	if rows == 1 {
		a.begin("dot"+f.name+"AVX2", "func(x []float32, w []byte) (sum float32)",
			"dot"+f.name+"AVX2 is", "", doc, "", "for len(x) a multiple of 8.")
	} else {
		a.begin("dotPair"+f.name+"AVX2", "func(x, y []float32, w []byte) (sumX, sumY float32)",
			"dotPair"+f.name+"AVX2 is", "", "\tfor i := range x {\n\t\tsumX += x[i] * w[i]\n\t\tsumY += y[i] * w[i]\n\t}",
			"", "for len(x) a multiple of 8.")
	}
	xs := []reg.GPVirtual{a.ptr("x")}
	results := []string{"sum"}
	if rows == 2 {
		xs = append(xs, a.ptr("y"))
		results = []string{"sumX", "sumY"}
	}
	w, n := a.ptr("w"), a.length("x")
	const unroll = 4
	acc := a.zeroed(unroll * rows)
	step := func(vectors int) {
		if vectors == unroll {
			for disp := 0; disp < vectors*lanes*f.bytes; disp += cacheLine {
				a.PREFETCHT0(at(w, prefetchAhead+disp))
			}
		}
		for u := range vectors {
			v := a.YMM()
			a.load(f, at(w, u*lanes*f.bytes), v)
			for r, x := range xs {
				a.VFMADD231PS(at(x, u*lanes*4), v, acc[r*unroll+u])
			}
		}
		for _, x := range xs {
			a.ADDQ(operand.U32(vectors*lanes*4), x)
		}
		a.ADDQ(operand.U32(vectors*lanes*f.bytes), w)
	}
	a.repeat(n, unroll*lanes, func() { step(unroll) })
	a.repeat(n, lanes, func() { step(1) })
	for r, name := range results {
		s := acc[r*unroll : (r+1)*unroll]
		a.VADDPS(s[1], s[0], s[0])
		a.VADDPS(s[3], s[2], s[2])
		a.VADDPS(s[2], s[0], s[0])
		a.sum(s[0])
		a.Store(s[0].AsX(), a.Return(name))
	}
	a.VZEROUPPER()
	a.RET()
}
