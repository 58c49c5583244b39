package main

import (
	"fmt"
	"math"

	"github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// weighed are the sums of values of 8 and 4 bits whose weights are whole numbers of 24 bits, three bytes. The bytes of four values are turned so that
// each lane has four of one element, and VNNI multiplies them with those of four weights, the same in all lanes. A weight is that of
// the softmax times the scale of a group, so each group of elements has numbers of its own.
var weighed = func() []routine {
	var rs []routine
	for _, bits := range []int{8, 4} {
		rs = append(rs, routine{fmt.Sprintf("weigh_q%d_vnni_avx512", bits), func(a *asm) { a.wide = true; weigh(a, bits) }})
		for _, heads := range []int{1, 2, 4} {
			rs = append(rs, routine{fmt.Sprintf("values%d_q%d_vnni_avx512", heads, bits), func(a *asm) { a.wide = true; weighedValues(a, heads, bits) }})
		}
	}
	return rs
}()

const (
	weighedStarts = 16                        // bytes of what to multiply a group's sums with, for each head; then where those of the upper two bytes start
	weighedLow    = 32                        // and where those of the lowest byte do
	weighedHeader = 48                        // bytes of all that; then the numbers
	weighedPlanes = 3                         // bytes of a number, the highest first
	weighAhead    = 4 * cacheLine             // bytes of next that are asked for with a head's numbers in a group
	weighedHead   = weighedPlanes * fixedKeys // bytes of a head's numbers in a group, plane by plane
)

// weigh writes one head of what weighedValues takes.
func weigh(a *asm, bits int) {
	// Values of 8 bits are signed, their scales positive; of 4 bits unsigned once 8 is added, and their scales have a sign.
	count, number := 0xfffff0, "unsigned" // less than fits by more than rounding adds
	if bits == 4 {
		count, number = 0x7f7f70, "signed"
	}
	a.begin(fmt.Sprintf("weighQ%dVNNI", bits), "func(w []byte, p []float32, stride int, scales []float32, next []byte, heads, groups int) (most uint32)",
		fmt.Sprintf("weighQ%dVNNI is, for %d weights p of each head,", bits, fixedKeys), "",
		fmt.Sprintf("\tfor h := range heads {\n\t\tfor g := range groups {\n\t\t\tlargest := max(|p[h*stride+j] * scales[g*%d+j]|...)\n\t\t\tunit := max(largest, 0x1p-100) / %#x\n\t\t\tw[g].unit[h] = unit\n"+
			"\t\t\tfor j := range %d {\n\t\t\t\tn := round(p[h*stride+j] * scales[g*%d+j] / unit)\n\t\t\t\tw[g].high[h][j], w[g].mid[h][j], w[g].low[h][j] = high, mid, low // n = (high*256 + mid)*256 + low, %s\n\t\t\t}\n"+
			"\t\t\tmost = max(most, bits of largest)\n\t\t}\n\t}", fixedKeys, count, fixedKeys, fixedKeys, number),
		"", "In 4 bits w[g] also has where sums start, -8 times that of the numbers. In 8 bits a negative product counts as the largest of all.",
		fmt.Sprintf("It prefetches next, at most %d bytes of it for each head and group.", weighAhead))
	w, stride, heads, perHead := a.ptr("w"), a.integer("stride"), a.integer("heads"), a.ptr("p")
	a.SHLQ(operand.U8(2), stride)
	step := a.GP64() // bytes of a group
	a.LEAQ(atIndex(heads, heads, 2, 0), step)
	a.SHLQ(operand.U8(7), step)
	a.ADDQ(operand.U8(weighedHeader), step)
	header, numbers, scales, groups := a.GP64(), a.GP64(), a.GP64(), a.GP64()
	p := make([]reg.VecVirtual, fixedKeys/16)
	for i := range p {
		p[i] = a.ZMM()
	}
	next, limit := a.ahead()
	all := a.GP32()
	a.XORL(all, all)
	numbers0 := a.copyOf(w)
	a.ADDQ(operand.U8(weighedHeader), numbers0)
	natural := a.ZMM()
	a.VMOVDQU32(a.words("natural", func(i int) uint32 { return uint32(i%4*4 + i/4) }), natural)
	planes := a.ZMM() // in each quarter, the lowest bytes of its numbers, the middle ones, the highest
	a.VMOVDQU32(a.words("planes", func(i int) uint32 { return uint32(0x0c080400 + i%4*0x01010101) }), planes)
	a.repeat(heads, 1, func() {
		for i := range p {
			a.VMOVUPS(at(perHead, 64*i), p[i])
		}
		a.MOVQ(w, header)
		a.MOVQ(numbers0, numbers)
		a.Load(a.Param("scales").Base(), scales)
		a.Load(a.Param("groups"), groups)
		a.repeat(groups, 1, func() {
			products := make([]reg.VecVirtual, len(p))
			for i := range p {
				products[i] = a.ZMM()
				a.VMULPS(at(scales, 64*i), p[i], products[i])
			}
			largest := make([]reg.VecVirtual, 2)
			for i, x := range products {
				if bits == 4 {
					size := a.ZMM()
					a.VPANDD_BCST(a.dword("size", 0x7fffffff), x, size)
					x = size
				}
				if i < len(largest) {
					largest[i] = a.ZMM()
					a.VMOVDQA32(x, largest[i])
				} else {
					a.VPMAXUD(x, largest[i%2], largest[i%2])
				}
			}
			top, t := largest[0], largest[1]
			a.VPMAXUD(t, top, top)
			a.VEXTRACTI64X4(operand.U8(1), top, t.AsY())
			a.VPMAXUD(t.AsY(), top.AsY(), top.AsY())
			a.VEXTRACTI32X4(operand.U8(1), top, t.AsX())
			a.VPMAXUD(t.AsX(), top.AsX(), top.AsX())
			for _, swap := range []uint64{0x4e, 0xb1} {
				a.VPSHUFD(operand.U8(swap), top.AsX(), t.AsX())
				a.VPMAXUD(t.AsX(), top.AsX(), top.AsX())
			}
			bitsOf := a.GP32()
			a.VMOVD(top.AsX(), bitsOf)
			a.CMPL(bitsOf, all)
			a.CMOVLHI(bitsOf, all)
			a.VMAXSS(a.dword("least", math.Float32bits(0x1p-100)), top.AsX(), top.AsX())
			unit, factor := a.XMM(), a.ZMM()
			a.VMULSS(a.dword("inverse", math.Float32bits(1/float32(count))), top.AsX(), unit)
			a.VMOVSS(unit, at(header, 0))
			a.VMOVSS(a.dword("count", math.Float32bits(float32(count))), factor.AsX())
			a.VDIVSS(top.AsX(), factor.AsX(), factor.AsX())
			a.VBROADCASTSS(factor.AsX(), factor)
			var sums []reg.VecVirtual
			if bits == 4 {
				sums = a.zeroed(weighedPlanes)
			}
			a.prefetch(next, limit, weighAhead)
			for _, x := range products {
				a.VMULPS(factor, x, x)
				a.VCVTPS2DQ(x, x)
				if bits == 4 {
					a.VPADDD_BCST(a.dword("digits", 0x00808080), x, x)
				}
				a.VPSHUFB(planes, x, x)
			}
			for i := 0; i < len(products); i += 4 {
				x := products[i : i+4]
				high, low := []reg.VecVirtual{a.ZMM(), a.ZMM()}, []reg.VecVirtual{a.ZMM(), a.ZMM()}
				for j := range low {
					a.VPUNPCKLDQ(x[2*j+1], x[2*j], low[j])
					a.VPUNPCKHDQ(x[2*j+1], x[2*j], high[j])
				}
				a.VPUNPCKLQDQ(high[1], high[0], high[0])
				a.VPUNPCKHQDQ(low[1], low[0], high[1])
				a.VPUNPCKLQDQ(low[1], low[0], low[0])
				for plane, v := range []reg.VecVirtual{high[0], high[1], low[0]} {
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
				for i, sum := range []reg.VecVirtual{sums[0], sums[2]} {
					t := sums[1]
					a.VEXTRACTI64X4(operand.U8(1), sum, t.AsY())
					a.VPADDD(t.AsY(), sum.AsY(), sum.AsY())
					a.VEXTRACTI32X4(operand.U8(1), sum, t.AsX())
					a.VPADDD(t.AsX(), sum.AsX(), sum.AsX())
					for _, swap := range []uint64{0x4e, 0xb1} {
						a.VPSHUFD(operand.U8(swap), sum.AsX(), t.AsX())
						a.VPADDD(t.AsX(), sum.AsX(), sum.AsX())
					}
					a.VPXORD(t.AsX(), t.AsX(), t.AsX())
					a.VPSUBD(sum.AsX(), t.AsX(), t.AsX())
					a.VMOVD(t.AsX(), at(header, []int{weighedStarts, weighedLow}[i]))
				}
			}
			a.ADDQ(operand.U32(4*fixedKeys), scales)
			a.ADDQ(step, header)
			a.ADDQ(step, numbers)
		})
		a.ADDQ(stride, perHead)
		a.ADDQ(operand.U8(4), w)
		a.ADDQ(operand.U32(weighedHead), numbers0)
	})
	a.Store(all, a.Return("most"))
	a.VZEROUPPER()
	a.RET()
}

// weighedValues writes the sums of n values, weighted for each of heads queries.
func weighedValues(a *asm, heads, bits int) {
	name := fmt.Sprintf("values%dQ%dVNNI", heads, bits)
	a.begin(name, "func(o []float32, w []byte, from int, v, next []byte, n, dim int)",
		name+" is", "",
		fmt.Sprintf("\tfor h := range %d {\n\t\tfor j := range n {\n\t\t\tfor i := range dim {\n\t\t\t\to[h*dim+i] += w[h, from+j, i/32] * v[j*dim+i] // v without its scale\n\t\t\t}\n\t\t}\n\t}", heads),
		"", fmt.Sprintf("for w as weighQ%dVNNI makes it, n a multiple of 4 and at least 4, and dim of 32. It prefetches next, at most %s of it.", bits, map[bool]string{true: "half as many bytes as v has", false: "as many bytes as v has"}[heads == 4]))
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
		sums := make([][weighedPlanes][2]reg.VecVirtual, heads) // of each head's planes, two vectors
		for h := range sums {
			for plane := range weighedPlanes {
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
				for plane := range weighedPlanes {
					number := a.ZMM()
					a.VPBROADCASTD(at(numbers, weighedHeader+h*weighedHead+plane*fixedKeys), number)
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
			for u := range 2 {
				high, low := sums[h][0][u], sums[h][2][u]
				a.VPSLLD(operand.U8(8), high, high)
				a.VPADDD(sums[h][1][u], high, high)
				a.VCVTDQ2PS(high, high)
				a.VCVTDQ2PS(low, low)
				a.VFMADD231PS_BCST(a.dword("byte", math.Float32bits(256)), high, low)
			}
			for part, name := range []string{"first", "second"} {
				x, sum := a.ZMM(), a.ZMM()
				a.VMOVDQU32(a.words(name, func(i int) uint32 { return whereIs(bits, 16*part+i) }), x)
				a.VPERMI2PS(sums[h][2][1], sums[h][2][0], x)
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
		a.ADDQ(operand.U32(weighedHeader+heads*weighedHead), w)
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
