package main

import (
	"fmt"
	"math"

	"github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

const (
	wholeMost   = 127*256 + 127 // largest of the numbers: two signed bytes
	wholeGroups = 4             // that a vector has quarters for
)

// A wholeOrder is how activations lie for the weights that they are multiplied with: in parts, each the upper bytes of its numbers, the lower ones, what
// follows from the sums of numbers in a lane, and the scales of the quarters, four of each.
type wholeOrder struct {
	name     string // of the routine
	file     string
	elements int // of a step
	parts    int
	halves   int // vectors of a part: 2 if a quarter is a group of 32, 1 if it is half of one
	// place is where the first sixteen numbers of a group are, or the others: the part and the sixteenth byte in it.
	place func(group, half int) (part, at int)
	// sums says that there are the sums of quarters, for what all weights of one are off by. If not, that is one number for all weights, and there is what corrects
	// their products as whole numbers, which takes no multiplication.
	sums bool
	// apart says that the first half is the elements of even number.
	apart bool
	// pairs says that the numbers are whole, as words, those of even number in place of the upper bytes and the others in place of the lower ones.
	pairs bool
	doc   string // of a step
}

// Where in a step a part's bytes, and what is beside them, begin.
func (o wholeOrder) upper(part int) int  { return part * o.partBytes() }
func (o wholeOrder) lower(part int) int  { return o.upper(part) + 64*o.halves }
func (o wholeOrder) start(part int) int  { return o.upper(part) + 128*o.halves }
func (o wholeOrder) sum(part int) int    { return o.start(part) }
func (o wholeOrder) scales(part int) int { return o.start(part) + 64 }

// partBytes is the bytes of a part, and bytes those of a step.
func (o wholeOrder) partBytes() int { return 128*o.halves + 2*64 }
func (o wholeOrder) bytes() int     { return o.parts * o.partBytes() }

var (
	wholeInOrder = wholeOrder{
		name: "whole", file: "whole", elements: 128, parts: 1, halves: 2, place: func(group, half int) (int, int) { return 0, 4*half + group },
		doc: "\tupper [2][4][16]int8    // of the first and the second half of each group: n = 256*upper + lower\n" +
			"\tlower [2][4][16]int8\n" +
			"\tstart [4][4]uint32      // -times*(the sum of a lane's numbers), turned: its lowest eight bits are above the others\n" +
			"\tscale [4][4]float32     // of each group four times\n",
	}
	wholeQ4_K = wholeOrder{
		name: "wholeQ4_K", file: "whole_q4_k", elements: 256, parts: 2, halves: 2, sums: true, place: func(group, half int) (int, int) { return group % 2, 4*half + group/2 },
		doc: "\tparts [2]struct {           // groups 0, 2, 4 and 6; the others\n" +
			"\t\tupper [2][4][16]int8    // of the first and the second half of each group: n = 256*upper + lower\n" +
			"\t\tlower [2][4][16]int8\n" +
			"\t\tsum   [4][4]float32     // times*(the sum of a group's numbers)*scale, four times\n" +
			"\t\tscale [4][4]float32     // of each group four times\n\t}\n",
	}
	wholeQ6_K = wholeOrder{
		name: "wholeQ6_K", file: "whole_q6_k", elements: 256, parts: 4, halves: 1, sums: true, place: func(group, half int) (int, int) { return group / 2, group%2*2 + half },
		doc: "\tparts [4]struct {           // of two groups each\n" +
			"\t\tupper [4][16]int8       // n = 256*upper + lower\n" +
			"\t\tlower [4][16]int8\n" +
			"\t\tsum   [4][4]float32     // times*(the sum of sixteen numbers)*scale, four times\n" +
			"\t\tscale [4][4]float32     // of each group eight times\n\t}\n",
	}
	wholeAffine8 = wholeOrder{
		name: "wholeAffine8", file: "whole_affine8", elements: 128, parts: 1, halves: 2, sums: true, place: func(group, half int) (int, int) { return 0, 4*half + group },
		doc: "\tupper [2][4][16]int8    // of the first and the second half of each group: n = 256*upper + lower\n" +
			"\tlower [2][4][16]int8\n" + sumDoc,
	}
	wholeAffine4 = wholeOrder{
		name: "wholeAffine4", file: "whole_affine4", elements: 128, parts: 1, halves: 2, sums: true, apart: true, place: func(group, half int) (int, int) { return 0, 4*half + group },
		doc: "\tupper [2][4][16]int8    // of the elements of even number in each group, and of the others: n = 256*upper + lower\n" +
			"\tlower [2][4][16]int8\n" + sumDoc,
	}
)

const sumDoc = "\tsum   [4][4]float32     // times*(the sum of a group's numbers)*scale, four times\n" +
	"\tscale [4][4]float32     // of each group four times\n"

// wholeOrders are those that some format needs.
var wholeOrders = []wholeOrder{wholeInOrder, wholeQ4_K, wholeQ6_K, wholeAffine8, wholeAffine4}

// wholeNumbers writes what wholeProduct takes of one token.
func wholeNumbers(a *asm, o wholeOrder) {
	a.wide = true
	name := o.name + "AVX512"
	a.begin(name, "func(dst []byte, x []float32, times uint32)",
		fmt.Sprintf("%s turns x, of a multiple of %d elements, into whole numbers of 16 bits, at most 32639: each group of 32 of them with a scale, their largest divided by that,", name, o.elements),
		fmt.Sprintf("which is NaN if one of them is not finite. For each %d dst has %d bytes:", o.elements, o.bytes()), "",
		o.doc, "times is a byte, four times.")
	dst, x, n := a.ptr("dst"), a.ptr("x"), a.length("x")
	times, magnitude, half := a.ZMM(), a.ZMM(), a.ZMM()
	t := a.GP32()
	a.Load(a.Param("times"), t)
	a.VPBROADCASTD(t, times)
	a.VPBROADCASTD(a.dword("magnitude", 0x7fffffff), magnitude)
	a.VPBROADCASTD(a.dword("half", 128), half)
	a.repeat(n, o.elements, func() {
		for g := range o.elements / group {
			v, largest, t := []reg.VecVirtual{a.ZMM(), a.ZMM()}, a.ZMM(), a.ZMM()
			for i := range v {
				a.VMOVUPS(at(x, 4*(group*g+16*i)), v[i])
			}
			a.VPANDD(magnitude, v[0], largest)
			a.VPANDD(magnitude, v[1], t)
			a.VPMAXUD(t, largest, largest) // as whole numbers infinity and NaN are the largest
			a.VEXTRACTI64X4(operand.U8(1), largest, t.AsY())
			a.VPMAXUD(t.AsY(), largest.AsY(), largest.AsY())
			a.VEXTRACTI128(operand.U8(1), largest.AsY(), t.AsX())
			a.VPMAXUD(t.AsX(), largest.AsX(), largest.AsX())
			for _, swap := range []uint64{0x4e, 0xb1} {
				a.VPSHUFD(operand.U8(swap), largest.AsX(), t.AsX())
				a.VPMAXUD(t.AsX(), largest.AsX(), largest.AsX())
			}
			factor, scale := a.ZMM(), a.XMM()
			a.VMOVSS(a.dword("most", math.Float32bits(wholeMost)), factor.AsX())
			a.VDIVSS(largest.AsX(), factor.AsX(), factor.AsX())
			a.VMINSS(a.dword("finite", math.Float32bits(math.MaxFloat32)), factor.AsX(), factor.AsX())
			a.VBROADCASTSS(factor.AsX(), factor)
			a.VSUBSS(largest.AsX(), largest.AsX(), scale) // 0, or NaN
			a.VFMADD231SS(a.dword("inverse", math.Float32bits(1.0/wholeMost)), largest.AsX(), scale)
			a.VBROADCASTSS(scale, scale)
			if o.apart {
				even, odd := a.ZMM(), a.ZMM()
				a.VMOVDQU64(a.words("evens", func(i int) uint32 { return uint32(2 * i) }), even)
				a.VMOVDQU64(a.words("odds", func(i int) uint32 { return uint32(2*i + 1) }), odd)
				a.VPERMI2PS(v[1], v[0], even)
				a.VPERMI2PS(v[1], v[0], odd)
				v = []reg.VecVirtual{even, odd}
			}
			for i, v := range v {
				part, place := o.place(g, i)
				if i == 0 || o.halves == 1 {
					a.VMOVUPS(scale, at(dst, o.scales(part)+16*(place%wholeGroups)))
				}
				a.VMULPS(factor, v, v)
				a.VCVTPS2DQ(v, v)
				a.VPMOVDB(v, at(dst, o.lower(part)+16*place))
				a.VPADDD(half, v, v)
				a.VPSRAD(operand.U8(8), v, v)
				a.VPMOVDB(v, at(dst, o.upper(part)+16*place))
			}
		}
		for part := range o.parts {
			upper, all := a.zeroed(1)[0], a.zeroed(1)[0]
			for i := range o.halves {
				a.raw("VPDPBUSD", true, nil, at(dst, o.upper(part)+64*i), times, upper)
				a.raw("VPDPBUSD", true, nil, at(dst, o.lower(part)+64*i), times, all)
			}
			a.VPSLLD(operand.U8(8), upper, upper)
			a.VPADDD(upper, all, all)
			if o.sums {
				t := a.ZMM()
				for _, swap := range []uint64{0x4e, 0xb1} {
					a.VPSHUFD(operand.U8(swap), all, t)
					a.VPADDD(t, all, all)
				}
				a.VCVTDQ2PS(all, all)
				a.VMULPS(at(dst, o.scales(part)), all, all)
				a.VMOVUPS(all, at(dst, o.sum(part)))
				continue
			}
			none := a.zeroed(1)[0]
			a.VPSUBD(all, none, all)
			a.VPRORD(operand.U8(8), all, all)
			a.VMOVDQU64(all, at(dst, o.start(part)))
		}
		a.ADDQ(operand.U32(4*o.elements), x)
		a.ADDQ(operand.U32(o.bytes()), dst)
	})
	a.VZEROUPPER()
	a.RET()
}
