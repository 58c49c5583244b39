package main

import (
	"fmt"
	"math"

	"github.com/mmcloughlin/avo/ir"
	"github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// wholes are the products of 1, 2, 4 or 8 rows of activations, as whole numbers of 16 bits, with quantized weights. Four groups of 32 weights are
// multiplied together: a lane has the same eight weights of one group in two vectors, the first and the second half of it, and VNNI adds up their
// products with one byte of the numbers and then with the other, between which the sum moves up by a byte. So one conversion and one multiplication
// by scales serve 128 weights.
var wholes = func() []routine {
	rs := []routine{{"whole_avx512", wholeNumbers}}
	for _, f := range wholeFormats {
		for _, vectors := range []int{1, 2, 4, 8} {
			rs = append(rs, routine{fmt.Sprintf("product%d_%s_whole_avx512", vectors, f.file), func(a *asm) { a.wide = true; wholeProduct(a, f, vectors) }})
		}
	}
	return rs
}()

const (
	wholeMost   = 127*256 + 127       // largest of the numbers: two signed bytes
	wholeGroups = 4                   // that go together
	wholeCount  = wholeGroups * group // their elements

	nearRow = 1024 // how far ahead in a long row what a product of one token reads is brought into the first cache

	wholeScaleBytes = 2 * 4 * wholeGroups // of the scales of four groups in each of four rows, as halves
)

// What four groups of activations are: the upper bytes of the first sixteen of each group, then of the others, the lower ones in the same way, what
// their sums of products start with and what is put below it when they move up, and the groups' scales, four of each.
const (
	wholeUpper  = 0
	wholeLower  = 128
	wholeStart  = 256
	wholeBelow  = 320
	wholeScales = 384
	wholeBytes  = 448
)

// A wholeFormat is how a routine reads four blocks of 32 weights of each of some rows.
type wholeFormat struct {
	name, file string
	bytes      int  // of a block
	apart      bool // the scales of four blocks are too far apart to be in one vector
	// open reads what the rows share, and gives back, for the scales of four groups, those of each of four rows, as halves in
	// the lower part of a vector; not if they are apart.
	open func(a *asm, rows []operand.Mem, masks []reg.Register) (of wholeWeights, scales reg.VecVirtual)
}

// wholeWeights is the weights of a row as unsigned bytes: those of the first half of each group, and of the second.
type wholeWeights func(row int) (first, second reg.VecVirtual)

var wholeFormats = []wholeFormat{
	{"Q8_0", "q8_0", 34, true, openWholeQ8_0},
	{"Q4_0", "q4_0", 18, false, openWholeQ4_0},
}

// raw adds an instruction that avo does not know. Its last operand is what it writes, and reads too if it adds to it.
func (a *asm) raw(opcode string, adds bool, suffixes []string, ops ...operand.Op) {
	in, out := ops, ops[len(ops)-1]
	if !adds {
		in = ops[:len(ops)-1]
	}
	a.Instruction(&ir.Instruction{Opcode: opcode, Suffixes: suffixes, Operands: ops, Inputs: in, Outputs: []operand.Op{out}})
}

// mask is a mask in a register.
func (a *asm) mask(bits uint32) reg.Register {
	k, r := a.K(), a.GP32()
	a.MOVL(operand.U32(bits), r)
	a.KMOVD(r, k)
	return k
}

func openWholeQ8_0(a *asm, rows []operand.Mem, _ []reg.Register) (wholeWeights, reg.VecVirtual) {
	return func(row int) (first, second reg.VecVirtual) {
		half := func(i int) reg.VecVirtual {
			v := a.ZMM()
			a.VMOVDQU32(moved(rows[row], 2+16*i), v.AsX())
			for g := 1; g < wholeGroups; g++ {
				a.VINSERTI32X4(operand.U8(uint64(g)), moved(rows[row], 34*g+2+16*i), v, v)
			}
			a.VPXORD_BCST(a.dword("signs", 0x80808080), v, v)
			return v
		}
		return half(0), half(1)
	}, nil
}

// masksQ4_0 are of the last group's dwords, and of the words of each row but the first.
var masksQ4_0 = []uint32{0xf000, 0x2222, 0x4444, 0x8888}

func openWholeQ4_0(a *asm, rows []operand.Mem, masks []reg.Register) (wholeWeights, reg.VecVirtual) {
	places, starts, scales := a.ZMM(), a.ZMM(), a.ZMM()
	a.VMOVDQU64(a.words16("placesQ4_0", func(i int) uint16 { return uint16(i/8*9 + 1 + i%8) }), places)
	a.VMOVDQU64(a.words16("startsQ4_0", func(i int) uint16 { return uint16(i / 4 % 4 * 9) }), starts)
	var bytes []reg.VecVirtual
	for r, m := range rows {
		all, v := a.ZMM(), a.ZMM()
		a.VMOVDQU64(m, all)
		if r == 0 {
			a.VPERMW(all, starts, scales)
		} else {
			a.VPERMW(all, starts, masks[r], scales)
		}
		a.VPERMW(all, places, v)
		a.VBROADCASTI32X4(moved(m, 56), masks[0], v) // they end behind the vector
		bytes = append(bytes, v)
	}
	return func(row int) (first, second reg.VecVirtual) {
		first, second = a.ZMM(), a.ZMM()
		a.VPANDD_BCST(a.dword("nibbles", 0x0f0f0f0f), bytes[row], first)
		a.raw("VGF2P8AFFINEQB", false, []string{"BCST"}, operand.U8(0), a.constant("upperNibbles", func() { a.AddDatum(0, operand.U64(0x1020408000000000)) }), bytes[row], second)
		return first, second
	}, scales
}

// words16 is a vector of words in memory.
func (a *asm) words16(name string, lane func(i int) uint16) operand.Mem {
	return a.constant(name, func() {
		for i := range 32 {
			a.AddDatum(2*i, operand.U16(lane(i)))
		}
	})
}

func wholeProduct(a *asm, f wholeFormat, vectors int) {
	keys := min(4, 16/vectors)
	name := fmt.Sprintf("product%d%sWhole", vectors, f.name)
	a.begin(name, "func(s []float32, stride int, q, k, next []byte, n, dim int)",
		name+" is", "",
		fmt.Sprintf("\tfor h := range %d {\n\t\tfor j := range n {\n\t\t\tfor i := range dim {\n\t\t\t\ts[h*stride+j] += q[h*dim+i] * k[j*dim+i] // from 0\n\t\t\t}\n\t\t}\n\t}", vectors),
		"", fmt.Sprintf("for q as wholeAVX512 makes it and dim a multiple of %d. It prefetches next, about as many bytes of it as k has at most.", wholeCount))
	stride, q, k := a.slot(a.Param("stride")), a.ptr("q"), a.ptr("k")
	next, limit := a.ahead()
	s := a.slot(a.Param("s").Base()) // there are too few registers to keep it in one
	n, left := a.slot(a.Param("n")), a.integer("dim")
	t := a.GP64()
	a.MOVQ(stride, t)
	a.SHLQ(operand.U8(2), t)
	a.MOVQ(t, stride)
	activations, row := a.GP64(), a.GP64() // bytes of a row of them, and of weights
	a.XORQ(activations, activations)
	a.XORQ(row, row)
	a.repeat(left, wholeCount, func() {
		a.ADDQ(operand.U32(wholeBytes), activations)
		a.ADDQ(operand.U32(wholeGroups*f.bytes), row)
	})
	units, rows := a.multiples(activations, vectors), a.multiples(row, keys)
	var masks []reg.Register
	var waiting operand.Mem // the scales of two times four groups, if they are apart
	if f.apart {
		waiting = a.AllocLocal(2 * wholeScaleBytes)
		a.VMOVDQU64(a.zeroed(1)[0], waiting) // unlike what lies there, what is multiplied for rows that are not there takes no time
	} else {
		for _, bits := range masksQ4_0 {
			masks = append(masks, a.mask(bits))
		}
	}
	soon := a.GP64() // how far ahead of its use memory is brought from the second cache into the first: to the next rows, or further on in long ones
	if vectors == 1 {
		far := a.GP64()
		a.MOVQ(row, soon)
		a.SHLQ(operand.U8(2), soon)
		a.MOVQ(operand.U32(nearRow), far)
		a.CMPQ(row, operand.U32(2*nearRow))
		a.CMOVQHI(far, soon)
	}
	sums := func(keys int) []reg.VecVirtual {
		acc := a.zeroed(vectors * keys)
		stored := strided(k, rows, 1, keys)
		left := a.copyOf(row)
		var place reg.GPVirtual
		if f.apart {
			place = a.GP64()
			a.XORQ(place, place)
			a.collect(f, stored, waiting, place)
		}
		a.repeat(left, wholeGroups*f.bytes, func() {
			tokens := strided(q, units, 1, vectors)
			part := func(token, disp int) operand.Op { return moved(tokens[token], disp) }
			if vectors == 1 && keys > 1 { // the rows share them
				have := map[int]reg.VecVirtual{}
				part = func(_, disp int) operand.Op {
					if have[disp] == nil {
						have[disp] = a.ZMM()
						a.VMOVDQU64(at(q, disp), have[disp])
					}
					return have[disp]
				}
			}
			weights, halves := f.open(a, stored, masks)
			scales := a.ZMM()
			if f.apart {
				// Those of the next groups are stored now: what was stored in pieces can be loaded as a whole only a while later.
				a.VCVTPH2PS(waiting.Idx(place, 1), scales)
				a.XORQ(operand.U8(wholeScaleBytes), place)
				ahead, further := a.copyOf(k), a.GP64()
				a.LEAQ(at(k, wholeGroups*f.bytes), further)
				a.CMPQ(left, operand.U32(wholeGroups*f.bytes))
				a.CMOVQGT(further, ahead)
				a.collect(f, strided(ahead, rows, 1, keys), waiting, place)
			} else {
				a.VCVTPH2PS(halves.AsY(), scales)
			}
			factors := make([]reg.VecVirtual, vectors)
			for h := range factors {
				factors[h] = scales
				if h+1 < vectors {
					factors[h] = a.ZMM()
				}
				a.VMULPS(part(h, wholeScales), scales, factors[h])
			}
			var coming []operand.Mem
			if vectors == 1 && keys > 1 {
				near := a.GP64()
				a.LEAQ(atIndex(k, soon, 1, 0), near)
				coming = strided(near, rows, 1, keys)
			}
			lines := (keys*wholeGroups*f.bytes + cacheLine - 1) / cacheLine
			for r := range keys {
				first, second := weights(r)
				for h := range vectors {
					sum, factor := a.ZMM(), a.ZMM()
					a.VMOVDQU64(moved(tokens[h], wholeStart), sum)
					a.raw("VPDPBUSD", true, nil, part(h, wholeUpper), first, sum)
					a.raw("VPDPBUSD", true, nil, part(h, wholeUpper+64), second, sum)
					a.raw("VPSHLDD", false, nil, operand.U8(8), part(h, wholeBelow), sum, sum)
					a.raw("VPDPBUSD", true, nil, part(h, wholeLower), first, sum)
					a.raw("VPDPBUSD", true, nil, part(h, wholeLower+64), second, sum)
					a.VCVTDQ2PS(sum, sum)
					a.VPERMILPS(operand.U8(uint64(r*0x55)), factors[h], factor)
					a.VFMADD231PS(factor, sum, acc[h*keys+r])
				}
				if coming != nil {
					for disp := 0; disp < wholeGroups*f.bytes-cacheLine/2; disp += cacheLine {
						a.PREFETCHT0(moved(coming[r], disp))
					}
				}
				// Evenly: too many at once would be dropped.
				for line := lines * r / keys; line < lines*(r+1)/keys; line++ {
					a.PREFETCHT1(at(next, line*cacheLine))
				}
			}
			a.ADDQ(operand.U32(keys*wholeGroups*f.bytes), next)
			a.CMPQ(next, limit)
			a.CMOVQHI(limit, next)
			a.ADDQ(operand.U32(wholeGroups*f.bytes), k)
			a.ADDQ(operand.U32(wholeBytes), q)
		})
		a.SUBQ(activations, q)
		return acc
	}
	a.whileSlot(n, keys, func() {
		v := sums(keys)
		total := a.laneSums(v)
		out, step := a.GP64(), a.GP64()
		a.MOVQ(s, out)
		a.MOVQ(stride, step)
		a.spread(total, out, step, vectors, keys)
		a.ADDQ(operand.U32(keys*4), s)
		for range keys - 1 {
			a.ADDQ(row, k)
		}
	})
	a.whileSlot(n, 1, func() {
		v := sums(1)
		out, step := a.GP64(), a.GP64()
		a.MOVQ(s, out)
		a.MOVQ(stride, step)
		for _, v := range v {
			a.laneSum(v)
			a.VMOVSS(v.AsX(), at(out, 0))
			a.ADDQ(step, out)
		}
		a.ADDQ(operand.U32(4), s)
	})
	a.VZEROUPPER()
	a.RET()
}

// collect puts the halves that begin four blocks of each of some rows together, at the place in to.
func (a *asm) collect(f wholeFormat, rows []operand.Mem, to operand.Mem, place reg.GPVirtual) {
	for r, m := range rows {
		for g := range wholeGroups {
			d := a.GP32()
			a.MOVWLZX(moved(m, f.bytes*g), d)
			a.MOVW(d.As16(), moved(to.Idx(place, 1), 2*(wholeGroups*g+r)))
		}
	}
}

// whileSlot runs body while n, in memory, is at least step, which it takes off each time.
func (a *asm) whileSlot(n operand.Mem, step int, body func()) {
	top, end := a.label("rows"), a.label("done")
	a.CMPQ(n, operand.U32(step))
	a.JLT(operand.LabelRef(end))
	a.Label(top)
	body()
	a.SUBQ(operand.U32(step), n)
	a.CMPQ(n, operand.U32(step))
	a.JGE(operand.LabelRef(top))
	a.Label(end)
}

// wholeNumbers writes what wholeProduct takes of one token.
func wholeNumbers(a *asm) {
	a.wide = true
	a.begin("wholeAVX512", "func(dst []byte, x []float32, zero uint32)",
		"wholeAVX512 turns x, of a multiple of 128 elements, into whole numbers of 16 bits, at most 32639: each 32 of them with a scale, their largest divided by that,",
		"which is NaN if one of them is not finite. For each 128 dst has 448 bytes:", "",
		"\tupper [2][4][16]int8    // of the first and the second half of each group: n = 256*upper + lower",
		"\tlower [2][4][16]int8",
		"\tstart [4][4]int32       // -zero*(the sum of four numbers of the first half and four of the second) is 256*start + below>>24",
		"\tbelow [4][4]uint32",
		"\tscale [4][4]float32     // of each group four times", "",
		"zero is a byte, four times.")
	dst, x, n := a.ptr("dst"), a.ptr("x"), a.length("x")
	zero, magnitude, half := a.ZMM(), a.ZMM(), a.ZMM()
	z := a.GP32()
	a.Load(a.Param("zero"), z)
	a.VPBROADCASTD(z, zero)
	a.VPBROADCASTD(a.dword("magnitude", 0x7fffffff), magnitude)
	a.VPBROADCASTD(a.dword("half", 128), half)
	a.repeat(n, wholeCount, func() {
		for g := range wholeGroups {
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
			a.VMOVUPS(scale, at(dst, wholeScales+16*g))
			for i, v := range v {
				at := func(part int) operand.Mem { return at(dst, part+64*i+16*g) }
				a.VMULPS(factor, v, v)
				a.VCVTPS2DQ(v, v)
				a.VPMOVDB(v, at(wholeLower))
				a.VPADDD(half, v, v)
				a.VPSRAD(operand.U8(8), v, v)
				a.VPMOVDB(v, at(wholeUpper))
			}
		}
		sums := a.zeroed(2)
		for p, part := range []int{wholeUpper, wholeLower} {
			a.raw("VPDPBUSD", true, nil, at(dst, part), zero, sums[p])
			a.raw("VPDPBUSD", true, nil, at(dst, part+64), zero, sums[p])
		}
		all := a.zeroed(1)[0]
		a.VPSLLD(operand.U8(8), sums[0], sums[0])
		a.VPADDD(sums[0], sums[1], sums[1])
		a.VPSUBD(sums[1], all, all)
		a.VPSRAD(operand.U8(8), all, sums[0])
		a.VMOVDQU64(sums[0], at(dst, wholeStart))
		a.VPSLLD(operand.U8(24), all, all)
		a.VMOVDQU64(all, at(dst, wholeBelow))
		a.ADDQ(operand.U32(4*wholeCount), x)
		a.ADDQ(operand.U32(wholeBytes), dst)
	})
	a.VZEROUPPER()
	a.RET()
}
