package main

import (
	"fmt"

	"github.com/mmcloughlin/avo/operand"
)

// softmaxes are the step of decode attention between scores and values.
var softmaxes = []routine{
	{"softmax", softmax},
	{"softmax_avx512", func(a *asm) { a.wide = true; softmax(a) }},
}

// softmaxAhead is how many bytes of next are asked for with sixteen scores.
const softmaxAhead = 128

func softmax(a *asm) {
	name := "softmax" + a.suffix()
	a.begin(name, "func(s []float32, stride int, m, l, f []float32, next []byte, heads, n int)",
		name+" is, for each head, with a row of s [heads][stride],", "",
		"\tnext := m\n\tfor j := range n {\n\t\tnext = max(next, s[j])\n\t}\n\tif next == -Inf {\n\t\tf, base = 0, 0\n\t} else {\n\t\tf, base = exp(m-next), next\n\t}\n\tm, l = next, l*f\n"+
			"\tfor j := range n {\n\t\ts[j] = exp(s[j] - base)\n\t\tl += s[j]\n\t}",
		"", fmt.Sprintf("for n a multiple of %d. It prefetches next, at most %d bytes with 16 scores.", a.lanes(), softmaxAhead))
	s, stride := a.ptr("s"), a.integer("stride")
	a.SHLQ(operand.U8(2), stride)
	m, l, f := a.ptr("m"), a.ptr("l"), a.ptr("f")
	ahead, limit := a.ahead()
	heads, n := a.integer("heads"), a.integer("n")
	bytes := a.lanes() * 4
	a.repeat(heads, 1, func() {
		before, most := a.vec(), a.vec()
		a.VBROADCASTSS(at(m, 0), before)
		a.VMOVAPS(before, most)
		p, left := a.copyOf(s), a.copyOf(n)
		a.repeat(left, a.lanes(), func() {
			a.VMAXPS(at(p, 0), most, most)
			a.ADDQ(operand.U32(bytes), p)
		})
		a.largest(most)
		a.VMOVSS(most.AsX(), at(m, 0))
		base := a.vec()
		a.VBROADCASTSS(most.AsX(), most)
		if a.wide {
			finite := a.K()
			a.VCMPPS(operand.U8(4), a.splat("minusInf", minusInf), most, finite)
			a.VMOVAPS_Z(most, finite, base)
		} else {
			a.VCMPPS(operand.U8(4), a.splat("minusInf", minusInf), most, base)
			a.VANDPS(most, base, base)
		}
		a.VSUBPS(base, before, before)
		a.exp(before)
		a.VMOVSS(before.AsX(), at(f, 0))
		sum := a.zeroed(1)[0]
		p, left = a.copyOf(s), a.copyOf(n)
		a.repeat(left, a.lanes(), func() {
			x := a.vec()
			a.VMOVUPS(at(p, 0), x)
			a.VSUBPS(base, x, x)
			a.exp(x)
			a.VMOVUPS(x, at(p, 0))
			a.VADDPS(x, sum, sum)
			a.ADDQ(operand.U32(bytes), p)
			a.prefetch(ahead, limit, softmaxAhead*a.lanes()/16)
		})
		a.sum(sum)
		a.VMOVSS(at(l, 0), most.AsX())
		a.VFMADD231SS(most.AsX(), before.AsX(), sum.AsX())
		a.VMOVSS(sum.AsX(), at(l, 0))
		a.ADDQ(stride, s)
		a.ADDQ(operand.U32(4), m)
		a.ADDQ(operand.U32(4), l)
		a.ADDQ(operand.U32(4), f)
	})
	a.VZEROUPPER()
	a.RET()
}
