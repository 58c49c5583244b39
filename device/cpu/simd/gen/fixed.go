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
	rs := []routine{{"fix_avx512", fixQueries}, {"deal_avx512", deal}, {"regroup_avx512", regroup}}
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
	fixedStart  = 8                   // and of where its sums start: those of the upper two planes, that of the lowest
	fixedKeys   = 256                 // keys for which there are scales
)

// dot is VPDPBUSD: in each dword, four unsigned bytes of u times four signed ones of m are added to sum. m may be a dword for all.
func (a *asm) dot(m operand.Op, u, sum reg.Register) {
	i := &ir.Instruction{Opcode: "VPDPBUSD", Operands: []operand.Op{m, u, sum},
		Inputs: []operand.Op{m, u, sum}, Outputs: []operand.Op{sum}, ISA: []string{"AVX512_VNNI"}}
	if _, dword := m.(operand.Mem); dword {
		i.Suffixes = []string{"BCST"}
	}
	a.Instruction(i)
}

// fixQueries writes one head of what fixedScores takes.
func fixQueries(a *asm) {
	a.wide = true
	a.begin("fixAVX512", "func(planes, starts []byte, q []float32, factor float32, step int, order *[16]byte, zero uint32)",
		"fixAVX512 is", "", fmt.Sprintf("\tfor g := range len(q) / 32 {\n\t\tstart := [2]int32{}\n\t\tfor i, v := range q[32*g : 32*(g+1)] {\n\t\t\tn := int32(math.RoundToEven(float64(v * factor)))\n"+
			"\t\t\thigh, mid, low := digits(n) // n = (high*256 + mid)*256 + low, signed bytes\n\t\t\tat := step*g + i&^15 + order⁻¹[i%%16]\n"+
			"\t\t\tplanes[at], planes[at+%d], planes[at+%d] = high, mid, low\n\t\t\tstart -= zero's byte * (high*256 + mid, low)\n\t\t}\n\t\tstarts[step*g:] = start // little-endian\n\t}", group, 2*group))
	planes, starts, q, n := a.ptr("planes"), a.ptr("starts"), a.ptr("q"), a.length("q")
	factor, step, order, zero := a.broadcast("factor"), a.integer("step"), a.XMM(), a.ZMM()
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
		sums := make([]reg.VecVirtual, fixedPlanes)
		for p := range sums {
			numbers := a.ZMM()
			a.VMOVDQU(at(planes, p*group), numbers.AsY()) // which clears the upper half
			sums[p] = a.zeroed(1)[0]
			a.dot(numbers, zero, sums[p])
		}
		a.VPSLLD(operand.U8(8), sums[0], sums[0])
		a.VPADDD(sums[1], sums[0], sums[0])
		for i, sum := range []reg.VecVirtual{sums[0], sums[2]} {
			t := a.XMM()
			a.VEXTRACTI128(operand.U8(1), sum.AsY(), t)
			a.VPADDD(t, sum.AsX(), sum.AsX())
			for _, swap := range []uint64{0x4e, 0xb1} {
				a.VPSHUFD(operand.U8(swap), sum.AsX(), t)
				a.VPADDD(t, sum.AsX(), sum.AsX())
			}
			a.VPXOR(t, t, t)
			a.VPSUBD(sum.AsX(), t, t)
			a.VMOVD(t, at(starts, 4*i))
		}
		a.ADDQ(operand.U32(4*group), q)
		a.ADDQ(step, planes)
		a.ADDQ(step, starts)
	})
	a.VZEROUPPER()
	a.RET()
}

// deal writes scales group by group.
func deal(a *asm) {
	a.wide = true
	a.begin("dealAVX512", "func(dst []float32, src []byte, groups, n int)",
		"dealAVX512 is", "", fmt.Sprintf("\tfor g := range groups {\n\t\tfor j := range n {\n\t\t\tdst[g*%d+j] = src[j*groups+g] // as f16\n\t\t}\n\t}", fixedKeys),
		"", "for 1, 2 or 4 groups and n a multiple of 16.")
	dst, src, groups, n := a.ptr("dst"), a.ptr("src"), a.integer("groups"), a.integer("n")
	words := func(name string, word func(i int) int) operand.Mem {
		return a.words(name, func(i int) uint32 { return uint32(word(2*i) | word(2*i+1)<<16) })
	}
	quarters := func(name string, first int) operand.Mem { // of two vectors, the two from first on in turn
		return a.words(name, func(i int) uint32 {
			qword := []int{0, 1, 8, 9, 2, 3, 10, 11}[i/2] + 2*first
			return uint32(qword * (1 - i%2)) // the upper half of an index is not used
		})
	}
	index, done := a.ZMM(), a.label("done")
	// stored writes sixteen halves of each of two groups.
	stored := func(x reg.VecVirtual, g int) {
		upper, y := a.YMM(), a.ZMM()
		a.VEXTRACTI64X4(operand.U8(1), x, upper)
		a.VCVTPH2PS(x.AsY(), y)
		a.VMOVUPS(y, at(dst, 4*fixedKeys*g))
		a.VCVTPH2PS(upper, y)
		a.VMOVUPS(y, at(dst, 4*fixedKeys*(g+1)))
	}
	next := func(bytes int) {
		a.ADDQ(operand.U32(bytes), src)
		a.ADDQ(operand.U8(64), dst)
	}
	two, four := a.label("two"), a.label("four")
	a.CMPQ(groups, operand.U8(2))
	a.JEQ(operand.LabelRef(two))
	a.JHI(operand.LabelRef(four))
	a.repeat(n, 16, func() {
		y := a.ZMM()
		a.VCVTPH2PS(at(src, 0), y)
		a.VMOVUPS(y, at(dst, 0))
		next(32)
	})
	a.JMP(operand.LabelRef(done))
	a.Label(two)
	a.VMOVDQU32(words("byTwo", func(i int) int { return i%16*2 + i/16 }), index)
	a.repeat(n, 16, func() {
		x := a.ZMM()
		a.VPERMW(at(src, 0), index, x)
		stored(x, 0)
		next(64)
	})
	a.JMP(operand.LabelRef(done))
	a.Label(four)
	a.VMOVDQU32(words("byFour", func(i int) int { return i%8*4 + i/8 }), index)
	a.repeat(n, 16, func() {
		x, y := a.ZMM(), a.ZMM()
		a.VPERMW(at(src, 0), index, x)
		a.VPERMW(at(src, 64), index, y)
		for g := 0; g < 4; g += 2 {
			both := a.ZMM()
			a.VMOVDQU32(quarters(fmt.Sprintf("quarters%d", g), g), both)
			a.VPERMI2Q(y, x, both)
			stored(both, g)
		}
		next(128)
	})
	a.Label(done)
	a.VZEROUPPER()
	a.RET()
}

// regroup writes singles group by group.
func regroup(a *asm) {
	a.wide = true
	a.begin("regroupAVX512", "func(dst, src []float32, groups, n int)",
		"regroupAVX512 is", "", fmt.Sprintf("\tfor g := range groups {\n\t\tfor j := range n {\n\t\t\tdst[g*%d+j] = src[j*groups+g]\n\t\t}\n\t}", fixedKeys),
		"", "for n a multiple of 16.")
	dst, src, groups, n := a.ptr("dst"), a.ptr("src"), a.integer("groups"), a.integer("n")
	index, step := a.ZMM(), a.copyOf(groups)
	a.VPBROADCASTD(step.As32(), index)
	a.VPMULLD(a.words("lanes", func(i int) uint32 { return uint32(i) }), index, index)
	a.SHLQ(operand.U8(6), step) // bytes of sixteen keys' scales
	a.repeat(n, 16, func() {
		from, to, left := a.copyOf(src), a.copyOf(dst), a.copyOf(groups)
		a.repeat(left, 1, func() {
			v, all := a.ZMM(), a.K()
			a.KXNORW(all, all, all)
			a.VGATHERDPS(operand.Mem{Base: from, Index: index, Scale: 4}, all, v)
			a.VMOVUPS(v, at(to, 0))
			a.ADDQ(operand.U8(4), from)
			a.ADDQ(operand.U32(4*fixedKeys), to)
		})
		a.ADDQ(step, src)
		a.ADDQ(operand.U8(64), dst)
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
		"", "for q as fixAVX512 makes it, scales as dealAVX512 does, n a multiple of 16 and dim of 32. It prefetches next, as many bytes of it as k has at most.")
	// There are too few registers for what is needed once for sixteen keys: it stays where the parameters are.
	n, s, k, scales0 := a.slot(a.Param("n")), a.slot(a.Param("s").Base()), a.slot(a.Param("k").Base()), a.slot(a.Param("scales").Base())
	row, row4, row12 := a.integer("dim"), a.GP64(), a.GP64()
	if bits == 4 {
		a.SHRQ(operand.U8(1), row)
	}
	a.MOVQ(row, row4)
	a.SHLQ(operand.U8(2), row4)
	a.LEAQ(atIndex(row4, row4, 2, 0), row12)
	next, limit := a.ahead()
	near := a.near("k")
	lanes := a.laneMasks(3)
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
			sums := make([][fixedPlanes]reg.VecVirtual, heads)
			for h := range sums {
				sums[h] = [fixedPlanes]reg.VecVirtual{a.zeroed(1)[0], a.ZMM(), a.ZMM()}
				a.VPBROADCASTD(at(q, heads*fixedGroup+h*fixedStart), sums[h][1])
				a.VPBROADCASTD(at(q, heads*fixedGroup+h*fixedStart+4), sums[h][2])
			}
			column := 0
			for part := range bytes / 16 {
				for i, c := range a.columns(rows, row4, row12, lanes, 16*part) {
					for _, u := range a.unsigned(c, bits) {
						for p := range fixedPlanes {
							for h := range heads {
								a.dot(at(q, h*fixedGroup+p*group+4*column), u, sums[h][p])
							}
						}
						column++
					}
					// One by one: of several at once some wait for each other.
					a.PREFETCHT1(at(next, cacheLine*i))
					a.PREFETCHT0(at(near.at, cacheLine*i))
				}
				a.advance(next, limit, 16*16)
				a.advance(near.at, near.end, 16*16)
			}
			for h := range heads {
				high, low := sums[h][0], sums[h][2]
				a.VPSLLD(operand.U8(8), high, high)
				a.VPADDD(sums[h][1], high, high)
				a.VCVTDQ2PS(high, high)
				a.VCVTDQ2PS(low, low)
				a.VFMADD231PS_BCST(a.dword("byte", math.Float32bits(256)), high, low)
				a.VFMADD231PS(at(scales, 0), low, total[h])
			}
			for _, r := range rows {
				a.ADDQ(operand.U32(bytes), r)
			}
			a.ADDQ(operand.U32(4*fixedKeys), scales)
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
		step := a.GP64()
		a.MOVQ(k, step)
		a.LEAQ(atIndex(step, row4, 4, 0), step)
		a.MOVQ(step, k)
		a.ADDQ(operand.U8(64), s)
		a.ADDQ(operand.U8(64), scales0)
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

// laneMasks are the first n of the masks of dwords for the second to the fourth quarter of a vector. Memory that is copied to all quarters but kept in one
// takes whichever port of the processor is free, an insertion only one of them.
func (a *asm) laneMasks(n int) []reg.OpmaskVirtual {
	lanes := make([]reg.OpmaskVirtual, n)
	for i := range lanes {
		t := a.GP32()
		lanes[i] = a.K()
		a.MOVL(operand.U32(0xf0<<(4*i)), t)
		a.KMOVW(t, lanes[i])
	}
	return lanes
}

// columns is four dwords, from disp on, of each of sixteen rows, a vector for each: rows holds where the first four begin, row4 and
// row12 are four and twelve times what they are apart.
func (a *asm) columns(rows []reg.GPVirtual, row4, row12 reg.GPVirtual, lanes []reg.OpmaskVirtual, disp int) []reg.VecVirtual {
	v := make([]reg.VecVirtual, 4)
	for r := range v { // rows r, r+4, r+8 and r+12
		v[r] = a.ZMM()
		a.VMOVDQU32(at(rows[r], disp), v[r].AsX())
		a.VBROADCASTI32X4(atIndex(rows[r], row4, 1, disp), lanes[0], v[r])
		a.VBROADCASTI32X4(atIndex(rows[r], row4, 2, disp), lanes[1], v[r])
		a.VBROADCASTI32X4(atIndex(rows[r], row12, 1, disp), lanes[2], v[r])
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
