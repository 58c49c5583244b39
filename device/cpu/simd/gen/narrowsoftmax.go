package main

import (
	"github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// narrowSoftmaxes are softmaxes for AVX2.
var narrowSoftmaxes = []routine{{"softmax", narrowSoftmax}}

// narrowSoftmax writes the steps one after the other for all heads: a head waits for none before it, so that what one waits for the others fill.
func narrowSoftmax(a *asm) {
	a.beginSoftmax("softmaxAVX2")
	s, stride := a.ptr("s"), a.integer("stride")
	a.SHLQ(operand.U8(2), stride)
	ahead, limit := a.ahead()
	n := a.integer("n")
	minusInf := a.splat("minusInf", minusInf)
	a.holdConstants()
	// each runs body for every head, with where its parts of m, l and f are.
	each := func(body func(row, m, l, f reg.GPVirtual)) {
		row, m, l, f, heads := a.copyOf(s), a.ptr("m"), a.ptr("l"), a.ptr("f"), a.integer("heads")
		a.repeat(heads, 1, func() {
			body(row, m, l, f)
			a.ADDQ(stride, row)
			for _, r := range []reg.GPVirtual{m, l, f} {
				a.ADDQ(operand.U8(4), r)
			}
		})
	}
	// base is the largest of a head's scores, or 0 if that is -Inf.
	base := func(m reg.GPVirtual) reg.VecVirtual {
		most, base := a.YMM(), a.YMM()
		a.VBROADCASTSS(at(m, 0), most)
		a.VCMPPS(operand.U8(4), minusInf, most, base)
		a.VANDPS(most, base, base)
		return base
	}
	each(func(row, m, _, f reg.GPVirtual) {
		before, most, other := a.XMM(), a.YMM(), a.YMM()
		a.VBROADCASTSS(at(m, 0), most)
		a.VMOVAPS(most, other)
		a.VMOVAPS(most.AsX(), before)
		p, left := a.copyOf(row), a.copyOf(n)
		a.repeat(left, 2*lanes, func() {
			a.VMAXPS(at(p, 0), most, most)
			a.VMAXPS(at(p, 4*lanes), other, other)
			a.ADDQ(operand.U32(2*4*lanes), p)
		})
		a.VMAXPS(other, most, most)
		a.largest(most)
		a.VMOVSS(most.AsX(), at(m, 0))
		a.VMOVSS(before, at(f, 0))
	})
	each(func(_, m, _, f reg.GPVirtual) {
		x := a.YMM()
		a.VBROADCASTSS(at(f, 0), x)
		a.VSUBPS(base(m), x, x)
		a.exp(x)
		a.VMOVSS(x.AsX(), at(f, 0))
	})
	each(func(row, m, l, f reg.GPVirtual) {
		from, sum := base(m), a.zeroed(2)
		p, left := a.copyOf(row), a.copyOf(n)
		a.repeat(left, 2*lanes, func() {
			for i := range sum {
				x := a.YMM()
				a.VMOVUPS(at(p, 4*lanes*i), x)
				a.VSUBPS(from, x, x)
				a.exp(x)
				a.VMOVUPS(x, at(p, 4*lanes*i))
				a.VADDPS(x, sum[i], sum[i])
				a.PREFETCHT1(at(ahead, cacheLine*i))
			}
			a.ADDQ(operand.U32(2*4*lanes), p)
			a.advance(ahead, limit, softmaxAhead)
		})
		a.VADDPS(sum[1], sum[0], sum[0])
		a.sum(sum[0])
		last := a.XMM()
		a.VMOVSS(at(l, 0), last)
		a.VFMADD231SS(at(f, 0), last, sum[0].AsX())
		a.VMOVSS(sum[0].AsX(), at(l, 0))
	})
	a.VZEROUPPER()
	a.RET()
}
