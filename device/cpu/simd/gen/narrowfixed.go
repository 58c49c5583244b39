package main

import (
	"fmt"

	"github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// narrowFixed are the scores of queries as whole numbers for AVX-VNNI: what fixed are for AVX-512, of the same numbers and with the same bits. There are half as many
// registers, of half the size: sixteen keys are turned into the stack, for two heads at a time to take them from there.
var narrowFixed = func() []routine {
	rs := []routine{{"fix", narrowFix}}
	for _, heads := range []int{1, 2, 4} {
		for _, bits := range []int{8, 4} {
			rs = append(rs, routine{fmt.Sprintf("scores%d_q%d_avxvnni", heads, bits), func(a *asm) { narrowFixedScores(a, heads, bits, true) }})
		}
		rs = append(rs, routine{fmt.Sprintf("scores%d_q4_fixed", heads), func(a *asm) { narrowFixedScores(a, heads, 4, false) }})
	}
	return rs
}()

// narrowDot is dot for AVX-VNNI: numbers are signed bytes, four to each lane, u is unsigned ones.
func (a *asm) narrowDot(numbers operand.Op, u, sum reg.Register) {
	a.raw(vexDot, true, nil, numbers, u, sum)
}

// bytesOf is a vector constant in memory, the same in both halves.
func (a *asm) bytesOf(name string, at func(i int) uint32) operand.Mem {
	return a.words(name, func(i int) (word uint32) {
		for b := range 4 {
			word |= at(i%4*4+b) << (8 * b)
		}
		return word
	})
}

// narrowBytes is the lower three bytes of 32 numbers, which it overwrites, in their order: those of one place to a vector, the highest first.
func (a *asm) narrowBytes(x []reg.VecVirtual) []reg.VecVirtual {
	split := a.bytesOf("split", func(i int) uint32 { return uint32(i%4*4 + i/4) })
	for _, v := range x {
		a.VPSHUFB(split, v, v)
	}
	low, mid := []reg.VecVirtual{a.YMM(), a.YMM()}, a.YMM()
	for i := range low {
		a.VPUNPCKLDQ(x[2*i+1], x[2*i], low[i])
		a.VPUNPCKHDQ(x[2*i+1], x[2*i], x[2*i])
	}
	a.VPUNPCKHQDQ(low[1], low[0], mid)
	a.VPUNPCKLQDQ(low[1], low[0], low[0])
	a.VPUNPCKLQDQ(x[2], x[0], x[0])
	natural, all := a.YMM(), []reg.VecVirtual{x[0], mid, low[0]}
	a.VMOVDQU(a.words("natural", func(i int) uint32 { return uint32(i/2 + i%2*4) }), natural)
	for _, v := range all {
		a.VPERMD(v, natural, v)
	}
	return all
}

// narrowTotal leaves the sum of the dwords of v in a general register.
func (a *asm) narrowTotal(v reg.VecVirtual) reg.GPVirtual {
	t, total := a.XMM(), a.GP32()
	a.VEXTRACTI128(operand.U8(1), v, t)
	a.VPADDD(t, v.AsX(), v.AsX())
	for _, swap := range []uint64{0x4e, 0xb1} {
		a.VPSHUFD(operand.U8(swap), v.AsX(), t)
		a.VPADDD(t, v.AsX(), v.AsX())
	}
	a.VMOVD(v.AsX(), total)
	return total
}

// narrowFix writes one head of what narrowFixedScores takes.
func narrowFix(a *asm) {
	a.begin("fixAVX2", "func(planes, starts []byte, q []float32, factor float32, step int, order *[16]byte, zero uint32)",
		"fixAVX2 is fixAVX512 for AVX2.")
	planes, starts, q, n := a.ptr("planes"), a.ptr("starts"), a.ptr("q"), a.length("q")
	factor, step, order, zero := a.broadcast("factor"), a.integer("step"), a.YMM(), a.YMM()
	a.VBROADCASTI128(at(a.integer("order"), 0), order)
	z := a.GP32()
	a.Load(a.Param("zero"), z)
	a.VMOVD(z, zero.AsX())
	a.VPBROADCASTD(zero.AsX(), zero)
	a.repeat(n, group, func() {
		v := make([]reg.VecVirtual, group/lanes)
		for i := range v {
			v[i] = a.YMM()
			a.VMULPS(at(q, 32*i), factor, v[i])
			a.VCVTPS2DQ(v[i], v[i])
			a.VPADDD(a.words("digits", func(int) uint32 { return 0x808080 }), v[i], v[i]) // so that bytes have no sign
		}
		sums := make([]reg.VecVirtual, fixedPlanes)
		for p, bytes := range a.narrowBytes(v) {
			a.VPXOR(a.words("signs", func(int) uint32 { return 0x80808080 }), bytes, bytes)
			a.VPSHUFB(order, bytes, bytes)
			a.VMOVDQU(bytes, at(planes, p*group))
			sums[p] = a.YMM()
			a.VPMADDUBSW(bytes, zero, sums[p]) // which fits: there are two of them
			a.VPMADDWD(a.wordsOf("wordOnes", 1), sums[p], sums[p])
		}
		a.VPSLLD(operand.U8(8), sums[0], sums[0])
		a.VPADDD(sums[1], sums[0], sums[0])
		for i, sum := range []reg.VecVirtual{sums[0], sums[2]} {
			total := a.narrowTotal(sum)
			a.NEGL(total)
			a.MOVL(total, at(starts, 4*i))
		}
		a.ADDQ(operand.U32(4*group), q)
		a.ADDQ(step, planes)
		a.ADDQ(step, starts)
	})
	a.VZEROUPPER()
	a.RET()
}

// scratch is memory on the stack, at a boundary of vectors.
func (a *asm) scratch(bytes int) reg.GPVirtual {
	p := a.GP64()
	a.LEAQ(a.AllocLocal(bytes+32), p)
	a.ADDQ(operand.U8(31), p)
	a.ANDQ(operand.I8(-32), p)
	return p
}

// narrowScores writes scores of whole numbers without AVX-512.
type narrowScores struct {
	*asm
	heads, bits     int
	vnni            bool // AVX-VNNI, rather than AVX2
	q, scales       reg.GPVirtual
	turned          reg.GPVirtual // keys of a group, then what products sum up to over groups
	next            reg.GPVirtual
	lines, ofColumn int // of next that are asked for with a group, and columns so far
}

const (
	narrowKeys    = 2                        // vectors of keys
	narrowColumn  = 32 * narrowKeys          // bytes of four elements of each key
	narrowColumns = group / 4 * narrowColumn // bytes of a group
)

// total is where products of a head with a vector of keys sum up.
func (p *narrowScores) total(head, u int) operand.Mem {
	return at(p.turned, narrowColumns+32*(narrowKeys*head+u))
}

// start is where the sums of a head's bytes begin, but for those of the highest.
func (p *narrowScores) start(head, plane int) operand.Mem {
	return at(p.q, p.heads*fixedGroup+head*fixedStart+4*(plane-1))
}

// narrowFixedScores writes the products of heads queries with n keys.
func narrowFixedScores(a *asm, heads, bits int, vnni bool) {
	name := fmt.Sprintf("scores%dQ%dAVXVNNI", heads, bits)
	if !vnni {
		name = fmt.Sprintf("scores%dQ%dFixedAVX2", heads, bits)
	}
	a.begin(name, "func(s []float32, stride int, q, k []byte, scales []float32, next []byte, n, dim int)",
		name+fmt.Sprintf(" is scores%dQ%dVNNI with vectors of AVX2.", heads, bits))
	a.Attributes(0) // the frame is too large for what is left of every stack
	p := &narrowScores{asm: a, heads: heads, bits: bits, vnni: vnni, turned: a.scratch(narrowColumns + 32*narrowKeys*heads)}
	bytes := group * bits / 8
	p.lines = 16 * bytes / cacheLine
	n, s, k, scales0 := a.slot(a.Param("n")), a.slot(a.Param("s").Base()), a.slot(a.Param("k").Base()), a.slot(a.Param("scales").Base())
	row, row3 := a.integer("dim"), a.GP64()
	if bits == 4 {
		a.SHRQ(operand.U8(1), row)
	}
	a.LEAQ(atIndex(row, row, 2, 0), row3)
	next, limit := a.ahead()
	p.next = next
	a.whileSlot(n, 16, func() {
		from := atSlot(a, k)
		p.q, p.scales = a.ptr("q"), atSlot(a, scales0)
		a.ADDQ(operand.U8(fixedHeader), p.q)
		zero := a.zeroed(1)[0]
		for h := range heads {
			for u := range narrowKeys {
				a.VMOVDQA(zero, p.total(h, u))
			}
		}
		left := a.copyOf(row)
		a.repeat(left, bytes, func() {
			a.turnKeys(from, row, row3, p.turned, bits)
			p.ofColumn = 0
			for first := 0; first < heads; first += 2 {
				p.products(first, min(2, heads-first))
			}
			a.advance(next, limit, 16*bytes)
			a.ADDQ(operand.U8(bytes), from)
			a.ADDQ(operand.U32(4*fixedKeys), p.scales)
			a.ADDQ(operand.U32(heads*(fixedGroup+fixedStart)), p.q)
		})
		out, stride, factors := atSlot(a, s), a.integer("stride"), a.ptr("q")
		for h := range heads {
			factor := a.YMM()
			a.VBROADCASTSS(at(factors, 4*h), factor)
			for u := range narrowKeys {
				v := a.YMM()
				a.VMULPS(p.total(h, u), factor, v)
				a.VMOVUPS(v, at(out, 32*u))
			}
			if h+1 < heads {
				a.LEAQ(atIndex(out, stride, 4, 0), out)
			}
		}
		step := a.copyOf(row)
		a.SHLQ(operand.U8(4), step)
		a.ADDQ(step, k)
		a.ADDQ(operand.U8(64), s)
		a.ADDQ(operand.U8(64), scales0)
	})
	a.VZEROUPPER()
	a.RET()
}

// products adds those of a group with some heads, two at most, whose sums are as many as registers hold.
func (p *narrowScores) products(first, heads int) {
	sums := make([][fixedPlanes][narrowKeys]reg.VecVirtual, heads)
	for h := range sums {
		for plane := range fixedPlanes {
			for u := range narrowKeys {
				if p.vnni && plane > 0 {
					sums[h][plane][u] = p.YMM()
					p.VPBROADCASTD(p.start(first+h, plane), sums[h][plane][u])
				} else {
					sums[h][plane][u] = p.zeroed(1)[0]
				}
			}
		}
	}
	for column := range group / 4 {
		var keys [narrowKeys]reg.VecVirtual
		for u := range keys {
			keys[u] = p.YMM()
			p.VMOVDQA(at(p.turned, narrowColumn*column+32*u), keys[u])
		}
		for h := range sums {
			for plane := range fixedPlanes {
				number := p.YMM()
				p.VPBROADCASTD(at(p.q, (first+h)*fixedGroup+plane*group+4*column), number)
				for u := range keys {
					p.add(number, keys[u], sums[h][plane][u])
				}
			}
		}
		p.ask(heads)
	}
	for h := range sums {
		for u := range narrowKeys {
			high, mid, low, sum := sums[h][0][u], sums[h][1][u], sums[h][2][u], p.YMM()
			if p.vnni {
				p.VPSLLD(operand.U8(8), high, high)
			} else {
				p.VPMADDWD(p.wordsOf("word256", 256), high, high)
				for i, v := range []reg.VecVirtual{mid, low} {
					start := p.YMM()
					p.VPBROADCASTD(p.start(first+h, 1+i), start)
					p.VPMADDWD(p.wordsOf("wordOnes", 1), v, v)
					p.VPADDD(start, v, v)
				}
			}
			p.VPADDD(mid, high, high)
			p.VCVTDQ2PS(high, high)
			p.VCVTDQ2PS(low, low)
			p.VFMADD231PS(p.splat("byte", 256), high, low)
			p.VMOVAPS(p.total(first+h, u), sum)
			p.VFMADD231PS(at(p.scales, 32*u), low, sum)
			p.VMOVAPS(sum, p.total(first+h, u))
		}
	}
}

// add adds the products of four bytes in each lane to sum. Without AVX-VNNI that holds words, into which those of a group fit: sixteen of 15*128 at most.
func (p *narrowScores) add(number, keys, sum reg.VecVirtual) {
	if p.vnni {
		p.narrowDot(number, keys, sum)
		return
	}
	t := p.YMM()
	p.VPMADDUBSW(number, keys, t)
	p.VPADDW(t, sum, sum)
}

// ask asks for as many lines of next as one column of so many heads has of a group's.
func (p *narrowScores) ask(heads int) {
	before := p.lines * p.ofColumn / (p.heads * group / 4)
	p.ofColumn += heads
	for line := before; line < p.lines*p.ofColumn/(p.heads*group/4); line++ {
		p.PREFETCHT1(at(p.next, cacheLine*line))
	}
}

// turnKeys writes a group of sixteen rows, from from on, dword by dword: at to there are the first four elements of eight rows, and of the other eight, then the next
// four, as unsigned bytes.
func (a *asm) turnKeys(from, row, row3, to reg.GPVirtual, bits int) {
	store := func(v reg.VecVirtual, column, u int) { a.VMOVDQA(v, at(to, 64*column+32*u)) }
	base := a.copyOf(from)
	for u := range 2 {
		upper := a.GP64()
		a.LEAQ(atIndex(base, row, 4, 0), upper)
		for part := range group * bits / 8 / 16 {
			v := make([]reg.VecVirtual, 4)
			lower := []operand.Mem{at(base, 16*part), atIndex(base, row, 1, 16*part), atIndex(base, row, 2, 16*part), atIndex(base, row3, 1, 16*part)}
			for r, m := range lower {
				high := m
				high.Base = upper
				v[r] = a.sixteenOf(m, high)
			}
			t0, t1 := a.YMM(), a.YMM()
			a.VPUNPCKLDQ(v[1], v[0], t0)
			a.VPUNPCKHDQ(v[1], v[0], t1)
			a.VPUNPCKLDQ(v[3], v[2], v[0])
			a.VPUNPCKHDQ(v[3], v[2], v[2])
			a.VPUNPCKHQDQ(v[0], t0, v[1])
			a.VPUNPCKLQDQ(v[0], t0, v[0])
			a.VPUNPCKHQDQ(v[2], t1, v[3])
			a.VPUNPCKLQDQ(v[2], t1, v[2])
			for i, c := range v {
				if bits == 8 {
					a.VPXOR(a.words("signs", func(int) uint32 { return 0x80808080 }), c, c)
					store(c, 4*part+i, u)
					continue
				}
				low := a.YMM()
				nibbles := a.words("nibbles", func(int) uint32 { return 0x0f0f0f0f })
				a.VPAND(nibbles, c, low)
				store(low, 2*i, u)
				a.VPSRLD(operand.U8(4), c, c)
				a.VPAND(nibbles, c, c)
				store(c, 2*i+1, u)
			}
		}
		if u == 0 {
			a.LEAQ(atIndex(upper, row, 4, 0), base)
		}
	}
}
