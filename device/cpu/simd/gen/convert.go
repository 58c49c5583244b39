package main

import (
	"strings"

	"github.com/mmcloughlin/avo/operand"
)

// conversions go between stored halves and float32.
var conversions = []routine{
	{"from_f16", func(a *asm) { from(a, formats[1]) }},
	{"from_bf16", func(a *asm) { from(a, formats[2]) }},
	{"to_f16", toF16},
}

func from(a *asm, f format) {
	name := "from" + f.name + "AVX2"
	a.begin(name, "func(dst []float32, src []byte)",
		name+" is", "", "\tfor i := range dst {\n\t\tdst[i] = float32(src[i]) // as "+strings.ToLower(f.name)+"\n\t}",
		"", "for len(dst) a multiple of 8.")
	dst, src, n := a.ptr("dst"), a.ptr("src"), a.length("dst")
	step := func(vectors int) {
		for u := range vectors {
			v := a.YMM()
			a.load(f, at(src, u*lanes*f.bytes), v)
			a.VMOVUPS(v, at(dst, u*lanes*4))
		}
		a.ADDQ(operand.U32(vectors*lanes*f.bytes), src)
		a.ADDQ(operand.U32(vectors*lanes*4), dst)
	}
	a.repeat(n, 4*lanes, func() { step(4) })
	a.repeat(n, lanes, func() { step(1) })
	a.VZEROUPPER()
	a.RET()
}

func toF16(a *asm) {
	a.begin("toF16AVX2", "func(dst []byte, src []float32)",
		"toF16AVX2 is", "", "\tfor i, v := range src {\n\t\tdst[i] = half(v) // to nearest, ties to even\n\t}",
		"", "for len(src) a multiple of 8.")
	dst, src, n := a.ptr("dst"), a.ptr("src"), a.length("src")
	a.repeat(n, lanes, func() {
		v := a.YMM()
		a.VMOVUPS(at(src, 0), v)
		a.VCVTPS2PH(operand.U8(0), v, at(dst, 0))
		a.ADDQ(operand.U32(lanes*4), src)
		a.ADDQ(operand.U32(lanes*2), dst)
	})
	a.VZEROUPPER()
	a.RET()
}
