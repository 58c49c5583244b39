package main

import (
	"fmt"
	"math"

	"github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// weighed are the sums of values of 8 and 4 bits whose weights are whole numbers of 24 or 16 bits, three bytes or two. The bytes of four values are turned
// so that each lane has four of one element, and VNNI multiplies them with those of four weights, the same in all lanes. A weight is that of
// the softmax times the scale of a group, so each group of elements has numbers of its own.
var weighed = func() []routine {
	rs := []routine{{"largest_avx512", largestOfRows}, {"normalize_avx512", normalize}}
	for _, bits := range []int{8, 4} {
		for _, planes := range []int{3, 2} {
			rs = append(rs, routine{fmt.Sprintf("weigh%d_q%d_vnni_avx512", 8*planes, bits), func(a *asm) { a.wide = true; weigh(a, bits, planes) }})
			for _, heads := range []int{1, 2, 4} {
				rs = append(rs, routine{fmt.Sprintf("values%d_q%d_by%d_vnni_avx512", heads, bits, 8*planes), func(a *asm) { a.wide = true; weighedValues(a, heads, bits, planes) }})
			}
		}
	}
	return rs
}()

const (
	weighedStarts = 16            // bytes of what to multiply a group's sums with, for each head; then where those of all bytes but a third start
	weighedLow    = 32            // and where those of a third do
	weighedHeader = 48            // bytes of all that; then the numbers, those of a head after those of another, a plane of bytes after another, the highest first
	weighAhead    = 4 * cacheLine // bytes of next that are asked for with a head's numbers in a group
)

// largestOf leaves in the lowest element of the first of v, whose vectors it overwrites, what is largest in all of them as whole numbers without a sign.
func (a *asm) largestOf(v []reg.VecVirtual) {
	for n := len(v); n > 1; n = (n + 1) / 2 {
		for i := range n / 2 {
			a.VPMAXUD(v[(n+1)/2+i], v[i], v[i])
		}
	}
	top, t := v[0], a.ZMM()
	a.VEXTRACTI64X4(operand.U8(1), top, t.AsY())
	a.VPMAXUD(t.AsY(), top.AsY(), top.AsY())
	a.VEXTRACTI32X4(operand.U8(1), top, t.AsX())
	a.VPMAXUD(t.AsX(), top.AsX(), top.AsX())
	for _, swap := range []uint64{0x4e, 0xb1} {
		a.VPSHUFD(operand.U8(swap), top.AsX(), t.AsX())
		a.VPMAXUD(t.AsX(), top.AsX(), top.AsX())
	}
}

// largestOfRows writes what weights are measured by.
func largestOfRows(a *asm) {
	a.wide = true
	a.begin("largestAVX512", "func(most, x []float32, stride int)",
		"largestAVX512 is", "", fmt.Sprintf("\tfor i := range most {\n\t\tmost[i] = max(x[i*stride+j]...) // for j < %d, by bits: what is negative counts as larger than infinity, and so does NaN\n\t}", fixedKeys))
	most, rows, x, stride := a.ptr("most"), a.length("most"), a.ptr("x"), a.integer("stride")
	a.SHLQ(operand.U8(2), stride)
	a.repeat(rows, 1, func() {
		v := make([]reg.VecVirtual, 4)
		for i := range v {
			v[i] = a.ZMM()
			a.VMOVUPS(at(x, 64*i), v[i])
			for j := i + len(v); j < fixedKeys/16; j += len(v) {
				a.VPMAXUD(at(x, 64*j), v[i], v[i])
			}
		}
		a.largestOf(v)
		a.VMOVSS(v[0].AsX(), at(most, 0))
		a.ADDQ(stride, x)
		a.ADDQ(operand.U8(4), most)
	})
	a.VZEROUPPER()
	a.RET()
}

// least is what takes the place of a smaller largest number, so that the inverse is a normal number.
func (a *asm) least() operand.Mem { return a.dword("least", math.Float32bits(0x1p-100)) }

// normalize writes the division of scales by the largest of their group.
func normalize(a *asm) {
	a.wide = true
	a.begin("normalizeAVX512", "func(most, x []float32, bits uint32)",
		"normalizeAVX512 is", "", fmt.Sprintf("\tfor i := range most {\n\t\tmost[i] = max(x[%d*i+j] & bits...) // for j < %d, by bits, as largestAVX512 has them\n"+
			"\t\tx[%d*i+j] *= 1 / max(most[i], 0x1p-100)\n\t}", fixedKeys, fixedKeys, fixedKeys))
	most, rows, x, bits := a.ptr("most"), a.length("most"), a.ptr("x"), a.ZMM()
	mask := a.GP32()
	a.Load(a.Param("bits"), mask)
	a.VPBROADCASTD(mask, bits)
	a.repeat(rows, 1, func() {
		v := make([]reg.VecVirtual, fixedKeys/16)
		for i := range v {
			v[i] = a.ZMM()
			a.VPANDD(at(x, 64*i), bits, v[i])
		}
		a.largestOf(v)
		a.VMOVSS(v[0].AsX(), at(most, 0))
		factor := a.ZMM()
		a.VMAXSS(a.least(), v[0].AsX(), v[0].AsX())
		a.VMOVSS(a.dword("one", math.Float32bits(1)), factor.AsX())
		a.VDIVSS(v[0].AsX(), factor.AsX(), factor.AsX())
		a.VBROADCASTSS(factor.AsX(), factor)
		for i := range v {
			scaled := a.ZMM()
			a.VMULPS(at(x, 64*i), factor, scaled)
			a.VMOVUPS(scaled, at(x, 64*i))
		}
		a.ADDQ(operand.U32(4*fixedKeys), x)
		a.ADDQ(operand.U8(4), most)
	})
	a.VZEROUPPER()
	a.RET()
}

// weighCount is the largest of a weight's numbers: less than fits by more than rounding adds. Values of 8 bits are signed, their scales positive; those of 4 bits
// unsigned once 8 is added, and their scales have a sign.
func weighCount(bits, planes int) float32 {
	return map[[2]int]float32{{8, 3}: 0xfffff0, {8, 2}: 0xfff0, {4, 3}: 0x7f7f70, {4, 2}: 0x7f70}[[2]int{bits, planes}]
}

// weigh writes one head of what weighedValues takes.
func weigh(a *asm, bits, planes int) {
	count, number := weighCount(bits, planes), "unsigned"
	if bits == 4 {
		number = "signed"
	}
	digits := "w[g].high[h][j], w[g].mid[h][j], w[g].low[h][j] = high, mid, low // n = (high*256 + mid)*256 + low, "
	if planes == 2 {
		digits = "w[g].high[h][j], w[g].low[h][j] = high, low // n = high*256 + low, "
	}
	a.begin(fmt.Sprintf("weigh%dQ%dVNNI", 8*planes, bits), "func(w []byte, p []float32, stride int, scales, most, mostScales []float32, next []byte)",
		fmt.Sprintf("weigh%dQ%dVNNI is, for %d weights p of each head and scales that normalizeAVX512 has divided by mostScales,", 8*planes, bits, fixedKeys), "",
		fmt.Sprintf("\tfor h, m := range most {\n\t\tm = max(m, 0x1p-100)\n\t\tfor g := range mostScales {\n\t\t\tw[g].unit[h] = m * mostScales[g] / %#x\n"+
			"\t\t\tfor j := range %d {\n\t\t\t\tn := round(p[h*stride+j] * (%#x / m) * scales[g*%d+j])\n\t\t\t\t%s%s\n\t\t\t}\n\t\t}\n\t}", int(count), fixedKeys, int(count), fixedKeys, digits, number),
		"", "In 4 bits w[g] also has where sums start, -8 times that of the numbers.",
		fmt.Sprintf("It prefetches next, at most %d bytes of it for each head and group.", weighAhead))
	w, stride, perHead := a.ptr("w"), a.integer("stride"), a.ptr("p")
	a.SHLQ(operand.U8(2), stride)
	heads, most, mostScales0 := a.length("most"), a.ptr("most"), a.slot(a.Param("mostScales").Base())
	groups0, scales0 := a.slot(a.Param("mostScales").Len()), a.slot(a.Param("scales").Base())
	step := a.GP64() // bytes of a group
	if planes == 3 {
		a.LEAQ(atIndex(heads, heads, 2, 0), step)
	} else {
		a.LEAQ(atIndex(heads, heads, 1, 0), step)
	}
	a.SHLQ(operand.U8(8), step)
	a.ADDQ(operand.U8(weighedHeader), step)
	header, numbers, scales, mostScales, groups := a.GP64(), a.GP64(), a.GP64(), a.GP64(), a.GP64()
	p := make([]reg.VecVirtual, fixedKeys/16)
	for i := range p {
		p[i] = a.ZMM()
	}
	next, limit := a.ahead()
	numbers0 := a.copyOf(w)
	a.ADDQ(operand.U8(weighedHeader), numbers0)
	natural, split := a.ZMM(), a.ZMM()
	a.VMOVDQU32(a.words("natural", func(i int) uint32 { return uint32(i%4*4 + i/4) }), natural)
	if planes == 3 { // in each quarter, the lowest bytes of its numbers, the middle ones, the highest
		a.VMOVDQU32(a.words("split", func(i int) uint32 { return uint32(0x0c080400 + i%4*0x01010101) }), split)
	} else { // the lower bytes of its words, the upper ones
		a.VMOVDQU32(a.words("split", func(i int) uint32 { return uint32(0x06040200 + i%4/2*0x01010101 + i%4%2*0x08080808) }), split)
	}
	a.repeat(heads, 1, func() {
		unit, factor := a.XMM(), a.ZMM()
		a.VMOVSS(at(most, 0), unit)
		a.VMAXSS(a.least(), unit, unit)
		a.VMOVSS(a.dword("count", math.Float32bits(count)), factor.AsX())
		a.VDIVSS(unit, factor.AsX(), factor.AsX())
		a.VMULSS(a.dword("inverse", math.Float32bits(1/count)), unit, unit)
		a.VBROADCASTSS(factor.AsX(), factor)
		for i := range p {
			a.VMULPS(at(perHead, 64*i), factor, p[i])
		}
		for _, r := range []struct {
			from operand.Op
			to   reg.GPVirtual
		}{{w, header}, {numbers0, numbers}, {scales0, scales}, {mostScales0, mostScales}, {groups0, groups}} {
			a.MOVQ(r.from, r.to)
		}
		a.repeat(groups, 1, func() {
			of := a.XMM()
			a.VMULSS(at(mostScales, 0), unit, of)
			a.VMOVSS(of, at(header, 0))
			var sums []reg.VecVirtual
			if bits == 4 {
				sums = a.zeroed(planes)
			}
			for i := 0; i < len(p); i += 4 {
				a.prefetch(next, limit, 4*weighAhead/len(p))
				x := make([]reg.VecVirtual, 4)
				for j := range x {
					x[j] = a.ZMM()
					a.VMULPS(at(scales, 64*(i+j)), p[i+j], x[j])
					a.VCVTPS2DQ(x[j], x[j])
					if bits == 4 {
						a.VPADDD_BCST(a.dword("digits", map[int]uint32{3: 0x00808080, 2: 0x00008080}[planes]), x[j], x[j])
					}
				}
				for plane, v := range a.planes(x, split, planes) {
					if bits == 4 {
						eight := a.ZMM()
						a.VPBROADCASTD(a.dword("eight", 0x08080808), eight)
						a.VPXORD_BCST(a.dword("signs", 0x80808080), v, v)
						a.dot(v, eight, sums[plane])
					}
					a.VPERMD(v, natural, v)
					a.VMOVDQU32(v, at(numbers, plane*fixedKeys+16*i))
				}
			}
			if bits == 4 {
				a.VPSLLD(operand.U8(8), sums[0], sums[0])
				a.VPADDD(sums[1], sums[0], sums[0])
				for i, sum := range append(sums[:1:1], sums[2:]...) {
					t := a.ZMM()
					a.VEXTRACTI64X4(operand.U8(1), sum, t.AsY())
					a.VPADDD(t.AsY(), sum.AsY(), sum.AsY())
					a.VEXTRACTI32X4(operand.U8(1), sum, t.AsX())
					a.VPADDD(t.AsX(), sum.AsX(), sum.AsX())
					for _, swap := range []uint64{0x4e, 0xb1} {
						a.VPSHUFD(operand.U8(swap), sum.AsX(), t.AsX())
						a.VPADDD(t.AsX(), sum.AsX(), sum.AsX())
					}
					total := a.GP32()
					a.VMOVD(sum.AsX(), total)
					a.NEGL(total)
					a.MOVL(total, at(header, []int{weighedStarts, weighedLow}[i]))
				}
			}
			a.ADDQ(operand.U32(4*fixedKeys), scales)
			a.ADDQ(operand.U8(4), mostScales)
			a.ADDQ(step, header)
			a.ADDQ(step, numbers)
		})
		a.ADDQ(stride, perHead)
		a.ADDQ(operand.U8(4), most)
		a.ADDQ(operand.U8(4), w)
		a.ADDQ(operand.U32(uint64(planes*fixedKeys)), numbers0)
	})
	a.VZEROUPPER()
	a.RET()
}

// planes is the bytes of 64 numbers, the highest first, each plane in the order of the vectors' quarters: all first ones, all second ones, and so on. split
// is what sorts the bytes in a quarter.
func (a *asm) planes(x []reg.VecVirtual, split reg.VecVirtual, planes int) []reg.VecVirtual {
	if planes == 2 {
		a.VPACKUSDW(x[1], x[0], x[0])
		a.VPACKUSDW(x[3], x[2], x[2])
		a.VPSHUFB(split, x[0], x[0])
		a.VPSHUFB(split, x[2], x[2])
		a.VPUNPCKHQDQ(x[2], x[0], x[1])
		a.VPUNPCKLQDQ(x[2], x[0], x[0])
		return []reg.VecVirtual{x[1], x[0]}
	}
	for _, v := range x {
		a.VPSHUFB(split, v, v)
	}
	high, low := []reg.VecVirtual{a.ZMM(), a.ZMM()}, []reg.VecVirtual{a.ZMM(), a.ZMM()}
	for j := range low {
		a.VPUNPCKLDQ(x[2*j+1], x[2*j], low[j])
		a.VPUNPCKHDQ(x[2*j+1], x[2*j], high[j])
	}
	a.VPUNPCKLQDQ(high[1], high[0], high[0])
	a.VPUNPCKHQDQ(low[1], low[0], high[1])
	a.VPUNPCKLQDQ(low[1], low[0], low[0])
	return []reg.VecVirtual{high[0], high[1], low[0]}
}

// weighedValues writes the sums of n values, weighted for each of heads queries.
func weighedValues(a *asm, heads, bits, planes int) {
	name := fmt.Sprintf("values%dQ%dBy%dVNNI", heads, bits, 8*planes)
	a.begin(name, "func(o []float32, w []byte, from int, v, next []byte, n, dim int)",
		name+" is", "",
		fmt.Sprintf("\tfor h := range %d {\n\t\tfor j := range n {\n\t\t\tfor i := range dim {\n\t\t\t\to[h*dim+i] += w[h, from+j, i/32] * v[j*dim+i] // v without its scale\n\t\t\t}\n\t\t}\n\t}", heads),
		"", fmt.Sprintf("for w as weigh%dQ%dVNNI makes it, n a multiple of 4 and at least 4, and dim of 32. It prefetches next, at most %s of it.", 8*planes, bits, map[bool]string{true: "half as many bytes as v has", false: "as many bytes as v has"}[heads == 4]))
	o, w := a.ptr("o"), a.ptr("w")
	from, v0, n := a.slot(a.Param("from")), a.slot(a.Param("v").Base()), a.slot(a.Param("n"))
	row, row3, row4 := a.integer("dim"), a.GP64(), a.GP64()
	perHead := a.copyOf(row)
	a.SHLQ(operand.U8(2), perHead) // bytes of a row of o
	bytes := group * bits / 8
	if bits == 4 {
		a.SHRQ(operand.U8(1), row)
	}
	a.LEAQ(atIndex(row, row, 2, 0), row3)
	a.LEAQ(atIndex(row, row, 1, 0), row4)
	a.ADDQ(row4, row4)
	next, limit := a.ahead()
	end := a.slot(a.Param("v").Len()) // where the last four rows begin
	a.ADDQ(atSlot(a, v0), end)
	a.SUBQ(row4, end)
	lanes := a.laneMasks(map[int]int{8: 1, 4: 3}[bits])
	turn := a.ZMM()
	a.VMOVDQU32(a.words("turn", func(i int) uint32 { return turnOf(bits, i) }), turn)
	left := a.copyOf(row)
	a.repeat(left, bytes, func() {
		perNumbers := planes * fixedKeys            // bytes of a head's numbers in a group
		sums := make([][3][2]reg.VecVirtual, heads) // of each head's planes, two vectors
		for h := range sums {
			for plane := range planes {
				for u := range 2 {
					if plane > 0 && bits == 4 {
						sums[h][plane][u] = a.ZMM()
						a.VPBROADCASTD(at(w, plane*weighedStarts+4*h), sums[h][plane][u])
					} else {
						sums[h][plane][u] = a.zeroed(1)[0]
					}
				}
			}
		}
		v, near, numbers, keys := a.GP64(), a.GP64(), a.copyOf(w), a.GP64()
		a.ADDQ(from, numbers)
		a.MOVQ(v0, v)
		a.LEAQ(at(v, nearBytes), near)
		a.MOVQ(n, keys)
		a.repeat(keys, 4, func() {
			a.CMPQ(near, end)
			a.CMOVQHI(end, near)
			rows := []operand.Mem{at(v, 0), atIndex(v, row, 1, 0), atIndex(v, row, 2, 0), atIndex(v, row3, 1, 0)}
			x := a.turned(rows, lanes, turn, bits)
			for h := range heads {
				for plane := range planes {
					number := a.ZMM()
					a.VPBROADCASTD(at(numbers, weighedHeader+h*perNumbers+plane*fixedKeys), number)
					for u := range 2 {
						if bits == 8 {
							a.dot(x[u], number, sums[h][plane][u])
						} else {
							a.dot(number, x[u], sums[h][plane][u])
						}
					}
				}
			}
			for _, m := range []operand.Mem{at(near, 0), atIndex(near, row, 1, 0), atIndex(near, row, 2, 0), atIndex(near, row3, 1, 0)} {
				a.PREFETCHT0(m)
			}
			a.prefetch(next, limit, 4*bytes*min(2, 4/heads)/2)
			a.ADDQ(operand.U8(4), numbers)
			a.ADDQ(row4, v)
			a.ADDQ(row4, near)
		})
		out := a.copyOf(o)
		for h := range heads {
			var all [2]reg.VecVirtual
			for u := range all {
				all[u] = sums[h][0][u]
				a.VPSLLD(operand.U8(8), all[u], all[u])
				a.VPADDD(sums[h][1][u], all[u], all[u])
				a.VCVTDQ2PS(all[u], all[u])
				if planes == 3 {
					high, low := all[u], sums[h][2][u]
					a.VCVTDQ2PS(low, low)
					a.VFMADD231PS_BCST(a.dword("byte", math.Float32bits(256)), high, low)
					all[u] = low
				}
			}
			for part, name := range []string{"first", "second"} {
				x, sum := a.ZMM(), a.ZMM()
				a.VMOVDQU32(a.words(name, func(i int) uint32 { return whereIs(bits, 16*part+i) }), x)
				a.VPERMI2PS(all[1], all[0], x)
				a.VMOVUPS(at(out, 64*part), sum)
				a.VFMADD231PS_BCST(at(w, 4*h), x, sum)
				a.VMOVUPS(sum, at(out, 64*part))
			}
			if h+1 < heads {
				a.ADDQ(perHead, out)
			}
		}
		a.ADDQ(operand.U32(bytes), v0)
		a.ADDQ(operand.U32(4*group), o)
		a.ADDQ(operand.U32(uint64(weighedHeader+heads*perNumbers)), w)
	})
	a.VZEROUPPER()
	a.RET()
}

// atSlot is a register with what a slot holds.
func atSlot(a *asm, m operand.Mem) reg.GPVirtual {
	r := a.GP64()
	a.MOVQ(m, r)
	return r
}

// turned is a group of four rows as two vectors, each lane four bytes of one element.
func (a *asm) turned(rows []operand.Mem, lanes []reg.OpmaskVirtual, turn reg.VecVirtual, bits int) [2]reg.VecVirtual {
	if bits == 4 {
		x, upper := a.ZMM(), a.ZMM()
		a.VMOVDQU32(rows[0], x.AsX())
		for i, m := range rows[1:] {
			a.VBROADCASTI32X4(m, lanes[i], x)
		}
		a.VPERMB(x, turn, x)
		a.VPSRLD(operand.U8(4), x, upper)
		a.VPANDD_BCST(a.dword("nibbles", 0x0f0f0f0f), x, x)
		a.VPANDD_BCST(a.dword("nibbles", 0x0f0f0f0f), upper, upper)
		return [2]reg.VecVirtual{x, upper}
	}
	x, y, low := a.ZMM(), a.ZMM(), a.ZMM()
	a.VMOVDQU32(rows[0], x.AsY())
	a.VBROADCASTI64X4(rows[1], lanes[0], x)
	a.VMOVDQU32(rows[2], y.AsY())
	a.VBROADCASTI64X4(rows[3], lanes[0], y)
	a.VPUNPCKLBW(y, x, low)
	a.VPUNPCKHBW(y, x, x)
	a.VPERMB(low, turn, low)
	a.VPERMB(x, turn, x)
	return [2]reg.VecVirtual{low, x}
}

// turnOf is the lane's bytes of what VPERMB takes: from quarters that hold a row each in 4 bits; in 8 bits from halves, of which each has
// two rows byte by byte, one of even and one of odd ones.
func turnOf(bits, lane int) uint32 {
	word := uint32(0)
	for row := range 4 {
		from := 16*row + lane
		if bits == 8 {
			from = row%2*32 + lane/8*16 + lane%8*2 + row/2
		}
		word |= uint32(from) << (8 * row)
	}
	return word
}

// whereIs is where turned has an element of the group: its lane, and 16 more if in the second vector.
func whereIs(bits, element int) uint32 {
	for lane := range 16 {
		for upper := range 2 {
			e := lane/8*16 + lane%8 + 8*upper
			if bits == 4 {
				e = lane/4*8 + []int{0, 4, 1, 5}[lane%4] + 2*upper
			}
			if e == element {
				return uint32(lane + 16*upper)
			}
		}
	}
	panic("no such element") // a mistake in this program
}
