package main

import "strings"

// conversions go between stored halves and float32.
var conversions = []routine{
	{"from_f16", func(a *asm) { from(a, formats[1]) }},
	{"from_bf16", func(a *asm) { from(a, formats[2]) }},
	{"to_f16", toF16},
}

func from(a *asm, f storage) {
	name := "from" + f.name + "NEON"
	a.begin(name, "func(dst []float32, src []byte)",
		is(name, "for i := range dst {\n\tdst[i] = float32(src[i]) // as "+strings.ToLower(f.name)+"\n}", "for len(dst) a multiple of 8."))
	dst, src, n := a.ptr("dst"), a.ptr("src"), a.length("dst")
	a.repeat(n, 8, func() {
		raw := a.loadEight(f, src)
		for u := range 2 {
			v, free := a.quad(f, raw, u)
			a.putq(v, dst)
			free()
		}
		a.free(raw...)
	})
}

func toF16(a *asm) {
	a.begin("toF16NEON", "func(dst []byte, src []float32)",
		is("toF16NEON", "for i, v := range src {\n\tdst[i] = half(v) // to nearest, ties to even\n}", "for len(src) a multiple of 8."))
	dst, src, n := a.ptr("dst"), a.ptr("src"), a.length("src")
	a.repeat(n, 8, func() {
		low, high, h := a.vec(), a.vec(), a.vec()
		a.nextq(low, src)
		a.nextq(high, src)
		a.do(fcvtn(h, low), fcvtn2(h, high))
		a.putq(h, dst)
		a.free(low, high, h)
	})
}
