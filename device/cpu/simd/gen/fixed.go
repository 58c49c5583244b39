package main

import (
	"fmt"
	"math"

	"github.com/mmcloughlin/avo/gotypes"
	"github.com/mmcloughlin/avo/ir"
	"github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// fixed are the scores of queries as whole numbers of 24 bits, three signed bytes, with keys of 8 and 4 bits, sixteen of which
// lie in the lanes of a vector: VNNI multiplies four bytes in each lane and adds the products up, so that no sums across lanes are
// left, and nothing is converted but the sums of a group.
var fixed = func() []routine {
	rs := []routine{{"fix_avx512", fixQueries}}
	for _, bits := range []int{8, 4} {
		for _, heads := range []int{1, 2, 4} {
			rs = append(rs, routine{fmt.Sprintf("scores%d_q%d_vnni_avx512", heads, bits), func(a *asm) { a.wide = true; fixedScores(a, heads, bits) }})
		}
	}
	return rs
}()

const (
	fixedHeader = 16                  // bytes: what to multiply sums with, for each head
	fixedPlanes = 3                   // bytes of a number, the highest first
	fixedGroup  = group * fixedPlanes // bytes of a head's numbers in a group, plane by plane
	fixedStart  = 4 * fixedPlanes     // and of where its sums start
)

// dotBytes is VPDPBUSD: in each dword, four unsigned bytes of u times four signed ones of the dword at m are added to sum.
func (a *asm) dotBytes(m operand.Mem, u, sum reg.Register) {
	a.Instruction(&ir.Instruction{Opcode: "VPDPBUSD", Suffixes: []string{"BCST"}, Operands: []operand.Op{m, u, sum},
		Inputs: []operand.Op{m, u, sum}, Outputs: []operand.Op{sum}, ISA: []string{"AVX512_VNNI"}})
}

// fixQueries writes one head of what fixedScores takes.
func fixQueries(a *asm) {
	a.wide = true
	a.begin("fixAVX512", "func(planes, starts []byte, q []float32, factor float32, step int, order *[16]byte, zero uint32)",
		"fixAVX512 is", "", fmt.Sprintf("\tfor g := range len(q) / 32 {\n\t\tsums := [3]int32{}\n\t\tfor i, v := range q[32*g : 32*(g+1)] {\n\t\t\tn := int32(math.RoundToEven(float64(v * factor)))\n"+
			"\t\t\thigh, mid, low := digits(n) // n = (high*256 + mid)*256 + low, signed bytes\n\t\t\tat := step*g + i&^15 + order⁻¹[i%%16]\n"+
			"\t\t\tplanes[at], planes[at+%d], planes[at+%d] = high, mid, low\n\t\t\tsums -= zero's byte * (high, mid, low)\n\t\t}\n\t\tstarts[step*g:] = sums // little-endian\n\t}", group, 2*group))
	planes, starts, q, n := a.ptr("planes"), a.ptr("starts"), a.ptr("q"), a.length("q")
	factor, step, order, zero := a.broadcast("factor"), a.integer("step"), a.XMM(), a.YMM()
	a.VMOVDQU(at(a.integer("order"), 0), order)
	z := a.GP32()
	a.Load(a.Param("zero"), z)
	a.VPBROADCASTD(z, zero)
	half := a.dword("half", 128)
	a.repeat(n, group, func() {
		for part := range 2 {
			v, bytes := a.ZMM(), a.XMM()
			a.VMULPS(at(q, 64*part), factor, v)
			a.VCVTPS2DQ(v, v)
			for p := fixedPlanes - 1; p >= 0; p-- {
				a.VPMOVDB(v, bytes)
				a.VPSHUFB(order, bytes, bytes)
				a.VMOVDQU(bytes, at(planes, p*group+16*part))
				if p > 0 {
					a.VPADDD_BCST(half, v, v)
					a.VPSRAD(operand.U8(8), v, v)
				}
			}
		}
		for p := range fixedPlanes {
			numbers, sums, t := a.YMM(), a.zeroed(1)[0], a.XMM()
			a.VMOVDQU(at(planes, p*group), numbers)
			a.Instruction(&ir.Instruction{Opcode: "VPDPBUSD", Operands: []operand.Op{numbers, zero, sums.AsY()},
				Inputs: []operand.Op{numbers, zero, sums.AsY()}, Outputs: []operand.Op{sums.AsY()}, ISA: []string{"AVX512_VNNI", "AVX512VL"}})
			a.VEXTRACTI128(operand.U8(1), sums.AsY(), t)
			a.VPADDD(t, sums.AsX(), sums.AsX())
			for _, swap := range []uint64{0x4e, 0xb1} {
				a.VPSHUFD(operand.U8(swap), sums.AsX(), t)
				a.VPADDD(t, sums.AsX(), sums.AsX())
			}
			a.VPXOR(t, t, t)
			a.VPSUBD(sums.AsX(), t, t)
			a.VMOVD(t, at(starts, 4*p))
		}
		a.ADDQ(operand.U32(4*group), q)
		a.ADDQ(step, planes)
		a.ADDQ(step, starts)
	})
	a.VZEROUPPER()
	a.RET()
}

// dword is the bits of a constant in memory, to broadcast.
func (a *asm) dword(name string, v uint32) operand.Mem {
	return a.constant(name, func() { a.AddDatum(0, operand.U32(v)) })
}

// fixedScores writes the products of heads queries with n keys.
func fixedScores(a *asm, heads, bits int) {
	name := fmt.Sprintf("scores%dQ%dVNNI", heads, bits)
	a.begin(name, "func(s []float32, stride int, q, k []byte, scales []float32, next []byte, n, dim int)",
		name+" is", "",
		fmt.Sprintf("\tfor h := range %d {\n\t\tfor j := range n {\n\t\t\tfor i := range dim {\n\t\t\t\ts[h*stride+j] += q[h*dim+i] * k[j*dim+i] // from 0, k as element times scale\n\t\t\t}\n\t\t}\n\t}", heads),
		"", "for q as fixAVX512 makes it, n a multiple of 16 and dim of 32. It prefetches next, as many bytes of it as k has at most.")
	// There are too few registers for what is needed once for sixteen keys: it stays where the parameters are.
	limit, n := a.slot(a.Param("next").Len()), a.slot(a.Param("n"))
	s, k, scales0, perKeys := a.slot(a.Param("s").Base()), a.slot(a.Param("k").Base()), a.slot(a.Param("scales").Base()), a.slot(a.Param("scales").Len())
	row, row4, row12, t := a.integer("dim"), a.GP64(), a.GP64(), a.GP64()
	a.MOVQ(row, t)
	a.SHRQ(operand.U8(3), t) // bytes of a row of scales: four for 32 elements
	index := a.ZMM()
	a.VPBROADCASTD(t.As32(), index)
	a.VPMULLD(a.words("lanes", func(i int) uint32 { return uint32(i) }), index, index)
	a.SHLQ(operand.U8(4), t)
	a.MOVQ(t, perKeys)
	if bits == 4 {
		a.SHRQ(operand.U8(1), row)
	}
	a.MOVQ(row, row4)
	a.SHLQ(operand.U8(2), row4)
	a.LEAQ(atIndex(row4, row4, 2, 0), row12)
	next, end := a.ahead()
	a.MOVQ(end, limit)
	bytes := group * bits / 8
	top, done := a.label("keys"), a.label("done")
	a.CMPQ(n, operand.U8(16))
	a.JLT(operand.LabelRef(done))
	a.Label(top)
	{
		rows := make([]reg.GPVirtual, 4)
		for r := range rows {
			rows[r] = a.GP64()
			if r == 0 {
				a.MOVQ(k, rows[r])
			} else {
				a.LEAQ(atIndex(rows[r-1], row, 1, 0), rows[r])
			}
		}
		scales, q := a.GP64(), a.ptr("q")
		a.MOVQ(scales0, scales)
		total := a.zeroed(heads)
		left := a.copyOf(row)
		a.ADDQ(operand.U32(fixedHeader), q)
		a.repeat(left, bytes, func() {
			scale, all := a.ZMM(), a.K()
			a.KXNORW(all, all, all)
			a.VGATHERDPS(operand.Mem{Base: scales, Index: index, Scale: 1}, all, scale)
			sums := make([][fixedPlanes]reg.VecVirtual, heads)
			for h := range sums {
				for p := range fixedPlanes {
					sums[h][p] = a.ZMM()
					a.VPBROADCASTD(at(q, heads*fixedGroup+h*fixedStart+4*p), sums[h][p])
				}
			}
			column := 0
			for part := range bytes / 16 {
				for _, c := range a.columns(rows, row4, row12, 16*part) {
					for _, u := range a.unsigned(c, bits) {
						for p := range fixedPlanes {
							for h := range heads {
								a.dotBytes(at(q, h*fixedGroup+p*group+4*column), u, sums[h][p])
							}
						}
						column++
					}
					if column%(8/bits) == 0 {
						a.PREFETCHT1(at(next, 0))
						a.ADDQ(operand.U8(cacheLine), next)
						a.CMPQ(next, limit)
						a.CMOVQHI(limit, next)
					}
				}
			}
			for h := range heads {
				high, low := sums[h][0], sums[h][2]
				a.VPSLLD(operand.U8(8), high, high)
				a.VPADDD(sums[h][1], high, high)
				a.VCVTDQ2PS(high, high)
				a.VCVTDQ2PS(low, low)
				a.VFMADD231PS_BCST(a.dword("byte", math.Float32bits(256)), high, low)
				a.VFMADD231PS(scale, low, total[h])
			}
			for _, r := range rows {
				a.ADDQ(operand.U32(bytes), r)
			}
			a.ADDQ(operand.U8(4), scales)
			a.ADDQ(operand.U32(heads*(fixedGroup+fixedStart)), q)
		})
		out, stride, factors := a.GP64(), a.integer("stride"), a.ptr("q")
		a.MOVQ(s, out)
		for h := range heads {
			a.VMULPS_BCST(at(factors, 4*h), total[h], total[h])
			a.VMOVUPS(total[h], at(out, 0))
			if h+1 < heads {
				a.LEAQ(atIndex(out, stride, 4, 0), out)
			}
		}
		a.ADDQ(operand.U8(64), s)
		step := a.GP64()
		a.MOVQ(k, step)
		a.LEAQ(atIndex(step, row4, 4, 0), step)
		a.MOVQ(step, k)
		a.MOVQ(perKeys, step)
		a.ADDQ(step, scales0)
	}
	a.SUBQ(operand.U8(16), n)
	a.CMPQ(n, operand.U8(16))
	a.JGE(operand.LabelRef(top))
	a.Label(done)
	a.VZEROUPPER()
	a.RET()
}

// slot is where a parameter lies in memory.
func (a *asm) slot(c gotypes.Component) operand.Mem {
	p, err := c.Resolve()
	if err != nil {
		panic(err) // a mistake in this program: the signature has no such parameter
	}
	return p.Addr
}

// columns is four dwords, from disp on, of each of sixteen rows, a vector for each: rows holds where the first four begin, row4 and
// row12 are four and twelve times what they are apart.
func (a *asm) columns(rows []reg.GPVirtual, row4, row12 reg.GPVirtual, disp int) []reg.VecVirtual {
	v := make([]reg.VecVirtual, 4)
	for r := range v { // rows r, r+4, r+8 and r+12
		v[r] = a.ZMM()
		a.VMOVDQU32(at(rows[r], disp), v[r].AsX())
		a.VINSERTI32X4(operand.U8(1), atIndex(rows[r], row4, 1, disp), v[r], v[r])
		a.VINSERTI32X4(operand.U8(2), atIndex(rows[r], row4, 2, disp), v[r], v[r])
		a.VINSERTI32X4(operand.U8(3), atIndex(rows[r], row12, 1, disp), v[r], v[r])
	}
	t0, t1 := a.ZMM(), a.ZMM()
	a.VPUNPCKLDQ(v[1], v[0], t0)
	a.VPUNPCKHDQ(v[1], v[0], t1)
	a.VPUNPCKLDQ(v[3], v[2], v[0])
	a.VPUNPCKHDQ(v[3], v[2], v[2])
	a.VPUNPCKHQDQ(v[0], t0, v[1])
	a.VPUNPCKLQDQ(v[0], t0, v[0])
	a.VPUNPCKHQDQ(v[2], t1, v[3])
	a.VPUNPCKLQDQ(v[2], t1, v[2])
	return v
}

// unsigned is the elements of a column as unsigned bytes, four in each lane.
func (a *asm) unsigned(c reg.VecVirtual, bits int) []reg.VecVirtual {
	if bits == 8 {
		a.VPXORD_BCST(a.dword("signs", 0x80808080), c, c)
		return []reg.VecVirtual{c}
	}
	upper := a.ZMM()
	a.VPSRLD(operand.U8(4), c, upper)
	a.VPANDD_BCST(a.dword("nibbles", 0x0f0f0f0f), c, c)
	a.VPANDD_BCST(a.dword("nibbles", 0x0f0f0f0f), upper, upper)
	return []reg.VecVirtual{c, upper}
}
