package main

import (
	"math"

	"github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// vectors are routines over one run of float32.
var vectors = []routine{
	{"swiglu", swiGLU},
	{"scale", scale},
	{"scale_add", scaleAdd},
}

// The exponential is 2^n p(r) with n = round(x log2 e) and r = x - n ln 2 in [-ln2/2, ln2/2], ln 2
// in two parts so that r is exact to float32. p is the polynomial of degree 5 with p(0) = p'(0) = 1
// that is nearest to e^r there: within 1.05e-7 of it, relatively (weighted minimax fit). Below expLow the result is 0: it would
// be less than 2.5e-38, which is next to the smallest normal number.
const (
	expLog2E = 1.44269504088896340736
	expLn2Hi = 0.693359375
	expLn2Lo = -2.12194440054690583e-4
	expLow   = -86.6
	expC2    = 0.499992303087
	expC3    = 0.166671153893
	expC4    = 0.0418903316627
	expC5    = 0.00831250128338
	expMagic = 12582912 // 1.5·2^23: adding it rounds to an integer, left in the low bits
)

var expPoly = []float32{expC5, expC4, expC3, expC2, 1, 1}

// exp replaces x by e^x. x must be at most 88; -Inf gives 0 and NaN gives NaN.
func (a *asm) exp(x reg.VecVirtual) {
	if a.wide {
		a.wideExp(x)
		return
	}
	t, n, p, low := a.YMM(), a.YMM(), a.YMM(), a.YMM()
	a.VMOVUPS(a.expConstant("expMagic", expMagic), t)
	a.VMOVAPS(t, n)
	a.VFMADD231PS(a.expConstant("expLog2E", expLog2E), x, t)
	a.VSUBPS(n, t, n)
	a.VCMPPS(operand.U8(5), a.expConstant("expLow", expLow), x, low) // not less than: true for NaN
	a.VFNMADD231PS(a.expConstant("expLn2Hi", expLn2Hi), n, x)
	a.VFNMADD231PS(a.expConstant("expLn2Lo", expLn2Lo), n, x)
	a.VPSLLD(operand.U8(23), t, t)
	a.VMOVUPS(a.expConstant("expC5", expPoly[0]), p)
	for i, name := range []string{"expC4", "expC3", "expC2", "one", "one"} {
		a.VFMADD213PS(a.expConstant(name, expPoly[i+1]), x, p)
	}
	a.VPADDD(t, p, p)
	a.VANDPS(low, p, x)
}

// expConstant is a constant of exp for AVX2: in a register if that is held, else in memory.
func (a *asm) expConstant(name string, v float32) operand.Op {
	if held, ok := a.held[name]; ok {
		return held
	}
	return a.splat(name, v)
}

// holdConstants loads constants of exp for AVX2 that it takes from then on, as many as registers suffice for: what a vector takes of memory's loads would be most of its time.
func (a *asm) holdConstants() {
	a.held = map[string]reg.VecVirtual{}
	for _, c := range []struct {
		name  string
		value float32
	}{{"expMagic", expMagic}, {"expLog2E", expLog2E}, {"expLn2Hi", expLn2Hi}, {"expLn2Lo", expLn2Lo}, {"expC4", expC4}, {"expC3", expC3}, {"expC2", expC2}, {"one", 1}} {
		v := a.YMM()
		a.VMOVUPS(a.splat(c.name, c.value), v)
		a.held[c.name] = v
	}
}

// exponential is the constants of exp for AVX-512, in registers: what a vector takes of memory's two loads a cycle would be most of its time.
type exponential struct {
	magic, log2E, low, ln2Hi, ln2Lo reg.VecVirtual
	poly                            []reg.VecVirtual
}

// holdExp loads the constants that exp takes from then on.
func (a *asm) holdExp() {
	single := func(name string, v float32) reg.VecVirtual {
		x := a.ZMM()
		a.VBROADCASTSS(a.dword(name, math.Float32bits(v)), x)
		return x
	}
	one := single("one", 1)
	a.exponential = &exponential{
		magic: single("expMagic", expMagic), log2E: single("expLog2E", expLog2E), low: single("expLow", expLow),
		ln2Hi: single("expLn2Hi", expLn2Hi), ln2Lo: single("expLn2Lo", expLn2Lo),
		poly: []reg.VecVirtual{single("expC5", expC5), single("expC4", expC4), single("expC3", expC3), single("expC2", expC2), one, one},
	}
}

// wideExp is exp for AVX-512, in a routine that holds its constants.
func (a *asm) wideExp(x reg.VecVirtual) {
	e := a.exponential
	t, n, p, kept := a.ZMM(), a.ZMM(), a.ZMM(), a.K()
	a.VMOVAPS(e.magic, t)
	a.VFMADD231PS(e.log2E, x, t)
	a.VSUBPS(e.magic, t, n)
	a.VCMPPS(operand.U8(5), e.low, x, kept) // not less than: true for NaN
	a.VFNMADD231PS(e.ln2Hi, n, x)
	a.VFNMADD231PS(e.ln2Lo, n, x)
	a.VPSLLD(operand.U8(23), t, t)
	a.VMOVAPS(e.poly[0], p)
	for _, c := range e.poly[1:] {
		a.VFMADD213PS(c, x, p)
	}
	a.VPADDD_Z(t, p, kept, x)
}

// broadcast fills a vector with a float32 parameter.
func (a *asm) broadcast(name string) reg.VecVirtual {
	v := a.vec()
	p, err := a.Param(name).Resolve()
	if err != nil {
		panic(err) // a mistake in this program: the signature has no such parameter
	}
	a.VBROADCASTSS(p.Addr, v)
	return v
}

// largest leaves the largest of the lanes of v in its lowest element.
func (a *asm) largest(v reg.VecVirtual) {
	t := a.XMM()
	if a.wide {
		h := a.YMM()
		a.VEXTRACTF64X4(operand.U8(1), v, h)
		a.VMAXPS(h, v.AsY(), v.AsY())
	}
	a.upper(v.AsY(), t)
	a.VMAXPS(t, v.AsX(), v.AsX())
	a.VMOVHLPS(v.AsX(), v.AsX(), t)
	a.VMAXPS(t, v.AsX(), v.AsX())
	a.VMOVSHDUP(v.AsX(), t)
	a.VMAXSS(t, v.AsX(), v.AsX())
}

func swiGLU(a *asm) {
	a.begin("swiGLUAVX2", "func(dst, gate, up []float32)",
		"swiGLUAVX2 is", "", "\tfor i, g := range gate {\n\t\tdst[i] = g / (1 + exp(-g)) * up[i]\n\t}",
		"", "for len(gate) a multiple of 8.")
	dst, gate, up, n := a.ptr("dst"), a.ptr("gate"), a.ptr("up"), a.length("gate")
	a.repeat(n, lanes, func() {
		g, e := a.YMM(), a.YMM()
		a.VMOVUPS(at(gate, 0), g)
		a.VXORPS(a.splat("signs", float32(math.Copysign(0, -1))), g, e)
		limit := a.YMM()
		a.VMOVUPS(a.splat("expHigh", 88), limit)
		a.VMINPS(e, limit, e) // NaN in e stays
		a.exp(e)
		a.VADDPS(a.splat("one", 1), e, e)
		a.VDIVPS(e, g, g)
		a.VMULPS(at(up, 0), g, g)
		a.VMOVUPS(g, at(dst, 0))
		for _, p := range []reg.GPVirtual{dst, gate, up} {
			a.ADDQ(operand.U32(lanes*4), p)
		}
	})
	a.VZEROUPPER()
	a.RET()
}

func scale(a *asm) {
	a.begin("scaleAVX2", "func(dst, x []float32, f float32)",
		"scaleAVX2 is", "", "\tfor i, v := range x {\n\t\tdst[i] = f * v\n\t}",
		"", "for len(x) a multiple of 8.")
	dst, x, n := a.ptr("dst"), a.ptr("x"), a.length("x")
	f := a.broadcast("f")
	a.repeat(n, lanes, func() {
		v := a.YMM()
		a.VMULPS(at(x, 0), f, v)
		a.VMOVUPS(v, at(dst, 0))
		a.ADDQ(operand.U32(lanes*4), x)
		a.ADDQ(operand.U32(lanes*4), dst)
	})
	a.VZEROUPPER()
	a.RET()
}

func scaleAdd(a *asm) {
	a.begin("scaleAddAVX2", "func(dst, x []float32, fd, fx float32)",
		"scaleAddAVX2 is", "", "\tfor i, v := range x {\n\t\tdst[i] = fd*dst[i] + fx*v\n\t}",
		"", "for len(x) a multiple of 8.")
	dst, x, n := a.ptr("dst"), a.ptr("x"), a.length("x")
	fd, fx := a.broadcast("fd"), a.broadcast("fx")
	a.repeat(n, lanes, func() {
		v := a.YMM()
		a.VMULPS(at(dst, 0), fd, v)
		a.VFMADD231PS(at(x, 0), fx, v)
		a.VMOVUPS(v, at(dst, 0))
		a.ADDQ(operand.U32(lanes*4), x)
		a.ADDQ(operand.U32(lanes*4), dst)
	})
	a.VZEROUPPER()
	a.RET()
}
