package main

import (
	"fmt"
	"math"
)

// softmaxes are the step of attention between scores and values.
var softmaxes = []routine{{"softmax", softmax}, {"tile_softmax", tileSoftmax}}

// softmaxLoop is what both equal, for one query.
const softmaxLoop = "next := m\nfor j := range n {\n\tnext = max(next, s[j])\n}\nif next == -Inf {\n\tf, base = 0, 0\n} else {\n\tf, base = exp(m-next), next\n}\nm, l = next, l*f\n" +
	"for j := range n {\n\ts[j] = exp(s[j] - base)\n\tl += s[j]\n}"

// baseOf replaces the largest scores by what is subtracted from all: themselves, or 0 where there are none.
func (a *asm) baseOf(most reg) {
	minusInf := a.word(math.Float32bits(float32(math.Inf(-1))))
	a.do(fcmeq(minusInf, minusInf, most), bic(most, most, minusInf))
	a.free(minusInf)
}

func softmax(a *asm) {
	const quads = 4
	a.begin("softmaxNEON", "func(s []float32, stride int, m, l, f []float32, heads, n int)",
		"softmaxNEON is, for each head, with a row of s [heads][stride],\n\n\t"+indented(softmaxLoop), "", "for n a multiple of 16.")
	s, stride, m, l, f := a.ptr("s"), a.integer("stride"), a.ptr("m"), a.ptr("l"), a.ptr("f")
	heads, n := a.integer("heads"), a.integer("n")
	a.line("LSL\t$2, %v", stride)
	e := newExponential(a)
	a.repeat(heads, 1, func() {
		before, most := a.vec(), a.vecs(quads)
		a.line("VLD1R\t(%v), [V%d.S4]", m, before)
		for _, v := range most {
			a.do(mov(v, before))
		}
		p, left := a.copyOf(s), a.copyOf(n)
		a.repeat(left, 4*quads, func() {
			for _, v := range most {
				x := a.vec()
				a.nextq(x, p)
				a.do(fmax(v, v, x))
				a.free(x)
			}
		})
		a.do(fmax(most[0], most[0], most[1]), fmax(most[2], most[2], most[3]), fmax(most[0], most[0], most[2]), fmaxv(most[0], most[0]))
		a.sts(most[0], m, 0)
		base := most[0]
		a.do(dup(base, base, 0))
		a.free(most[1:]...)
		a.baseOf(base)
		a.do(fsub(before, before, base))
		e.of(before)
		a.sts(before, f, 0)
		sums := a.zeros(quads)
		a.line("MOVD\t%v, %v", s, p)
		a.line("MOVD\t%v, %v", n, left)
		a.repeat(left, 4*quads, func() {
			for _, v := range sums {
				x := a.vec()
				a.ldq(x, p, 0)
				a.do(fsub(x, x, base))
				e.of(x)
				a.putq(x, p)
				a.do(fadd(v, v, x))
				a.free(x)
			}
		})
		a.do(fadd(sums[0], sums[0], sums[1]), fadd(sums[2], sums[2], sums[3]), fadd(sums[0], sums[0], sums[2]))
		a.do(faddp(sums[0], sums[0], sums[0]), faddp(sums[0], sums[0], sums[0]))
		a.lds(sums[1], l, 0)
		a.do(fmla(sums[0], sums[1], before))
		a.sts(sums[0], l, 0)
		a.line("ADD\t%v, %v", stride, s)
		a.advance(4, m, l, f)
		a.drop(p, left)
		a.free(sums...)
		a.free(base, before)
	})
}

func tileSoftmax(a *asm) {
	a.begin("tileSoftmaxNEON", "func(s, m, l, f []float32, n int)",
		fmt.Sprintf("tileSoftmaxNEON is, for each lane of %d,\n\n\t", tileLanes)+indented(softmaxLoop), "", fmt.Sprintf("with s [n][%d] and m, l, f [%[1]d].", tileLanes))
	s, m, l, f, n := a.ptr("s"), a.ptr("m"), a.ptr("l"), a.ptr("f"), a.integer("n")
	next := a.vecs(tileVectors)
	for t, v := range next {
		a.ldq(v, m, 16*t)
	}
	p, left := a.copyOf(s), a.copyOf(n)
	a.repeat(left, 1, func() {
		for _, v := range next {
			x := a.vec()
			a.nextq(x, p)
			a.do(fmax(v, v, x))
			a.free(x)
		}
	})
	e := newExponential(a)
	for t, v := range next {
		x := a.vec()
		a.ldq(x, m, 16*t)
		a.stq(v, m, 16*t)
		a.baseOf(v)
		a.do(fsub(x, x, v))
		e.of(x)
		a.stq(x, f, 16*t)
		a.free(x)
	}
	sums := a.zeros(tileVectors)
	a.repeat(n, 1, func() {
		for t, v := range sums {
			x := a.vec()
			a.ldq(x, s, 0)
			a.do(fsub(x, x, next[t]))
			e.of(x)
			a.putq(x, s)
			a.do(fadd(v, v, x))
			a.free(x)
		}
	})
	for t, v := range sums {
		x, y := a.vec(), a.vec()
		a.ldq(x, f, 16*t)
		a.ldq(y, l, 16*t)
		a.do(fmla(v, x, y))
		a.stq(v, l, 16*t)
		a.free(x, y)
	}
}
