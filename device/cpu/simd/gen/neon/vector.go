package main

import "math"

// vectors are routines over one run of float32, or of memory.
var vectors = []routine{
	{"swiglu", swiGLU},
	{"scale", scale},
	{"scale_add", scaleAdd},
	{"sum", sum},
	{"prefetch", prefetch},
}

// exponential holds the constants of e^x in registers.
//
// It is 2^n p(r) with n = round(x log2 e) and r = x - n ln 2 in [-ln2/2, ln2/2], ln 2 in two parts so that r is exact to float32.
// p is the polynomial of degree 5 with p(0) = p'(0) = 1 that is nearest to e^r there: within 1.05e-7 of it, relatively (weighted
// minimax fit). Below -86.6 the result is 0: it would be next to the smallest normal number.
type exponential struct {
	*asm
	magic, log2e, ln2Hi, ln2Lo, low, one reg
	c                                    []reg
}

func newExponential(a *asm) exponential {
	e := exponential{asm: a}
	constant := func(v float32) reg { return a.word(math.Float32bits(v)) }
	e.magic = constant(12582912) // 1.5·2^23: adding it rounds to a whole number, left in the low bits
	e.log2e, e.ln2Hi, e.ln2Lo = constant(1.44269504088896340736), constant(0.693359375), constant(-2.12194440054690583e-4)
	e.low, e.one = constant(-86.6), constant(1)
	for _, c := range []float32{0.00831250128338, 0.0418903316627, 0.166671153893, 0.499992303087} {
		e.c = append(e.c, constant(c))
	}
	return e
}

// of replaces x by e^x. x must be at most 88; -Inf gives 0 and NaN gives NaN.
func (e exponential) of(x reg) {
	t, n, p, low := e.vec(), e.vec(), e.vec(), e.vec()
	e.do(mov(t, e.magic), fmla(t, x, e.log2e), fsub(n, t, e.magic))
	e.do(shl4s(t, t, 23), add4s(t, t, e.one)) // 2^n
	e.do(fcmgt(low, e.low, x))                // false for NaN
	e.do(fmls(x, n, e.ln2Hi), fmls(x, n, e.ln2Lo))
	e.do(mov(p, e.c[1]), fmla(p, e.c[0], x))
	next := n
	for _, c := range []reg{e.c[2], e.c[3], e.one, e.one} {
		e.do(mov(next, c), fmla(next, p, x))
		p, next = next, p
	}
	e.do(fmul(x, p, t), bic(x, x, low))
	e.free(t, low, p, next)
}

func swiGLU(a *asm) {
	a.begin("swiGLUNEON", "func(dst, gate, up []float32)",
		is("swiGLUNEON", "for i, g := range gate {\n\tdst[i] = g / (1 + exp(-g)) * up[i]\n}", "for len(gate) a multiple of 4."))
	dst, gate, up, n := a.ptr("dst"), a.ptr("gate"), a.ptr("up"), a.length("gate")
	e, high := newExponential(a), a.word(math.Float32bits(88))
	a.repeat(n, 4, func() {
		g, x, u := a.vec(), a.vec(), a.vec()
		a.nextq(g, gate)
		a.nextq(u, up)
		a.do(fneg(x, g), fmin(x, x, high)) // NaN stays
		e.of(x)
		a.do(fadd(x, x, e.one), fdiv(g, g, x), fmul(g, g, u))
		a.putq(g, dst)
		a.free(g, x, u)
	})
}

func scale(a *asm) {
	a.begin("scaleNEON", "func(dst, x []float32, f float32)",
		is("scaleNEON", "for i, v := range x {\n\tdst[i] = f * v\n}", "for len(x) a multiple of 4."))
	dst, x, n := a.ptr("dst"), a.ptr("x"), a.length("x")
	f := a.broadcast("f")
	a.repeat(n, 4, func() {
		v := a.vec()
		a.nextq(v, x)
		a.do(fmul(v, v, f))
		a.putq(v, dst)
		a.free(v)
	})
}

func scaleAdd(a *asm) {
	a.begin("scaleAddNEON", "func(dst, x []float32, fd, fx float32)",
		is("scaleAddNEON", "for i, v := range x {\n\tdst[i] = fd*dst[i] + fx*v\n}", "for len(x) a multiple of 4."))
	dst, x, n := a.ptr("dst"), a.ptr("x"), a.length("x")
	fd, fx := a.broadcast("fd"), a.broadcast("fx")
	a.repeat(n, 4, func() {
		v, d := a.vec(), a.vec()
		a.nextq(v, x)
		a.ldq(d, dst, 0)
		a.do(fmul(d, d, fd), fmla(d, v, fx))
		a.putq(d, dst)
		a.free(v, d)
	})
}

func sum(a *asm) {
	const vectors = 8
	a.begin("sumNEON", "func(b []byte) (s uint64)",
		is("sumNEON", "for i := 0; i < len(b); i += 8 {\n\ts += uint64(b[i:])\n}", "for len(b) a multiple of 128."))
	p, n := a.ptr("b"), a.length("b")
	acc, x := a.zeros(vectors), a.vecs(vectors)
	a.repeat(n, 16*vectors, func() {
		for i := 0; i < vectors; i += 2 {
			a.line("FLDPQ.P\t32(%v), (F%d, F%d)", p, x[i], x[i+1])
		}
		for i := range acc {
			a.do(add2d(acc[i], acc[i], x[i]))
		}
	})
	for half := vectors / 2; half > 0; half /= 2 {
		for i := range half {
			a.do(add2d(acc[i], acc[i], acc[i+half]))
		}
	}
	a.do(addpd(acc[0], acc[0]))
	a.line("FMOVD\tF%d, %s", acc[0], a.parameter("s"))
}

// cacheLine is the shortest that there is; Apple's have twice as many bytes.
const cacheLine = 64

func prefetch(a *asm) {
	a.begin("prefetchAsm", "func(b []byte)", "prefetchAsm asks for b to be brought into the nearest cache.")
	b, n := a.ptr("b"), a.length("b")
	a.advance(cacheLine-1, n)
	a.repeat(n, cacheLine, func() {
		a.line("PRFM\t(%v), PLDL1KEEP", b)
		a.advance(cacheLine, b)
	})
}
