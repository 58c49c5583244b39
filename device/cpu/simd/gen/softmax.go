package main

import (
	"fmt"

	"github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// softmaxes are the step of decode attention between scores and values, for AVX-512.
var softmaxes = []routine{
	{"softmax_avx512", func(a *asm) { a.wide = true; softmax(a) }},
	{"softmax_near_avx512", func(a *asm) { a.wide, a.atOnce = true, true; softmax(a) }},
}

// softmaxAhead is how many bytes of next are asked for with sixteen scores.
const softmaxAhead = 128

// beginSoftmax starts a routine for n a multiple of 16.
func (a *asm) beginSoftmax(name string) {
	a.begin(name, "func(s []float32, stride int, m, l, f []float32, next []byte, heads, n int)",
		name+" is, for each head, with a row of s [heads][stride],", "",
		"\tnext := m\n\tfor j := range n {\n\t\tnext = max(next, s[j])\n\t}\n\tif next == -Inf {\n\t\tf, base = 0, 0\n\t} else {\n\t\tf, base = exp(m-next), next\n\t}\n\tm, l = next, l*f\n"+
			"\tfor j := range n {\n\t\ts[j] = exp(s[j] - base)\n\t\tl += s[j]\n\t}",
		"", fmt.Sprintf("for n a multiple of 16. It prefetches next, at most %d bytes with 16 scores.", softmaxAhead))
}

func softmax(a *asm) {
	name := "softmax" + a.suffix()
	if a.atOnce {
		name = "softmaxNear" + a.suffix()
	}
	a.beginSoftmax(name)
	s, stride := a.ptr("s"), a.integer("stride")
	a.SHLQ(operand.U8(2), stride)
	m, l, f := a.ptr("m"), a.ptr("l"), a.ptr("f")
	ahead, limit := a.ahead()
	heads, n := a.integer("heads"), a.integer("n")
	bytes := a.lanes() * 4
	a.holdExp()
	// rows does so many heads together: what one waits for, the others fill.
	rows := func(heads int) {
		p := make([]reg.GPVirtual, heads)
		begin := func() {
			for h := range p {
				p[h] = a.GP64()
				if h == 0 {
					a.MOVQ(s, p[h])
				} else {
					a.LEAQ(atIndex(p[h-1], stride, 1, 0), p[h])
				}
			}
		}
		vectors := func() []reg.VecVirtual {
			v := make([]reg.VecVirtual, heads)
			for h := range v {
				v[h] = a.vec()
			}
			return v
		}
		before, most, base := vectors(), vectors(), vectors()
		for h := range p {
			a.VBROADCASTSS(at(m, 4*h), before[h])
			a.VMOVAPS(before[h], most[h])
		}
		begin()
		left := a.copyOf(n)
		a.repeat(left, a.lanes(), func() {
			for h := range p {
				a.VMAXPS(at(p[h], 0), most[h], most[h])
				a.ADDQ(operand.U32(bytes), p[h])
			}
		})
		for h := range p {
			a.largest(most[h])
			a.VMOVSS(most[h].AsX(), at(m, 4*h))
			a.VBROADCASTSS(most[h].AsX(), most[h])
			finite := a.K()
			a.VCMPPS(operand.U8(4), a.splat("minusInf", minusInf), most[h], finite)
			a.VMOVAPS_Z(most[h], finite, base[h])
		}
		for h := range p {
			a.VSUBPS(base[h], before[h], before[h])
			a.exp(before[h])
			a.VMOVSS(before[h].AsX(), at(f, 4*h))
		}
		sum := a.zeroed(heads)
		begin()
		left = a.copyOf(n)
		a.repeat(left, a.lanes(), func() {
			for h := range p {
				x := a.vec()
				a.VMOVUPS(at(p[h], 0), x)
				a.VSUBPS(base[h], x, x)
				a.exp(x)
				a.VMOVUPS(x, at(p[h], 0))
				a.VADDPS(x, sum[h], sum[h])
				a.ADDQ(operand.U32(bytes), p[h])
				a.prefetch(ahead, limit, softmaxAhead)
			}
		})
		for h := range p {
			a.sum(sum[h])
			last := a.XMM()
			a.VMOVSS(at(l, 4*h), last)
			a.VFMADD231SS(last, before[h].AsX(), sum[h].AsX())
			a.VMOVSS(sum[h].AsX(), at(l, 4*h))
			a.ADDQ(stride, s)
		}
		for _, r := range []reg.GPVirtual{m, l, f} {
			a.ADDQ(operand.U32(4*heads), r)
		}
	}
	for together := 4; together > 0; together /= 2 {
		a.repeat(heads, together, func() { rows(together) })
	}
	a.VZEROUPPER()
	a.RET()
}
