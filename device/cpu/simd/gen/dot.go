package main

import (
	"strings"

	"github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// dots are the inner products of activations with rows of stored weights. One and two rows of activations
// accumulate in the same order, so that a token's result does not depend on what it is batched with.
var dots = func() []routine {
	var rs []routine
	for _, f := range formats {
		lower := strings.ToLower(f.name)
		rs = append(rs,
			routine{"dots_" + lower, func(a *asm) { dot(a, f, 1) }},
			routine{"dots_pair_" + lower, func(a *asm) { dot(a, f, 2) }})
	}
	return rs
}()

const (
	cacheLine = 64
	// prefetchAhead is how many bytes of weights ahead to ask for. The processor's own prefetching stops at
	// each page; with this, streaming weights comes within some 15% of only reading them, from 70%.
	prefetchAhead = 2048
)

// dot writes the inner products of one or two vectors with rows of weights.
func dot(a *asm, f format, vectors int) {
	const loop = "\tfor r := range dst {\n\t\tfor i := range x {\n\t\t\tdst[r] += x[i] * w[r*stride+i] // from 0\n"
	const end = "\t\t}\n\t}"
	const limit = "for len(x) a multiple of 8."
	if vectors == 1 {
		name := "dots" + f.name + "AVX2"
		a.begin(name, "func(dst, x []float32, w []byte, stride int)", name+" is", "", loop+end, "", limit)
	} else {
		name := "dotsPair" + f.name + "AVX2"
		a.begin(name, "func(dst, dst2, x, x2 []float32, w []byte, stride int)",
			name+" is", "", loop+"\t\t\tdst2[r] += x2[i] * w[r*stride+i]\n"+end, "", limit)
	}
	dst, x := []reg.GPVirtual{a.ptr("dst")}, []reg.GPVirtual{a.ptr("x")}
	if vectors == 2 {
		dst, x = append(dst, a.ptr("dst2")), append(x, a.ptr("x2"))
	}
	w, n, rows, stride := a.ptr("w"), a.length("x"), a.length("dst"), a.integer("stride")
	if f.bytes == 4 {
		a.SHLQ(operand.U8(2), stride)
	} else {
		a.SHLQ(operand.U8(1), stride)
	}
	const unroll = 4
	a.repeat(rows, 1, func() {
		acc := a.zeroed(unroll * vectors)
		p, left, index := a.copyOf(w), a.copyOf(n), a.GP64() // index counts elements
		a.XORQ(index, index)
		step := func(n int) {
			if n == unroll {
				for disp := 0; disp < n*lanes*f.bytes; disp += cacheLine {
					a.PREFETCHT0(at(p, prefetchAhead+disp))
				}
			}
			for u := range n {
				v := a.YMM()
				a.load(f, at(p, u*lanes*f.bytes), v)
				for i := range x {
					a.VFMADD231PS(atIndex(x[i], index, 4, u*lanes*4), v, acc[i*unroll+u])
				}
			}
			a.ADDQ(operand.U32(n*lanes*f.bytes), p)
			a.ADDQ(operand.U32(n*lanes), index)
		}
		a.repeat(left, unroll*lanes, func() { step(unroll) })
		a.repeat(left, lanes, func() { step(1) })
		for i := range x {
			s := acc[i*unroll : (i+1)*unroll]
			a.VADDPS(s[1], s[0], s[0])
			a.VADDPS(s[3], s[2], s[2])
			a.VADDPS(s[2], s[0], s[0])
			a.sum(s[0])
			a.VMOVSS(s[0].AsX(), at(dst[i], 0))
			a.ADDQ(operand.U32(4), dst[i])
		}
		a.ADDQ(stride, w)
	})
	a.VZEROUPPER()
	a.RET()
}
