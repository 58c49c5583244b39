package main

import (
	"fmt"
	"math"

	"github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// A blockFormat is how a routine reads blocks of quantized weights.
type blockFormat struct {
	name     string
	elements int
	bytes    int
	// open reads what holds for a whole block at m, with halves as a table of float32; piece is then sixteen of its
	// weights, the pieces in their order.
	open  func(a *asm, m operand.Mem, halves reg.GPVirtual) any
	piece func(a *asm, m operand.Mem, opened any, i int) reg.VecVirtual
}

var blockFormats = []blockFormat{
	{"Q8_0", 32, 34, openScale, func(a *asm, m operand.Mem, opened any, i int) reg.VecVirtual {
		v := a.ZMM()
		a.VPMOVSXBD(moved(m, 2+16*i), v)
		a.VCVTDQ2PS(v, v)
		a.VMULPS(opened.(reg.VecVirtual), v, v)
		return v
	}},
	{"Q4_0", 32, 18, func(a *asm, m operand.Mem, halves reg.GPVirtual) any {
		// The sixteen values, scaled, to look up.
		table, nibbles := openScale(a, m, halves).(reg.VecVirtual), a.ZMM()
		a.VMULPS(a.list("fromEight", func(i int) float32 { return float32(i - 8) }), table, table)
		a.VPMOVZXBD(moved(m, 2), nibbles)
		return [2]reg.VecVirtual{table, nibbles}
	}, func(a *asm, m operand.Mem, opened any, i int) reg.VecVirtual {
		table, nibbles := opened.([2]reg.VecVirtual)[0], opened.([2]reg.VecVirtual)[1]
		if i == 1 {
			a.VPSRLD(operand.U8(4), nibbles, nibbles)
		}
		v := a.ZMM()
		a.VPERMPS(table, nibbles, v) // it looks at the lowest four bits only
		return v
	}},
}

// largeFormats are those of 256 elements, whose scales and minimums are worked out for a whole block, and wait on
// the stack.
var largeFormats = []blockFormat{
	{"Q4_K", 256, 144, func(a *asm, m operand.Mem, halves reg.GPVirtual) any {
		// As dwords: the eight scales, then the eight minimums. Those from the fifth on have two bits elsewhere.
		raw, upper, low, high := a.XMM(), a.XMM(), a.ZMM(), a.ZMM()
		a.VMOVUPS(moved(m, 4), raw)
		a.VPSHUFB(a.octets("scalesQ4K", 0, 1, 2, 3, 8, 9, 10, 11, 4, 5, 6, 7, 8, 9, 10, 11), raw, upper)
		a.VPMOVZXBD(upper, low)
		a.VPSHUFB(a.octets("upperQ4K", 0xff, 0xff, 0xff, 0xff, 0, 1, 2, 3, 0xff, 0xff, 0xff, 0xff, 4, 5, 6, 7), raw, upper)
		a.VPMOVZXBD(upper, high)
		quarter := func(values ...uint32) func(int) uint32 { return func(i int) uint32 { return values[i/4] } }
		a.VPSRLVD(a.words("shiftsQ4K", quarter(0, 0, 0, 4)), low, low)
		a.VPANDD(a.words("masksQ4K", quarter(63, 15, 63, 15)), low, low)
		a.VPSRLD(operand.U8(2), high, high)
		a.VPANDD(a.words("uppersQ4K", quarter(0, 0x30, 0, 0x30)), high, high)
		a.VPORD(high, low, low)
		a.VCVTDQ2PS(low, low)
		d, factors, second := a.GP64(), a.ZMM(), a.YMM()
		a.MOVWQZX(m, d)
		a.VBROADCASTSS(atIndex(halves, d, 4, 0), factors)
		a.MOVWQZX(moved(m, 2), d)
		a.VBROADCASTSS(atIndex(halves, d, 4, 0), second)
		a.VINSERTF32X8(operand.U8(1), second, factors, factors)
		a.VMULPS(factors, low, low)
		numbers := a.AllocLocal(64)
		a.VMOVUPS(low, numbers)
		return &numbersOfBlock{numbers: numbers, roomy: a.roomy}
	}, func(a *asm, m operand.Mem, opened any, i int) reg.VecVirtual {
		b, group := opened.(*numbersOfBlock), i/2
		if i%2 == 0 { // the sixteen values of the group, to look up
			least := a.ZMM()
			b.table = a.ZMM()
			a.VBROADCASTSS(moved(b.numbers, 4*group), b.table)
			a.VBROADCASTSS(moved(b.numbers, 32+4*group), least)
			if fromZero := a.list("fromZero", func(i int) float32 { return float32(i) }); a.once {
				a.VFMSUB132PS(fromZero, least, b.table)
			} else {
				a.VMULPS(fromZero, b.table, b.table)
				a.VSUBPS(least, b.table, b.table)
			}
		}
		nibbles := b.nibbles[i%2]
		if group%2 == 0 || !b.roomy {
			nibbles = a.ZMM()
			a.VPMOVZXBD(moved(m, 16+group/2*32+i%2*16), nibbles)
			b.nibbles[i%2] = nibbles
		}
		if group%2 == 1 {
			a.VPSRLD(operand.U8(4), nibbles, nibbles)
		}
		v := a.ZMM()
		a.VPERMPS(b.table, nibbles, v)
		return v
	}},
	{"Q6_K", 256, 210, func(a *asm, m operand.Mem, halves reg.GPVirtual) any {
		scales, factor, d := a.ZMM(), a.ZMM(), a.GP64()
		a.VPMOVSXBD(moved(m, 192), scales)
		a.VCVTDQ2PS(scales, scales)
		a.MOVWQZX(moved(m, 208), d)
		a.VBROADCASTSS(atIndex(halves, d, 4, 0), factor)
		a.VMULPS(factor, scales, scales)
		numbers := a.AllocLocal(128)
		a.VMOVUPS(scales, numbers)
		a.VMULPS_BCST(a.dword("zeroQ6K", math.Float32bits(-32)), scales, scales)
		a.VMOVUPS(scales, numbers.Offset(64))
		return &numbersOfBlock{numbers: numbers}
	}, func(a *asm, m operand.Mem, opened any, i int) reg.VecVirtual {
		part, quarter, at := i/8, i/2%4, i%2*16
		v, high, scale := a.ZMM(), a.ZMM(), a.ZMM()
		a.VPMOVZXBD(moved(m, 64*part+32*(quarter%2)+at), v)
		if quarter >= 2 {
			a.VPSRLD(operand.U8(4), v, v)
		} else {
			a.VPANDD(a.words("fifteen", func(int) uint32 { return 15 }), v, v)
		}
		a.VPMOVZXBD(moved(m, 128+32*part+at), high)
		switch quarter {
		case 0, 1:
			a.VPSLLD(operand.U8(uint64(4-2*quarter)), high, high)
		case 3:
			a.VPSRLD(operand.U8(2), high, high)
		}
		a.VPTERNLOGD(operand.U8(0xf8), a.words("upper", func(int) uint32 { return 0x30 }), high, v) // v | high & upper
		a.VCVTDQ2PS(v, v)
		numbers := opened.(*numbersOfBlock).numbers
		a.VBROADCASTSS(moved(numbers, 4*i), scale)
		a.VFMADD213PS_BCST(moved(numbers, 64+4*i), scale, v) // 32 times the scale is exact, and so this is rounded once
		return v
	}},
}

// numbersOfBlock is where the scales and minimums of a block are, and what was made of those of its current group.
type numbersOfBlock struct {
	numbers operand.Mem
	table   reg.VecVirtual
	nibbles [2]reg.VecVirtual
	roomy   bool // there are registers for the nibbles until their upper half is due
}

// octets is sixteen bytes in memory.
func (a *asm) octets(name string, values ...uint8) operand.Mem {
	return a.constant(name, func() {
		for i, v := range values {
			a.AddDatum(i, operand.U8(v))
		}
	})
}

// openScale broadcasts the half that begins a block. The table costs no port that multiplies.
func openScale(a *asm, m operand.Mem, halves reg.GPVirtual) any {
	d, v := a.GP64(), a.ZMM()
	a.MOVWQZX(m, d)
	a.VBROADCASTSS(atIndex(halves, d, 4, 0), v)
	return v
}

// wideQuants are products of 1, 2, 4 or 8 rows of activations with quantized weights, and what these stand for.
var wideQuants = func() []routine {
	var rs []routine
	for _, f := range append(blockFormats, largeFormats...) {
		for _, vectors := range []int{1, 2, 4, 8} {
			rs = append(rs, routine{fmt.Sprintf("product%d_%s_avx512", vectors, f.file()), func(a *asm) { a.wide = true; quantProduct(a, f, vectors) }})
		}
		rs = append(rs, routine{fmt.Sprintf("from_%s_avx512", f.file()), func(a *asm) { a.wide = true; fromQuant(a, f) }})
	}
	return rs
}()

// wideAffines expand MLX's groups, of 32 elements or a multiple of them.
var wideAffines = []routine{
	{"from_affine4_avx512", func(a *asm) { fromAffine(a, 4) }},
	{"from_affine8_avx512", func(a *asm) { fromAffine(a, 8) }},
}

// affineAhead is how many bytes ahead to ask for, about those of a few rows.
const affineAhead = 4096

func fromAffine(a *asm, bits int) {
	a.wide = true
	name := fmt.Sprintf("fromAffine%dAVX512", bits)
	a.begin(name, "func(dst []float32, q []byte, scales, biases []float32, group int)",
		name+" is", "", "\tfor i := range dst {\n\t\tdst[i] = scales[i/group]*q[i] + biases[i/group]\n\t}",
		"", fmt.Sprintf("for q of %d bits, group a multiple of 32 and len(dst) of group.", bits))
	dst, q, scales, biases := a.ptr("dst"), a.ptr("q"), a.ptr("scales"), a.ptr("biases")
	n, group := a.length("dst"), a.integer("group")
	top, end := a.label("loop"), a.label("end")
	a.CMPQ(n, operand.U32(32))
	a.JLT(operand.LabelRef(end))
	a.Label(top)
	scale, bias := a.ZMM(), a.ZMM()
	a.VBROADCASTSS(at(scales, 0), scale)
	a.VBROADCASTSS(at(biases, 0), bias)
	table := a.ZMM()
	if bits == 4 { // the sixteen values, to look up
		a.VMULPS(a.list("fromZero", func(i int) float32 { return float32(i) }), scale, table)
		a.VADDPS(bias, table, table)
	}
	a.ADDQ(operand.U32(4), scales)
	a.ADDQ(operand.U32(4), biases)
	left := a.copyOf(group)
	a.PREFETCHT1(at(q, affineAhead))
	a.PREFETCHT1(at(q, affineAhead+cacheLine))
	a.repeat(left, 32, func() {
		for i := range 2 {
			v := a.ZMM()
			if bits == 4 {
				// Two words have eight elements each: every lane shifts its own to the bottom.
				a.VBROADCASTSD(at(q, 8*i), v)
				a.VPERMD(v, a.vectorOf("words4", func(i int) uint32 { return uint32(i / 8) }), v)
				a.VPSRLVD(a.words("shifts4", func(i int) uint32 { return uint32(i % 8 * 4) }), v, v)
				a.VPERMPS(table, v, v)
			} else {
				a.VPMOVZXBD(at(q, 16*i), v)
				a.VCVTDQ2PS(v, v)
				a.VMULPS(scale, v, v)
				a.VADDPS(bias, v, v)
			}
			a.VMOVUPS(v, at(dst, 64*i))
		}
		a.ADDQ(operand.U32(4*bits), q)
		a.ADDQ(operand.U32(128), dst)
	})
	a.SUBQ(group, n)
	a.CMPQ(n, operand.U32(32))
	a.JGE(operand.LabelRef(top))
	a.Label(end)
	a.VZEROUPPER()
	a.RET()
}

// vectorOf is a vector constant in a register.
func (a *asm) vectorOf(name string, lane func(i int) uint32) reg.VecVirtual {
	v := a.ZMM()
	a.VMOVUPS(a.words(name, lane), v)
	return v
}

// file is the format's part of file names.
func (f blockFormat) file() string {
	b := []byte(f.name)
	for i, c := range b {
		if c >= 'A' && c <= 'Z' {
			b[i] = c + 'a' - 'A'
		}
	}
	return string(b)
}

func fromQuant(a *asm, f blockFormat) {
	name := fmt.Sprintf("from%sAVX512", f.name)
	a.begin(name, "func(dst []float32, src []byte, halves *[65536]float32)",
		name+" is", "", fmt.Sprintf("\tfor i := range dst {\n\t\tdst[i] = src[i] // as %s\n\t}", f.name),
		"", fmt.Sprintf("for len(dst) a multiple of %d.", f.elements))
	dst, src, n := a.ptr("dst"), a.ptr("src"), a.length("dst")
	halves := a.integer("halves")
	a.repeat(n, f.elements, func() {
		opened := f.open(a, at(src, 0), halves)
		for i := range f.elements / 16 {
			a.VMOVUPS(f.piece(a, at(src, 0), opened, i), at(dst, 64*i))
		}
		a.ADDQ(operand.U32(f.bytes), src)
		a.ADDQ(operand.U32(4*f.elements), dst)
	})
	a.VZEROUPPER()
	a.RET()
}

func quantProduct(a *asm, f blockFormat, vectors int) {
	keys := min(4, 16/vectors)
	a.roomy, a.once = vectors*keys <= 8, true
	name := fmt.Sprintf("product%d%sAVX512", vectors, f.name)
	a.begin(name, "func(s []float32, stride int, q []float32, k, next []byte, n, dim int, halves *[65536]float32)",
		name+" is", "",
		fmt.Sprintf("\tfor h := range %d {\n\t\tfor j := range n {\n\t\t\tfor i := range dim {\n\t\t\t\ts[h*stride+j] += q[h*dim+i] * k[j*dim+i] // from 0\n\t\t\t}\n\t\t}\n\t}", vectors),
		"", fmt.Sprintf("for dim a multiple of %d. It prefetches next, about as many bytes of it as k has at most.", f.elements))
	s, stride, q, k := a.ptr("s"), a.integer("stride"), a.ptr("q"), a.ptr("k")
	next, limit := a.ahead() // there are too few registers to keep it in one
	n, dim, halves := a.integer("n"), a.integer("dim"), a.integer("halves")
	a.SHLQ(operand.U8(2), stride)
	activations := a.copyOf(dim) // bytes of a row of them
	a.SHLQ(operand.U8(2), activations)
	units := a.multiples(activations, vectors)
	row := a.GP64() // bytes of a row of weights
	a.XORQ(row, row)
	a.repeat(dim, f.elements, func() { a.ADDQ(operand.U32(f.bytes), row) })
	rows := a.multiples(row, keys)
	// sums is the products of some rows, over all their blocks.
	sums := func(keys int) []reg.VecVirtual {
		acc := a.zeroed(vectors * keys)
		stored := strided(k, rows, 1, keys)
		left := a.copyOf(row)
		a.repeat(left, f.bytes, func() {
			opened := make([]any, keys)
			for j, m := range stored {
				opened[j] = f.open(a, m, halves)
			}
			pieces := f.elements / 16
			for i := range pieces {
				w := make([]reg.VecVirtual, keys)
				for j, m := range stored {
					w[j] = f.piece(a, m, opened[j], i)
				}
				for h, m := range strided(q, units, 1, vectors) {
					x := a.ZMM()
					a.VMOVUPS(moved(m, 64*i), x)
					for j := range keys {
						a.VFMADD231PS(w[j], x, acc[h*keys+j])
					}
				}
				// Evenly: too many at once would be dropped.
				lines := (keys*f.bytes + cacheLine - 1) / cacheLine
				for line := lines * i / pieces; line < lines*(i+1)/pieces; line++ {
					a.PREFETCHT1(at(next, line*cacheLine))
				}
			}
			a.ADDQ(operand.U32(keys*f.bytes), next)
			a.CMPQ(next, limit)
			a.CMOVQHI(limit, next)
			a.ADDQ(operand.U32(f.bytes), k)
			a.ADDQ(operand.U32(4*f.elements), q)
		})
		a.SUBQ(activations, q)
		return acc
	}
	a.repeat(n, keys, func() {
		total := a.laneSums(sums(keys))
		a.spread(total, s, stride, vectors, keys)
		a.ADDQ(operand.U32(keys*4), s)
		for range keys - 1 {
			a.ADDQ(row, k)
		}
	})
	a.repeat(n, 1, func() {
		out := a.copyOf(s)
		for _, v := range sums(1) {
			a.laneSum(v)
			a.VMOVSS(v.AsX(), at(out, 0))
			a.ADDQ(stride, out)
		}
		a.ADDQ(operand.U32(4), s)
	})
	a.VZEROUPPER()
	a.RET()
}
