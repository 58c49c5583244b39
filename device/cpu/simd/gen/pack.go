package main

import (
	"github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// packs lay rows out for the matrix kernel: [column][row], all rows of one column together.
var packs = func() []routine {
	rs := []routine{{"pack6_f32", func(a *asm) { pack(a, formats[0], 6) }}}
	for i, name := range []string{"pack16_f32", "pack16_f16", "pack16_bf16"} {
		rs = append(rs, routine{name, func(a *asm) { pack(a, formats[i], 16) }})
	}
	return rs
}()

// pack writes the transposition of rows rows of stored elements, eight columns at a time.
func pack(a *asm, f format, rows int) {
	if rows == 6 {
		a.begin("pack6F32AVX2", "func(dst, src []float32, stride, cols int)",
			"pack6F32AVX2 is", "", "\tfor c := range cols {\n\t\tfor r := range 6 {\n\t\t\tdst[c*6+r] = src[r*stride+c]\n\t\t}\n\t}",
			"", "for cols a multiple of 8. It also writes the two elements after dst[cols*6-1].")
	} else {
		name := "pack16" + f.name + "AVX2"
		a.begin(name, "func(dst []float32, src []byte, stride, cols int)",
			name+" is", "", "\tfor c := range cols {\n\t\tfor r := range 16 {\n\t\t\tdst[c*16+r] = src[r*stride+c] // in elements\n\t\t}\n\t}",
			"", "for cols a multiple of 8.")
	}
	dst, src := a.ptr("dst"), a.ptr("src")
	s1, n := a.integer("stride"), a.integer("cols")
	if f.bytes == 4 {
		a.SHLQ(operand.U8(2), s1)
	} else {
		a.SHLQ(operand.U8(1), s1)
	}
	s3, s5, s7 := a.GP64(), a.GP64(), a.GP64()
	a.LEAQ(atIndex(s1, s1, 2, 0), s3)
	a.LEAQ(atIndex(s1, s1, 4, 0), s5)
	a.LEAQ(atIndex(s3, s1, 4, 0), s7)
	if rows == 6 {
		a.packEight(f, dst, src, nil, s1, s3, s5, s7, n, rows)
	} else {
		// One half of the rows after the other: the lines of 16 rows that lie a power of two apart would
		// not fit into one set of the first cache.
		ahead, second, out, left := a.GP64(), a.GP64(), a.copyOf(dst), a.copyOf(n)
		a.LEAQ(atIndex(src, s1, 8, 0), second)
		a.LEAQ(atIndex(second, s1, 8, 0), ahead)
		a.packEight(f, out, src, ahead, s1, s3, s5, s7, left, rows)
		a.LEAQ(atIndex(second, s1, 8, 0), ahead)
		a.LEAQ(atIndex(ahead, s1, 8, 0), ahead)
		a.ADDQ(operand.U32(lanes*4), dst)
		a.packEight(f, dst, second, ahead, s1, s3, s5, s7, n, rows)
	}
	a.VZEROUPPER()
	a.RET()
}

// packEight packs eight rows from src on into one or the other half of each column of dst, or six rows
// and two of zeros. It asks for the eight rows from ahead on, which come next but one.
func (a *asm) packEight(f format, dst, src reg.GPVirtual, ahead reg.Register, s1, s3, s5, s7, n reg.GPVirtual, rows int) {
	addresses := func(base reg.Register) []operand.Mem {
		m := operand.Mem{Base: base}
		return []operand.Mem{m, m.Idx(s1, 1), m.Idx(s1, 2), m.Idx(s3, 1), m.Idx(s1, 4), m.Idx(s5, 1), m.Idx(s3, 2), m.Idx(s7, 1)}
	}
	a.repeat(n, lanes, func() {
		v := make([]reg.VecVirtual, lanes)
		for i, m := range addresses(src) {
			v[i] = a.YMM()
			if i < rows {
				a.load(f, m, v[i])
			} else {
				a.VXORPS(v[i], v[i], v[i])
			}
		}
		a.ADDQ(operand.U32(lanes*f.bytes), src)
		if ahead != nil {
			for _, m := range addresses(ahead) {
				a.PREFETCHT1(m)
			}
			a.ADDQ(operand.U32(lanes*f.bytes), ahead)
		}
		for i, t := range a.transpose(v) {
			a.VMOVUPS(t, at(dst, 4*i*rows))
		}
		a.ADDQ(operand.U32(lanes*rows*4), dst)
	})
}

// transpose is the transposition of the 8x8 matrix whose rows are v, which it destroys.
func (a *asm) transpose(v []reg.VecVirtual) []reg.VecVirtual {
	pairs := make([]reg.VecVirtual, lanes)
	for i := 0; i < lanes; i += 2 {
		pairs[i], pairs[i+1] = a.YMM(), a.YMM()
		a.VUNPCKLPS(v[i+1], v[i], pairs[i])
		a.VUNPCKHPS(v[i+1], v[i], pairs[i+1])
	}
	quads := make([]reg.VecVirtual, lanes)
	for i := 0; i < lanes; i += 4 {
		for j := range 2 {
			lo, hi := a.YMM(), a.YMM()
			a.VSHUFPS(operand.U8(0x44), pairs[i+2+j], pairs[i+j], lo)
			a.VSHUFPS(operand.U8(0xee), pairs[i+2+j], pairs[i+j], hi)
			quads[i+2*j], quads[i+2*j+1] = lo, hi
		}
	}
	out := make([]reg.VecVirtual, lanes)
	for i := range 4 {
		out[i], out[i+4] = a.YMM(), a.YMM()
		a.VPERM2F128(operand.U8(0x20), quads[i+4], quads[i], out[i])
		a.VPERM2F128(operand.U8(0x31), quads[i+4], quads[i], out[i+4])
	}
	return out
}
