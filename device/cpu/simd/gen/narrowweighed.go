package main

import (
	"fmt"
	"math"

	"github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// narrowWeighed are the sums of values whose weights are whole numbers of 16 bits for AVX-VNNI, and in 4 bits for AVX2. As in weighed the bytes of four values of one
// element are beside each other, and a weight is times the scale of a group. There are half as many registers, of half the size: a group of all values is turned into
// the first cache, and one head after the other takes it from there.
var narrowWeighed = func() []routine {
	rs := []routine{{"largest", narrowLargest}, {"normalize", narrowNormalize}}
	for _, bits := range []int{8, 4} {
		rs = append(rs,
			routine{fmt.Sprintf("weigh_q%d", bits), func(a *asm) { narrowWeigh(a, bits) }},
			routine{fmt.Sprintf("turn_q%d", bits), func(a *asm) { narrowTurn(a, bits) }},
			routine{fmt.Sprintf("weighed_q%d_avxvnni", bits), func(a *asm) { narrowWeighedValues(a, bits, true) }})
	}
	return append(rs, routine{"weighed_q4", func(a *asm) { narrowWeighedValues(a, 4, false) }})
}()

const (
	narrowPlanes = 2                        // bytes of a number, the upper ones first
	narrowStarts = 16                       // bytes of what to multiply a group's sums with, for each head; then where they start
	narrowHeader = 32                       // bytes of both; then the numbers, those of a head after those of another
	narrowHead   = narrowPlanes * fixedKeys // bytes of those of a head
)

// narrowLargestOf leaves in the lowest element of the first of four vectors, which it overwrites, what is largest in all of them as whole numbers without a sign.
func (a *asm) narrowLargestOf(v []reg.VecVirtual) reg.Register {
	a.VPMAXUD(v[1], v[0], v[0])
	a.VPMAXUD(v[3], v[2], v[2])
	a.VPMAXUD(v[2], v[0], v[0])
	top, t := v[0].AsX(), a.XMM()
	a.VEXTRACTI128(operand.U8(1), v[0], t)
	a.VPMAXUD(t, top, top)
	for _, swap := range []uint64{0x4e, 0xb1} {
		a.VPSHUFD(operand.U8(swap), top, t)
		a.VPMAXUD(t, top, top)
	}
	return top
}

// narrowLargest writes what weights are measured by.
func narrowLargest(a *asm) {
	a.begin("largestAVX2", "func(most, x []float32, stride int)", "largestAVX2 is largestAVX512 for AVX2.")
	most, rows, x, stride := a.ptr("most"), a.length("most"), a.ptr("x"), a.integer("stride")
	a.SHLQ(operand.U8(2), stride)
	a.repeat(rows, 1, func() {
		v := a.zeroed(4)
		for i := range fixedKeys / lanes {
			a.VPMAXUD(at(x, 32*i), v[i%4], v[i%4])
		}
		a.VMOVSS(a.narrowLargestOf(v), at(most, 0))
		a.ADDQ(stride, x)
		a.ADDQ(operand.U8(4), most)
	})
	a.VZEROUPPER()
	a.RET()
}

// narrowNormalize writes the division of scales by the largest of their group.
func narrowNormalize(a *asm) {
	a.begin("normalizeAVX2", "func(most, x []float32, bits uint32)", "normalizeAVX2 is normalizeAVX512 for AVX2.")
	most, rows, x := a.ptr("most"), a.length("most"), a.ptr("x")
	bits := a.broadcast("bits")
	a.repeat(rows, 1, func() {
		v := a.zeroed(4)
		for i := range fixedKeys / lanes {
			t := a.YMM()
			a.VPAND(at(x, 32*i), bits, t)
			a.VPMAXUD(t, v[i%4], v[i%4])
		}
		top, factor := a.narrowLargestOf(v), a.YMM()
		a.VMOVSS(top, at(most, 0))
		a.VMAXSS(a.least(), top, top)
		a.VMOVSS(a.dword("one", math.Float32bits(1)), factor.AsX())
		a.VDIVSS(top, factor.AsX(), factor.AsX())
		a.VBROADCASTSS(factor.AsX(), factor)
		for i := range fixedKeys / lanes {
			scaled := a.YMM()
			a.VMULPS(at(x, 32*i), factor, scaled)
			a.VMOVUPS(scaled, at(x, 32*i))
		}
		a.ADDQ(operand.U32(4*fixedKeys), x)
		a.ADDQ(operand.U8(4), most)
	})
	a.VZEROUPPER()
	a.RET()
}

// narrowWeigh writes the numbers that narrowWeighedValues takes.
func narrowWeigh(a *asm, bits int) {
	name, count := fmt.Sprintf("weighQ%dAVX2", bits), weighCount(bits, 2)
	number := "unsigned"
	if bits == 4 {
		number = "signed"
	}
	a.begin(name, "func(w []byte, p []float32, stride int, scales, most, mostScales []float32)",
		fmt.Sprintf("%s is, for %d weights p of each head and scales that normalizeAVX2 has divided by mostScales,", name, fixedKeys), "",
		fmt.Sprintf("\tfor h, m := range most {\n\t\tm = max(m, 0x1p-100)\n\t\tfor g := range mostScales {\n\t\t\tw[g].unit[h] = m * mostScales[g] / %#x\n"+
			"\t\t\tfor j := range %d {\n\t\t\t\tn := round(p[h*stride+j] * (%#x / m) * scales[g*%d+j])\n\t\t\t\tw[g].high[h][j], w[g].low[h][j] = high, low // n = high*256 + low, %s\n\t\t\t}\n\t\t}\n\t}", int(count), fixedKeys, int(count), fixedKeys, number),
		"", "In 4 bits w[g] also has where sums start, -8 times that of the numbers.")
	w, stride, perHead := a.ptr("w"), a.integer("stride"), a.ptr("p")
	a.SHLQ(operand.U8(2), stride)
	heads, most, mostScales0 := a.length("most"), a.ptr("most"), a.slot(a.Param("mostScales").Base())
	groups0, scales0 := a.slot(a.Param("mostScales").Len()), a.slot(a.Param("scales").Base())
	step := a.copyOf(heads) // bytes of a group
	a.IMUL3Q(operand.U32(narrowHead), step, step)
	a.ADDQ(operand.U8(narrowHeader), step)
	numbers0 := a.copyOf(w)
	a.ADDQ(operand.U8(narrowHeader), numbers0)
	bytes, natural := a.YMM(), a.YMM()
	a.VMOVDQU(a.bytesOf("bytes", func(i int) uint32 { return uint32(i%8*2 + i/8) }), bytes) // the lower ones of eight words, the upper ones
	a.VMOVDQU(a.words("natural", func(i int) uint32 { return uint32(i/2 + i%2*4) }), natural)
	half := a.YMM() // of what an upper byte counts, so that a lower one has a sign once it is taken off
	if bits == 4 {
		a.VMOVUPS(a.splat("half", 128), half)
	}
	a.repeat(heads, 1, func() {
		unit, factor := a.XMM(), a.YMM()
		a.VMOVSS(at(most, 0), unit)
		a.VMAXSS(a.least(), unit, unit)
		a.VMOVSS(a.dword("count", math.Float32bits(count)), factor.AsX())
		a.VDIVSS(unit, factor.AsX(), factor.AsX())
		a.VMULSS(a.dword("inverse", math.Float32bits(1/count)), unit, unit)
		a.VBROADCASTSS(factor.AsX(), factor)
		header, numbers, scales, mostScales, groups := a.copyOf(w), a.copyOf(numbers0), a.GP64(), a.GP64(), a.GP64()
		a.MOVQ(scales0, scales)
		a.MOVQ(mostScales0, mostScales)
		a.MOVQ(groups0, groups)
		a.repeat(groups, 1, func() {
			of := a.XMM()
			a.VMULSS(at(mostScales, 0), unit, of)
			a.VMOVSS(of, at(header, 0))
			sum := a.zeroed(1)[0]
			weights, to, left := a.copyOf(perHead), a.copyOf(numbers), a.GP64()
			a.MOVQ(operand.U32(fixedKeys), left)
			a.repeat(left, group, func() {
				x := make([]reg.VecVirtual, group/lanes)
				for i := range x {
					x[i] = a.YMM()
					a.VMULPS(at(weights, 32*i), factor, x[i])
					if bits == 8 {
						a.VMULPS(at(scales, 32*i), x[i], x[i])
						a.VCVTPS2DQ(x[i], x[i])
						continue
					}
					a.VFMADD132PS(at(scales, 32*i), half, x[i])
					a.VCVTPS2DQ(x[i], x[i])
					a.VPADDD(x[i], sum, sum)
				}
				for i := 0; i < len(x); i += 2 {
					if bits == 8 {
						a.VPACKUSDW(x[i+1], x[i], x[i])
					} else {
						a.VPACKSSDW(x[i+1], x[i], x[i])
					}
					a.VPSHUFB(bytes, x[i], x[i])
				}
				low := a.YMM()
				a.VPUNPCKLQDQ(x[2], x[0], low)
				a.VPUNPCKHQDQ(x[2], x[0], x[0])
				for plane, v := range []reg.VecVirtual{x[0], low} {
					a.VPERMD(v, natural, v)
					if bits == 4 && plane == 1 {
						a.VPXOR(a.words("signs", func(int) uint32 { return 0x80808080 }), v, v)
					}
					a.VMOVDQU(v, at(to, plane*fixedKeys))
				}
				a.ADDQ(operand.U32(4*group), weights)
				a.ADDQ(operand.U32(4*group), scales)
				a.ADDQ(operand.U32(group), to)
			})
			if bits == 4 {
				total := a.narrowTotal(sum)
				a.SUBL(operand.U32(128*fixedKeys), total)
				a.SHLL(operand.U8(3), total)
				a.NEGL(total)
				a.MOVL(total, at(header, narrowStarts))
			}
			a.ADDQ(operand.U8(4), mostScales)
			a.ADDQ(step, header)
			a.ADDQ(step, numbers)
		})
		a.ADDQ(stride, perHead)
		a.ADDQ(operand.U8(4), most)
		a.ADDQ(operand.U8(4), w)
		a.ADDQ(operand.U32(narrowHead), numbers0)
	})
	a.VZEROUPPER()
	a.RET()
}

// turnedBytes is what four values of a group take once they are turned.
const turnedBytes = 4 * group

// narrowTurn writes a group of values as narrowWeighedValues takes them.
func narrowTurn(a *asm, bits int) {
	name := fmt.Sprintf("turnQ%dAVX2", bits)
	doc := "signed"
	if bits == 4 {
		doc = "unsigned, with 8 added"
	}
	a.begin(name, "func(dst, v []byte, row, n int)",
		name+" is, for the first 32 elements of rows so many bytes apart,", "",
		"\tfor j := range n {\n\t\tfor i := range 32 {\n\t\t\tdst[j/4*128+i'*4+j%4] = v[j*row+i]\n\t\t}\n\t}", "",
		"for n a multiple of 4. Bytes are "+doc+"; i' is a permutation of i, which the routines for values undo.")
	dst, v, row, n := a.ptr("dst"), a.ptr("v"), a.integer("row"), a.integer("n")
	row3 := a.GP64()
	a.LEAQ(atIndex(row, row, 2, 0), row3)
	a.repeat(n, 4, func() {
		rows := make([]reg.VecVirtual, 4)
		for r, m := range []operand.Mem{at(v, 0), atIndex(v, row, 1, 0), atIndex(v, row, 2, 0), atIndex(v, row3, 1, 0)} {
			rows[r] = a.YMM()
			if bits == 8 {
				a.VMOVDQU(m, rows[r])
			} else { // a quarter of the bytes in each half
				x := a.YMM()
				a.VBROADCASTI128(m, x)
				a.VPERMQ(operand.U8(0xd8), x, rows[r])
			}
		}
		// The bytes of two rows in turn, then of four.
		pairs := func(unpack func(ops ...operand.Op)) []reg.VecVirtual {
			low, high := a.YMM(), a.YMM()
			unpack(rows[1], rows[0], low)
			unpack(rows[3], rows[2], high)
			first := a.YMM()
			a.VPUNPCKLWD(high, low, first)
			a.VPUNPCKHWD(high, low, high)
			return []reg.VecVirtual{first, high}
		}
		x := pairs(a.VPUNPCKLBW)
		if bits == 8 {
			x = append(x, pairs(a.VPUNPCKHBW)...)
		} else {
			nibbles := a.words("nibbles", func(int) uint32 { return 0x0f0f0f0f })
			for _, v := range x {
				upper := a.YMM()
				a.VPSRLW(operand.U8(4), v, upper)
				a.VPAND(nibbles, upper, upper)
				a.VPAND(nibbles, v, v)
				x = append(x, upper)
			}
			x[1], x[2] = x[2], x[1]
		}
		for u, v := range x {
			a.VMOVDQU(v, at(dst, 32*u))
		}
		a.LEAQ(atIndex(v, row, 4, 0), v)
		a.ADDQ(operand.U32(turnedBytes), dst)
	})
	a.VZEROUPPER()
	a.RET()
}

// narrowWeighedValues writes the sums of a group of n values, weighted for each of some heads.
func narrowWeighedValues(a *asm, bits int, vnni bool) {
	set := "AVX2"
	if vnni {
		set = "AVXVNNI"
	}
	name := fmt.Sprintf("weighedQ%d%s", bits, set)
	a.begin(name, "func(o []float32, dim int, w, v, next []byte, step, heads, n int)",
		name+" is", "",
		"\tfor h := range heads {\n\t\tfor j := range n {\n\t\t\tfor i := range 32 {\n\t\t\t\to[h*dim+i] += w[h, j] * v[j, i] // v without its scale\n\t\t\t}\n\t\t}\n\t}", "",
		fmt.Sprintf("for one group of w as weighQ%dAVX2 makes it, of v as turnQ%dAVX2 does, and n a multiple of 4. It asks for next, so many bytes on with each head and four values.", bits, bits))
	const vectors = group / lanes
	o, w, turned0, n := a.ptr("o"), a.ptr("w"), a.slot(a.Param("v").Base()), a.slot(a.Param("n"))
	perHead, step, heads := a.integer("dim"), a.integer("step"), a.integer("heads")
	a.SHLQ(operand.U8(2), perHead)
	next, limit := a.ahead()
	numbers := a.copyOf(w)
	a.ADDQ(operand.U8(narrowHeader), numbers)
	a.repeat(heads, 1, func() {
		turned, left, number := a.GP64(), a.GP64(), a.copyOf(numbers)
		a.MOVQ(turned0, turned)
		a.MOVQ(n, left)
		// four adds the products of four values with the numbers of each plane.
		four := func(add func(plane, u int, number, x reg.VecVirtual)) {
			for first := 0; first < vectors; first += 2 {
				var x [2]reg.VecVirtual
				for u := range x {
					x[u] = a.YMM()
					a.VMOVDQU(at(turned, 32*(first+u)), x[u])
				}
				for plane := range narrowPlanes {
					of := a.YMM()
					a.VPBROADCASTD(at(number, plane*fixedKeys), of)
					for u := range x {
						add(plane, first+u, of, x[u])
					}
				}
			}
			a.PREFETCHT1(at(next, 0))
			a.advanceBy(next, limit, step)
			a.ADDQ(operand.U8(4), number)
			a.ADDQ(operand.U32(turnedBytes), turned)
		}
		sums := a.zeroed(vectors)
		if bits == 4 {
			for _, sum := range sums {
				a.VPBROADCASTD(at(w, narrowStarts), sum)
			}
		}
		if vnni {
			planes := [][]reg.VecVirtual{a.zeroed(vectors), sums}
			a.repeat(left, 4, func() {
				four(func(plane, u int, number, x reg.VecVirtual) {
					if bits == 8 {
						number, x = x, number
					}
					a.narrowDot(number, x, planes[plane][u])
				})
			})
			for u, high := range planes[0] {
				a.VPSLLD(operand.U8(8), high, high)
				a.VPADDD(high, sums[u], sums[u])
			}
		} else {
			a.repeat(left, 1, func() { // a word holds the sums of 32 values
				few, most := a.copyOf(left), a.GP64()
				a.MOVQ(operand.U32(group), most)
				a.CMPQ(few, most)
				a.CMOVQGT(most, few)
				a.SUBQ(few, left)
				a.ADDQ(operand.U8(1), left) // which repeat takes off
				words := [][]reg.VecVirtual{a.zeroed(vectors), a.zeroed(vectors)}
				a.repeat(few, 4, func() {
					four(func(plane, u int, number, x reg.VecVirtual) {
						t := a.YMM()
						a.VPMADDUBSW(number, x, t)
						a.VPADDW(t, words[plane][u], words[plane][u])
					})
				})
				for plane, times := range []operand.Mem{a.wordsOf("word256", 256), a.wordsOf("wordOnes", 1)} {
					for u, v := range words[plane] {
						a.VPMADDWD(times, v, v)
						a.VPADDD(v, sums[u], sums[u])
					}
				}
			})
		}
		for _, v := range sums {
			a.VCVTDQ2PS(v, v)
		}
		if bits == 4 { // two vectors have the elements of a run in turn
			for u := 0; u < vectors; u += 2 {
				t := a.YMM()
				a.VSHUFPS(operand.U8(0xdd), sums[u+1], sums[u], t)
				a.VSHUFPS(operand.U8(0x88), sums[u+1], sums[u], sums[u])
				sums[u+1] = t
			}
		}
		unit := a.YMM()
		a.VBROADCASTSS(at(w, 0), unit)
		for u := 0; u < vectors; u += 2 {
			for part, halves := range []uint64{0x20, 0x31} {
				x, sum := a.YMM(), a.YMM()
				a.VPERM2F128(operand.U8(halves), sums[u+1], sums[u], x)
				to := at(o, 4*(group/2*part+lanes*u/2))
				a.VMOVUPS(to, sum)
				a.VFMADD231PS(unit, x, sum)
				a.VMOVUPS(sum, to)
			}
		}
		a.ADDQ(operand.U32(narrowHead), numbers)
		a.ADDQ(operand.U8(4), w)
		a.ADDQ(perHead, o)
	})
	a.VZEROUPPER()
	a.RET()
}
