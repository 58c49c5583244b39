package main

import (
	"fmt"

	"github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// expansions write what quantized weights stand for, with AVX2.
var expansions = []routine{
	{"from_q8_0", fromQ8_0},
	{"from_q4_0", fromQ4_0},
	{"from_q4_k", fromQ4_K},
	{"from_q6_k", fromQ6_K},
	{"from_affine4", func(a *asm) { fromAffineNarrow(a, 4) }},
	{"from_affine8", func(a *asm) { fromAffineNarrow(a, 8) }},
}

// loopOverBlocks is a routine that expands blocks with a scale each.
func loopOverBlocks(a *asm, name string, elements, bytes int, block func(dst, src reg.GPVirtual, scale reg.VecVirtual)) {
	a.begin("from"+name+"AVX2", "func(dst []float32, src []byte, halves *[65536]float32)",
		"from"+name+"AVX2 is", "", fmt.Sprintf("\tfor i := range dst {\n\t\tdst[i] = src[i] // as %s\n\t}", name),
		"", fmt.Sprintf("for len(dst) a multiple of %d.", elements))
	dst, src, n, halves := a.ptr("dst"), a.ptr("src"), a.length("dst"), a.integer("halves")
	a.repeat(n, elements, func() {
		d, scale := a.GP64(), a.YMM()
		a.MOVWQZX(at(src, 0), d)
		a.VBROADCASTSS(atIndex(halves, d, 4, 0), scale)
		block(dst, src, scale)
		a.ADDQ(operand.U32(bytes), src)
		a.ADDQ(operand.U32(4*elements), dst)
	})
	a.VZEROUPPER()
	a.RET()
}

func fromQ8_0(a *asm) {
	loopOverBlocks(a, "Q8_0", 32, 34, func(dst, src reg.GPVirtual, scale reg.VecVirtual) {
		for i := range 4 {
			v := a.YMM()
			a.VPMOVSXBD(at(src, 2+8*i), v)
			a.VCVTDQ2PS(v, v)
			a.VMULPS(scale, v, v)
			a.VMOVUPS(v, at(dst, 32*i))
		}
	})
}

func fromQ4_0(a *asm) {
	loopOverBlocks(a, "Q4_0", 32, 18, func(dst, src reg.GPVirtual, scale reg.VecVirtual) {
		for i := range 4 {
			v := a.YMM()
			a.VPMOVZXBD(at(src, 2+8*(i%2)), v)
			a.nibble(v, i/2)
			a.VPSUBD(a.words("eight", func(int) uint32 { return 8 }), v, v)
			a.VCVTDQ2PS(v, v)
			a.VMULPS(scale, v, v)
			a.VMOVUPS(v, at(dst, 32*i))
		}
	})
}

// nibble leaves the lower (0) or upper (1) four bits of the lowest byte of each lane.
func (a *asm) nibble(v reg.VecVirtual, upper int) {
	if upper == 1 {
		a.VPSRLD(operand.U8(4), v, v)
		return
	}
	a.VPAND(a.words("fifteen", func(int) uint32 { return 15 }), v, v)
}

func fromQ4_K(a *asm) {
	a.begin("fromQ4_KAVX2", "func(dst []float32, src []byte, numbers *[16]float32)",
		"fromQ4_KAVX2 expands one block, whose scales are the first eight numbers and whose minimums the others.")
	dst, src, numbers := a.ptr("dst"), a.ptr("src"), a.integer("numbers")
	for group := range 8 {
		scale, least := a.YMM(), a.YMM()
		a.VBROADCASTSS(at(numbers, 4*group), scale)
		a.VBROADCASTSS(at(numbers, 32+4*group), least)
		for i := range 4 {
			v := a.YMM()
			a.VPMOVZXBD(at(src, 16+group/2*32+8*i), v)
			a.nibble(v, group%2)
			a.VCVTDQ2PS(v, v)
			a.VMULPS(scale, v, v)
			a.VSUBPS(least, v, v)
			a.VMOVUPS(v, at(dst, 128*group+32*i))
		}
	}
	a.VZEROUPPER()
	a.RET()
}

func fromQ6_K(a *asm) {
	a.begin("fromQ6_KAVX2", "func(dst []float32, src []byte, numbers *[16]float32)",
		"fromQ6_KAVX2 expands one block, whose scales are the numbers.")
	dst, src, numbers := a.ptr("dst"), a.ptr("src"), a.integer("numbers")
	for i := range 32 {
		part, quarter, at8 := i/16, i/4%4, i%4*8
		v, high, scale := a.YMM(), a.YMM(), a.YMM()
		a.VPMOVZXBD(at(src, 64*part+32*(quarter%2)+at8), v)
		a.nibble(v, quarter/2)
		a.VPMOVZXBD(at(src, 128+32*part+at8), high)
		switch quarter {
		case 0, 1:
			a.VPSLLD(operand.U8(uint64(4-2*quarter)), high, high)
		case 3:
			a.VPSRLD(operand.U8(2), high, high)
		}
		a.VPAND(a.words("upper", func(int) uint32 { return 0x30 }), high, high)
		a.VPOR(high, v, v)
		a.VPSUBD(a.words("thirtyTwo", func(int) uint32 { return 32 }), v, v)
		a.VCVTDQ2PS(v, v)
		a.VBROADCASTSS(at(numbers, 4*(i/2)), scale)
		a.VMULPS(scale, v, v)
		a.VMOVUPS(v, at(dst, 32*i))
	}
	a.VZEROUPPER()
	a.RET()
}

func fromAffineNarrow(a *asm, bits int) {
	name := fmt.Sprintf("fromAffine%dAVX2", bits)
	a.begin(name, "func(dst []float32, q []byte, scales, biases []float32, group int)",
		name+" is", "", "\tfor i := range dst {\n\t\tdst[i] = scales[i/group]*q[i] + biases[i/group]\n\t}",
		"", fmt.Sprintf("for q of %d bits, group a multiple of 32 and len(dst) of group.", bits))
	dst, q, scales, biases := a.ptr("dst"), a.ptr("q"), a.ptr("scales"), a.ptr("biases")
	n, group := a.length("dst"), a.integer("group")
	left := a.GP64()
	a.XORQ(left, left) // of the current group
	scale, bias := a.YMM(), a.YMM()
	a.VXORPS(scale, scale, scale)
	a.VXORPS(bias, bias, bias)
	a.repeat(n, 32, func() {
		same := a.label("same")
		a.CMPQ(left, operand.U32(0))
		a.JNE(operand.LabelRef(same))
		a.VBROADCASTSS(at(scales, 0), scale)
		a.VBROADCASTSS(at(biases, 0), bias)
		a.ADDQ(operand.U32(4), scales)
		a.ADDQ(operand.U32(4), biases)
		a.MOVQ(group, left)
		a.Label(same)
		a.SUBQ(operand.U32(32), left)
		for i := range 4 {
			v := a.YMM()
			if bits == 4 { // eight elements lie in a word: every lane shifts its own to the bottom
				a.VPBROADCASTD(at(q, 4*i), v)
				a.VPSRLVD(a.words("shifts4", func(i int) uint32 { return uint32(i * 4) }), v, v)
				a.nibble(v, 0)
			} else {
				a.VPMOVZXBD(at(q, 8*i), v)
			}
			a.VCVTDQ2PS(v, v)
			a.VMULPS(scale, v, v)
			a.VADDPS(bias, v, v)
			a.VMOVUPS(v, at(dst, 32*i))
		}
		a.ADDQ(operand.U32(4*bits), q)
		a.ADDQ(operand.U32(128), dst)
	})
	a.VZEROUPPER()
	a.RET()
}
