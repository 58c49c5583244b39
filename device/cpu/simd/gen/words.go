package main

import (
	"fmt"
	"math"
	"strings"

	"github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// words are what the kernels of wholeGEMMs multiply, before it is packed: activations and quantized weights as words, and their scales. All with AVX2, as they are
// made once for a whole product, and once for all its rows.
var words = []routine{
	{"words", wordsOfActivations},
	{"words_q8_0", wordsQ8_0},
	{"words_q4_0", wordsQ4_0},
	{"words_q4_k", wordsQ4_K},
	{"words_q6_k", wordsQ6_K},
	{"words_affine8", func(a *asm) { wordsAffine(a, 8) }},
	{"words_affine4", func(a *asm) { wordsAffine(a, 4) }},
}

// tileBytes are weights as bytes, for AMX.
var tileBytes = []routine{
	{"bytes_q8_0_avx512", inBytes(wordsQ8_0)},
	{"bytes_q4_0_avx512", inBytes(wordsQ4_0)},
	{"bytes_q4_k_avx512", inBytes(wordsQ4_K)},
	{"bytes_affine8_avx512", inBytes(func(a *asm) { wordsAffine(a, 8) })},
	{"bytes_affine4_avx512", inBytes(func(a *asm) { wordsAffine(a, 4) })},
}

// inBytes has a routine for weights write bytes rather than words.
func inBytes(write func(*asm)) func(*asm) {
	return func(a *asm) {
		a.bytes = true
		write(a)
	}
}

// beginWords begins a routine that writes weights of a format.
func (a *asm) beginWords(format, parameters, doc string) {
	name, dst := "words"+format+"AVX2", "[]int16"
	if a.bytes {
		name, dst = "bytes"+format+"AVX512", "[]int8"
	}
	a.begin(name, "func(dst "+dst+", "+parameters+")", name+" "+doc)
}

// storeWords writes sixteen words, or as many bytes, as those from one on.
func (a *asm) storeWords(v reg.VecVirtual, dst reg.GPVirtual, first int) {
	if a.bytes {
		a.VPMOVWB(v, at(dst, first))
	} else {
		a.VMOVDQU(v, at(dst, 2*first))
	}
}

// advanceWords moves dst on by so many.
func (a *asm) advanceWords(dst reg.GPVirtual, n int) {
	if !a.bytes {
		n *= 2
	}
	a.ADDQ(operand.U32(n), dst)
}

func wordsOfActivations(a *asm) {
	a.begin("wordsAVX2", "func(dst []int16, scales, sums, x []float32)",
		fmt.Sprintf("wordsAVX2 turns x, of a multiple of 32 elements, into whole numbers of 16 bits, at most %d: each 32 of them with a scale, their largest divided by that,", wholeMost),
		"which is NaN if one of them is not finite, and with their sum times that.")
	dst, scales, sums, x, n := a.ptr("dst"), a.ptr("scales"), a.ptr("sums"), a.ptr("x"), a.length("x")
	magnitude, ones := a.YMM(), a.YMM()
	a.VPBROADCASTD(a.dword("magnitude", 0x7fffffff), magnitude)
	a.VMOVDQU(a.wordsOf("ones", 1), ones)
	a.repeat(n, group, func() {
		halves, scale := a.numbersOfGroup(x, 0, magnitude)
		sum := a.YMM()
		for i, half := range halves {
			a.VMOVDQU(half, at(dst, 32*i))
			if i == 0 {
				a.VPMADDWD(ones, half, sum)
				continue
			}
			t := a.YMM()
			a.VPMADDWD(ones, half, t)
			a.VPADDD(t, sum, sum)
		}
		t, total := a.XMM(), sum.AsX()
		a.VEXTRACTI128(operand.U8(1), sum, t)
		a.VPADDD(t, total, total)
		for _, swap := range []uint64{0x4e, 0xb1} {
			a.VPSHUFD(operand.U8(swap), total, t)
			a.VPADDD(t, total, total)
		}
		a.VCVTDQ2PS(total, total)
		a.VMULSS(scale.AsX(), total, total)
		a.VMOVSS(scale.AsX(), at(scales, 0))
		a.VMOVSS(total, at(sums, 0))
		a.ADDQ(operand.U32(2*group), dst)
		a.ADDQ(operand.U32(4), scales)
		a.ADDQ(operand.U32(4), sums)
		a.ADDQ(operand.U32(4*group), x)
	})
	a.VZEROUPPER()
	a.RET()
}

// numbersOfGroup is the whole numbers of group g of x, sixteen words in each vector, and their scale in all lanes.
func (a *asm) numbersOfGroup(x reg.GPVirtual, g int, magnitude reg.VecVirtual) (halves []reg.VecVirtual, scale reg.VecVirtual) {
	v, largest, t := make([]reg.VecVirtual, group/lanes), a.YMM(), a.YMM()
	for i := range v {
		v[i] = a.YMM()
		a.VMOVUPS(at(x, 4*(group*g+lanes*i)), v[i])
		if i == 0 {
			a.VPAND(magnitude, v[0], largest)
			continue
		}
		a.VPAND(magnitude, v[i], t)
		a.VPMAXUD(t, largest, largest) // as whole numbers infinity and NaN are the largest
	}
	a.VEXTRACTI128(operand.U8(1), largest, t.AsX())
	a.VPMAXUD(t.AsX(), largest.AsX(), largest.AsX())
	for _, swap := range []uint64{0x4e, 0xb1} {
		a.VPSHUFD(operand.U8(swap), largest.AsX(), t.AsX())
		a.VPMAXUD(t.AsX(), largest.AsX(), largest.AsX())
	}
	factor := a.YMM()
	scale = a.XMM()
	a.VMOVSS(a.dword("most", math.Float32bits(wholeMost)), factor.AsX())
	a.VDIVSS(largest.AsX(), factor.AsX(), factor.AsX())
	a.VMINSS(a.dword("finite", math.Float32bits(math.MaxFloat32)), factor.AsX(), factor.AsX())
	a.VBROADCASTSS(factor.AsX(), factor)
	a.VSUBSS(largest.AsX(), largest.AsX(), scale) // 0, or NaN
	a.VFMADD231SS(a.dword("inverse", math.Float32bits(1.0/wholeMost)), largest.AsX(), scale)
	a.VBROADCASTSS(scale, scale)
	for _, v := range v {
		a.VMULPS(factor, v, v)
		a.VCVTPS2DQ(v, v)
	}
	halves = []reg.VecVirtual{v[0], v[2]}
	for i, half := range halves {
		a.VPACKSSDW(v[2*i+1], half, half)
		a.VPERMQ(operand.U8(0xd8), half, half)
	}
	return halves, scale
}

// ofBlocks are the parameters of routines for blocks, behind dst.
const ofBlocks = "scales, least []float32, src []byte, halves *[65536]float32"

// wordsOfBlocks is a routine for blocks with a scale each.
func wordsOfBlocks(a *asm, name string, bytes int, block func(dst, src reg.GPVirtual)) {
	a.beginWords(name, ofBlocks, "writes the weights of blocks of "+name+", without their scales, and these.")
	dst, scales, src, n, halves := a.ptr("dst"), a.ptr("scales"), a.ptr("src"), a.length("dst"), a.integer("halves")
	a.repeat(n, group, func() {
		d, scale := a.GP64(), a.GP32()
		a.MOVWQZX(at(src, 0), d)
		a.MOVL(atIndex(halves, d, 4, 0), scale)
		a.MOVL(scale, at(scales, 0))
		block(dst, src)
		a.ADDQ(operand.U32(4), scales)
		a.ADDQ(operand.U32(bytes), src)
		a.advanceWords(dst, group)
	})
	a.VZEROUPPER()
	a.RET()
}

func wordsQ8_0(a *asm) {
	wordsOfBlocks(a, "Q8_0", 34, func(dst, src reg.GPVirtual) {
		for i := range 2 {
			v := a.YMM()
			a.VPMOVSXBW(at(src, 2+16*i), v)
			a.storeWords(v, dst, 16*i)
		}
	})
}

func wordsQ4_0(a *asm) {
	wordsOfBlocks(a, "Q4_0", 18, func(dst, src reg.GPVirtual) {
		for i, v := range a.nibblesOf(at(src, 2)) {
			a.VPSUBW(a.wordsOf("eight", 8), v, v)
			a.storeWords(v, dst, 16*i)
		}
	})
}

// nibblesOf is the lower and the upper four bits of sixteen bytes, as words.
func (a *asm) nibblesOf(m operand.Mem) [2]reg.VecVirtual {
	low, high := a.YMM(), a.YMM()
	a.VPMOVZXBW(m, low)
	a.VPSRLW(operand.U8(4), low, high)
	a.VPAND(a.wordsOf("fifteen", 15), low, low)
	return [2]reg.VecVirtual{low, high}
}

func wordsQ4_K(a *asm) {
	a.beginWords("Q4_K", ofBlocks, "writes the weights of blocks of Q4_K, without their scales and minimums, and these: the eight scales, and what minimums add.")
	dst, scales, least, src, n, halves := a.ptr("dst"), a.ptr("scales"), a.ptr("least"), a.ptr("src"), a.length("dst"), a.integer("halves")
	a.repeat(n, 256, func() {
		// The scales, and then the minimums: those from the fifth on have two bits elsewhere.
		const none = 0xff
		raw := a.XMM()
		a.VMOVDQU(at(src, 4), raw)
		for kind, of := range []struct {
			name         string
			lower, upper []uint8
			shift, mask  uint32 // of the lower bits from the fifth on
			to           reg.GPVirtual
		}{
			{"scales", []uint8{0, 1, 2, 3, 8, 9, 10, 11}, []uint8{none, none, none, none, 0, 1, 2, 3}, 0, 15, scales},
			{"least", []uint8{4, 5, 6, 7, 8, 9, 10, 11}, []uint8{none, none, none, none, 4, 5, 6, 7}, 4, 15, least},
		} {
			low, high, d, factor := a.YMM(), a.YMM(), a.GP64(), a.YMM()
			half := func(first, then uint32) func(int) uint32 {
				return func(i int) uint32 { return []uint32{first, then}[i/4] }
			}
			a.VPSHUFB(a.octets(of.name+"Lower", append(of.lower, of.lower...)...), raw, low.AsX())
			a.VPSHUFB(a.octets(of.name+"Upper", append(of.upper, of.upper...)...), raw, high.AsX())
			a.VPMOVZXBD(low.AsX(), low)
			a.VPMOVZXBD(high.AsX(), high)
			if of.shift > 0 {
				a.VPSRLVD(a.words(of.name+"Shifts", half(0, of.shift)), low, low)
			}
			a.VPAND(a.words("lowerBits", half(63, of.mask)), low, low)
			a.VPSRLD(operand.U8(2), high, high)
			a.VPAND(a.words("upperBits", half(0, 0x30)), high, high)
			a.VPOR(high, low, low)
			a.VCVTDQ2PS(low, low)
			a.MOVWQZX(at(src, 2*kind), d)
			a.VBROADCASTSS(atIndex(halves, d, 4, 0), factor)
			a.VMULPS(factor, low, low)
			if kind == 1 {
				a.VXORPS(a.words("sign", func(int) uint32 { return 1 << 31 }), low, low)
			}
			a.VMOVUPS(low, at(of.to, 0))
			a.ADDQ(operand.U32(32), of.to)
		}
		for i := range 8 { // sixteen bytes of two groups
			for upper, v := range a.nibblesOf(at(src, 16+16*i)) {
				a.storeWords(v, dst, 32*(i/2*2+upper)+16*(i%2))
			}
		}
		a.ADDQ(operand.U32(144), src)
		a.advanceWords(dst, 256)
	})
	a.VZEROUPPER()
	a.RET()
}

func wordsQ6_K(a *asm) {
	a.beginWords("Q6_K", ofBlocks, "writes the weights of blocks of Q6_K, without their scales, and these: sixteen of a block.")
	dst, scales, src, n, halves := a.ptr("dst"), a.ptr("scales"), a.ptr("src"), a.length("dst"), a.integer("halves")
	a.repeat(n, 256, func() {
		d, factor := a.GP64(), a.YMM()
		a.MOVWQZX(at(src, 208), d)
		a.VBROADCASTSS(atIndex(halves, d, 4, 0), factor)
		for i := range 2 {
			v := a.YMM()
			a.VPMOVSXBD(at(src, 192+8*i), v)
			a.VCVTDQ2PS(v, v)
			a.VMULPS(factor, v, v)
			a.VMOVUPS(v, at(scales, 32*i))
		}
		for part := range 2 {
			for i := range 2 { // sixteen of 32
				high := a.YMM()
				a.VPMOVZXBW(at(src, 128+32*part+16*i), high)
				for side := range 2 {
					for up, v := range a.nibblesOf(at(src, 64*part+32*side+16*i)) {
						quarter, bits := 2*up+side, a.YMM()
						if left := 4 - 2*quarter; left >= 0 {
							a.VPSLLW(operand.U8(uint64(left)), high, bits)
						} else {
							a.VPSRLW(operand.U8(uint64(-left)), high, bits)
						}
						a.VPAND(a.wordsOf("upper", 0x30), bits, bits)
						a.VPOR(bits, v, v)
						a.VPSUBW(a.wordsOf("thirtyTwo", 32), v, v)
						a.storeWords(v, dst, 128*part+32*quarter+16*i)
					}
				}
			}
		}
		a.ADDQ(operand.U32(64), scales)
		a.ADDQ(operand.U32(210), src)
		a.advanceWords(dst, 256)
	})
	a.VZEROUPPER()
	a.RET()
}

func wordsAffine(a *asm, bits int) {
	a.beginWords(fmt.Sprintf("Affine%d", bits), "src []byte", strings.Join([]string{"is", "", "\tfor i := range dst {\n\t\tdst[i] = src[i]\n\t}", "", fmt.Sprintf("for src of %d bits and len(dst) a multiple of 32.", bits)}, "\n"))
	dst, src, n := a.ptr("dst"), a.ptr("src"), a.length("dst")
	a.repeat(n, group, func() {
		for i := range 2 {
			v := a.YMM()
			if bits == 4 { // a byte is two words
				t := a.YMM()
				a.VPMOVZXBD(at(src, 8*i), v)
				a.VPSLLD(operand.U8(12), v, t)
				a.VPOR(t, v, v)
				a.VPAND(a.words("nibbles", func(int) uint32 { return 0x000f000f }), v, v)
			} else {
				a.VPMOVZXBW(at(src, 16*i), v)
			}
			a.storeWords(v, dst, 16*i)
		}
		a.ADDQ(operand.U32(4*bits), src)
		a.advanceWords(dst, group)
	})
	a.VZEROUPPER()
	a.RET()
}
