package main

import (
	"fmt"

	"github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// inPairs is an order for AVX2 in words, for weights of 8 bits: two products of such bytes with bytes are too much for a word.
func (o wholeOrder) inPairs() wholeOrder {
	o.pairs = true
	o.name, o.file = o.name+"Pairs", o.file+"_pairs"
	return o
}

// narrowOrders are those for AVX2, of which what corrects products is one number for each lane, as it is.
var narrowOrders = []wholeOrder{wholeInOrder, wholeInOrder.inPairs(), wholeQ4_K, wholeQ6_K, wholeAffine8.inPairs(), wholeAffine4}

// layout describes a step, for AVX2.
func (o wholeOrder) layout() string {
	numbers := "\tupper [2][4][16]int8    // of the first and the second half of each group: n = 256*upper + lower\n\tlower [2][4][16]int8\n"
	if o.pairs {
		numbers = "\teven  [2][4][8]int16    // of the first and the second half of each group, those of even number\n\todd   [2][4][8]int16\n"
	}
	switch {
	case !o.sums:
		return numbers + "\tstart [4][4]int32       // -times*(the sum of a lane's numbers)\n\tscale [4][4]float32     // of each group four times\n"
	case o.pairs:
		return numbers + sumDoc
	}
	return o.doc
}

// narrowNumbers writes what narrowWholeProduct takes of one token: the numbers that wholeNumbers makes.
func narrowNumbers(a *asm, o wholeOrder) {
	name := o.name + "AVX2"
	a.begin(name, "func(dst []byte, x []float32, times uint32)",
		fmt.Sprintf("%s turns x, of a multiple of %d elements, into whole numbers of 16 bits, at most %d: each group of 32 of them with a scale, their largest divided by that,", name, o.elements, wholeMost),
		fmt.Sprintf("which is NaN if one of them is not finite. For each %d dst has %d bytes:", o.elements, o.bytes()), "",
		o.layout())
	dst, x, n := a.ptr("dst"), a.ptr("x"), a.length("x")
	times, magnitude := a.YMM(), a.YMM()
	t := a.GP32()
	a.Load(a.Param("times"), t)
	a.VMOVD(t, times.AsX())
	a.VPBROADCASTD(times.AsX(), times)
	a.VPBROADCASTD(a.dword("magnitude", 0x7fffffff), magnitude)
	a.repeat(n, o.elements, func() {
		for g := range o.elements / group {
			a.narrowNumbersOfGroup(o, g, dst, x, times, magnitude)
		}
		a.ADDQ(operand.U32(4*o.elements), x)
		a.ADDQ(operand.U32(o.bytes()), dst)
	})
	a.VZEROUPPER()
	a.RET()
}

func (a *asm) narrowNumbersOfGroup(o wholeOrder, g int, dst, x reg.GPVirtual, times, magnitude reg.VecVirtual) {
	halves, scale := a.numbersOfGroup(x, g, magnitude)
	t := a.YMM()
	ones := a.wordsOf("ones", 1)
	var all reg.VecVirtual
	for i, half := range halves {
		sum := a.YMM()
		a.VPMADDWD(ones, half, sum)
		if i == 1 && o.halves == 2 {
			a.VPADDD(all, sum, sum)
		}
		if all = sum; i == 0 && o.halves == 2 {
			continue
		}
		a.VPHADDD(sum, sum, sum)
		a.VPERMQ(operand.U8(0x08), sum, sum) // the sums of four, or eight
		total := sum.AsX()
		part, place := o.place(g, i)
		quarter := 16 * (place % wholeGroups)
		a.VMOVUPS(scale, at(dst, o.scales(part)+quarter))
		if o.sums {
			for _, swap := range []uint64{0x4e, 0xb1} {
				a.VPSHUFD(operand.U8(swap), total, t.AsX())
				a.VPADDD(t.AsX(), total, total)
			}
			a.VPMULLD(times.AsX(), total, total)
			a.VCVTDQ2PS(total, total)
			a.VMULPS(scale, total, total)
		} else {
			a.VPMULLD(times.AsX(), total, total)
			a.VPXOR(t, t, t)
			a.VPSUBD(total, t.AsX(), total)
		}
		a.VMOVDQU(total, at(dst, o.start(part)+quarter))
	}
	if o.pairs {
		for i, half := range halves {
			part, place := o.place(g, i)
			a.VPSHUFB(a.eitherHalf("pairs", 0, 1, 4, 5, 8, 9, 12, 13, 2, 3, 6, 7, 10, 11, 14, 15), half, half)
			a.VPERMQ(operand.U8(0xd8), half, half)
			a.VMOVDQU(half.AsX(), at(dst, o.upper(part)+16*place))
			a.VEXTRACTI128(operand.U8(1), half, at(dst, o.lower(part)+16*place))
		}
		return
	}
	for _, lower := range []bool{false, true} {
		bytes := []reg.VecVirtual{a.YMM(), a.YMM()}
		for i, half := range halves {
			if lower {
				a.VPSLLW(operand.U8(8), half, bytes[i])
			} else {
				a.VPADDW(a.wordsOf("half", 128), half, bytes[i])
			}
			a.VPSRAW(operand.U8(8), bytes[i], bytes[i])
		}
		a.VPACKSSWB(bytes[1], bytes[0], bytes[0])
		a.VPERMQ(operand.U8(0xd8), bytes[0], bytes[0])
		if o.apart {
			a.VPSHUFB(a.eitherHalf("apart", 0, 2, 4, 6, 8, 10, 12, 14, 1, 3, 5, 7, 9, 11, 13, 15), bytes[0], bytes[0])
			a.VPERMQ(operand.U8(0xd8), bytes[0], bytes[0])
		}
		for i := range 2 {
			part, place := o.place(g, i)
			to := at(dst, o.upper(part)+16*place)
			if lower {
				to = at(dst, o.lower(part)+16*place)
			}
			if i == 0 {
				a.VMOVDQU(bytes[0].AsX(), to)
			} else {
				a.VEXTRACTI128(operand.U8(1), bytes[0], to)
			}
		}
	}
}

// wordsOf is a vector of AVX2 in memory, the same word all over.
func (a *asm) wordsOf(name string, word uint16) operand.Mem {
	return a.constant(name, func() {
		for i := range 2 * lanes {
			a.AddDatum(2*i, operand.U16(word))
		}
	})
}

// eitherHalf is sixteen bytes in memory, twice.
func (a *asm) eitherHalf(name string, values ...uint8) operand.Mem {
	return a.constant(name, func() {
		for i := range 32 {
			a.AddDatum(i, operand.U8(values[i%16]))
		}
	})
}
