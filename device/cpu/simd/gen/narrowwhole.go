package main

import (
	"fmt"
	"slices"

	"github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// narrowWholes are the products of wholes for AVX2, of 1 to 4 rows of activations, and for AVX-VNNI, of one. Each lane has the same numbers in it and adds up in the
// same order, so that results have the same bits.
var narrowWholes = func() []routine {
	var rs []routine
	for _, o := range narrowOrders {
		rs = append(rs, routine{o.file, func(a *asm) { narrowNumbers(a, o) }})
	}
	for _, f := range narrowWholeFormats {
		for vectors := 1; vectors <= 4; vectors++ {
			rs = append(rs, routine{fmt.Sprintf("product%d_%s_whole", vectors, f.file), func(a *asm) { narrowWholeProduct(a, f, vectors, false) }})
		}
	}
	for _, f := range vnniWholeFormats {
		rs = append(rs, routine{fmt.Sprintf("product1_%s_whole_avxvnni", f.file), func(a *asm) { narrowWholeProduct(a, f, 1, true) }})
	}
	return rs
}()

// narrowRows is how many rows of weights go together.
const narrowRows = 4

// narrowWholeProduct writes a product of so many tokens, for AVX-VNNI too or only for AVX2.
func narrowWholeProduct(a *asm, f narrowWholeFormat, vectors int, vnni bool) {
	o, set := f.order, "AVX2"
	if vnni {
		set = "AVXVNNI"
	}
	name := fmt.Sprintf("product%d%sWhole%s", vectors, f.name, set)
	parameters, weight, groups := "n, dim int", "k[j*dim+i]", ""
	if f.affine {
		groups = fmt.Sprintf("\ng = (j*dim + i)*per/%d; per is 1, 2 or 4, and there are three numbers behind those of the last row.", o.elements)
		parameters = fmt.Sprintf("n, dim, per int, numbers *[2][%d]float32", affineNumbers)
		weight = "(numbers[0][g]*k[j*dim+i] + numbers[1][g])"
	}
	a.begin(name, "func(s []float32, stride int, q, k, next []byte, "+parameters+")",
		name+" is", "",
		fmt.Sprintf("\tfor h := range %d {\n\t\tfor j := range n {\n\t\t\tfor i := range dim {\n\t\t\t\ts[h*stride+j] += q[h*dim+i] * %s // from 0\n\t\t\t}\n\t\t}\n\t}", vectors, weight),
		"", fmt.Sprintf("for q as %sAVX2 makes it and dim a multiple of %d. It prefetches next, about as many bytes of it as k has at most.", o.name, o.elements)+groups)
	if vectors > 1 {
		a.Attributes(0) // the frame is too large for what is left of every stack
	}
	p := &narrowWhole{asm: a, f: f, vectors: vectors, vnni: vnni, s: a.slot(a.Param("s").Base()), stride: a.slot(a.Param("stride")), k: a.ptr("k"), q: a.ptr("q")}
	p.next, p.limit = a.ahead()
	n, left := a.slot(a.Param("n")), a.integer("dim")
	t := a.GP64()
	a.MOVQ(p.stride, t)
	a.SHLQ(operand.U8(2), t)
	a.MOVQ(t, p.stride)
	activations, row := a.GP64(), a.GP64() // bytes of a row of them, and of weights
	a.XORQ(activations, activations)
	a.XORQ(row, row)
	a.repeat(left, o.elements, func() {
		a.ADDQ(operand.U32(o.bytes()), activations)
		a.ADDQ(operand.U32(f.bytes), row)
	})
	p.units, p.rows = a.multiples(activations, vectors), a.multiples(row, narrowRows)
	keep := f.constants
	if vectors == 1 {
		keep = keep[:f.kept]
	}
	for _, c := range keep {
		v := a.YMM()
		a.VMOVDQU(a.wordsOf(c.name, c.word), v)
		p.kept = append(p.kept, v)
	}
	p.reader = f.begin(p)
	p.factors = a.AllocLocal(2 * 32 * o.parts * vectors)
	if o.sums {
		p.besides = a.AllocLocal(2 * 32 * vectors)
	}
	if vectors > 1 {
		p.sums = a.AllocLocal(2 * 32 * narrowRows * vectors)
	} else {
		far := a.GP64()
		near := a.GP64()
		a.MOVQ(row, near)
		a.SHLQ(operand.U8(2), near)
		a.MOVQ(operand.U32(nearRow), far)
		a.CMPQ(row, operand.U32(2*nearRow))
		a.CMOVQHI(far, near)
		p.soon = a.AllocLocal(8)
		a.MOVQ(near, p.soon)
	}
	for _, take := range []int{narrowRows, 1} {
		a.whileSlot(n, take, func() {
			p.products(take)
			p.store(take)
			t := a.GP64()
			a.MOVQ(p.s, t)
			a.ADDQ(operand.U32(4*take), t)
			a.MOVQ(t, p.s)
			for range take - 1 {
				a.ADDQ(row, p.k)
			}
		})
	}
	a.VZEROUPPER()
	a.RET()
}

// narrowWhole is a routine while it is written.
type narrowWhole struct {
	*asm
	f           narrowWholeFormat
	vectors     int           // tokens
	vnni        bool          // for AVX-VNNI
	s, stride   operand.Mem   // where results go, and bytes from a token's to the next's
	k, q        reg.GPVirtual // the first of the rows at the step, and the activations
	rows, units []reg.GPVirtual
	next        reg.GPVirtual
	limit       operand.Mem
	soon        operand.Mem      // how far ahead of its use memory is brought from the second cache into the first: to the next rows, or further on in long ones
	kept        []reg.VecVirtual // the first of the constants
	reader      narrowReader

	factors operand.Mem      // of a step: of a token, of a part, of a half, what four rows' sums in the first of its quarters and in the second are multiplied by
	besides operand.Mem      // of a token, of a half: what is beside the products
	sums    operand.Mem      // of a row, of a token, of a half, where there are too few registers
	acc     []reg.VecVirtual // else
}

func (p *narrowWhole) factor(token, part, half int) operand.Mem {
	return p.factors.Offset(32 * ((token*p.f.order.parts+part)*2 + half))
}

func (p *narrowWhole) beside(token, half int) operand.Mem {
	return p.besides.Offset(32 * (2*token + half))
}

func (p *narrowWhole) sum(row, token, half int) operand.Mem {
	return p.sums.Offset(32 * ((row*p.vectors+token)*2 + half))
}

// constant is one of the format's.
func (p *narrowWhole) constant(c narrowConstant) operand.Op {
	if i := slices.Index(p.f.constants, c); i < len(p.kept) {
		return p.kept[i]
	}
	return p.wordsOf(c.name, c.word)
}

// products adds up the products of some rows.
func (p *narrowWhole) products(rows int) {
	o := p.f.order
	zero := p.zeroed(1)[0]
	for h := range p.vectors {
		for half := range 2 {
			if o.sums {
				p.VMOVUPS(zero, p.beside(h, half))
			}
			for r := range rows {
				if p.vectors > 1 {
					p.VMOVUPS(zero, p.sum(r, h, half))
				}
			}
		}
	}
	if p.vectors == 1 {
		p.acc = p.zeroed(2 * rows)
	}
	stored, left := strided(p.k, p.rows, 1, rows), p.copyOf(p.rows[0])
	p.repeat(left, p.f.bytes, func() {
		tokens := strided(p.q, p.units, 1, p.vectors)
		step := p.reader.open(stored)
		p.prepare(step, tokens)
		lines, places, place := (rows*p.f.bytes+cacheLine-1)/cacheLine, 2*rows, 0
		for half := range 2 {
			for r := range rows {
				for part := range o.parts {
					weights := step.weights(part, half, r)
					for h := range p.vectors {
						p.add(p.product(weights, tokens[h], part, half), r, h, part, half)
					}
				}
				if p.vectors == 1 && rows > 1 && half == 0 {
					near := p.GP64()
					p.MOVQ(p.soon, near)
					p.ADDQ(p.k, near)
					for disp := 0; disp < p.f.bytes-cacheLine/2; disp += cacheLine {
						p.PREFETCHT0(moved(strided(near, p.rows, 1, rows)[r], disp))
					}
				}
				// Evenly: too many at once would be dropped.
				for line := lines * place / places; line < lines*(place+1)/places; line++ {
					p.PREFETCHT1(at(p.next, line*cacheLine))
				}
				place++
			}
		}
		p.advance(p.next, p.limit, rows*p.f.bytes)
		p.ADDQ(operand.U32(p.f.bytes), p.k)
		p.ADDQ(operand.U32(o.bytes()), p.q)
	})
	p.SUBQ(p.units[0], p.q)
	if p.reader.leave != nil {
		p.reader.leave(rows)
	}
}

// prepare makes the factors of a step, and adds up what is beside its products.
func (p *narrowWhole) prepare(step narrowStep, tokens []operand.Mem) {
	o := p.f.order
	for part := range o.parts {
		for half := range 2 {
			scales := step.scales(part, half)
			for h, m := range tokens {
				factor := p.YMM()
				p.VMULPS(moved(m, o.scales(part)+32*half), scales, factor)
				p.VMOVUPS(factor, p.factor(h, part, half))
			}
			if !o.sums {
				continue
			}
			if step.beside != nil {
				scales = step.beside(part, half)
			}
			for h, m := range tokens {
				sum := p.YMM()
				p.VMOVUPS(p.beside(h, half), sum)
				p.VFMADD231PS(moved(m, o.sum(part)+32*half), scales, sum)
				p.VMOVUPS(sum, p.beside(h, half))
			}
		}
	}
}

// product is the sum of a lane's products with the numbers of a token, as float32.
func (p *narrowWhole) product(weights []reg.VecVirtual, token operand.Mem, part, half int) reg.VecVirtual {
	o := p.f.order
	upper, lower := moved(token, o.upper(part)+32*half), moved(token, o.lower(part)+32*half)
	var sum reg.VecVirtual
	switch {
	case p.vnni:
		sum = p.zeroed(1)[0]
		for i, w := range weights {
			p.raw(vexDot, true, nil, moved(upper, 64*i), w, sum)
		}
		p.VPSLLD(operand.U8(8), sum, sum)
		if !o.sums {
			p.VPADDD(moved(token, o.start(part)+32*half), sum, sum)
		}
		for i, w := range weights {
			p.raw(vexDot, true, nil, moved(lower, 64*i), w, sum)
		}
	case o.pairs:
		for i, w := range weights { // even, odd, and those of the second half
			v := p.YMM()
			p.VPMADDWD(moved([]operand.Mem{upper, lower}[i%2], 64*(i/2)), w, v)
			if i > 0 {
				p.VPADDD(v, sum, sum)
			} else {
				sum = v
			}
		}
	default:
		sum = p.bytes(upper, weights)
		p.VPMADDWD(p.constant(upperBytes), sum, sum)
		low := p.bytes(lower, weights)
		p.VPMADDWD(p.constant(lowerBytes), low, low)
		p.VPADDD(low, sum, sum)
		if !o.sums {
			p.VPADDD(moved(token, o.start(part)+32*half), sum, sum)
		}
	}
	p.VCVTDQ2PS(sum, sum)
	return sum
}

// bytes is the sums of two or four products with bytes of the numbers, as words: weights have six bits in one vector, or four bits in two.
func (p *narrowWhole) bytes(numbers operand.Mem, weights []reg.VecVirtual) reg.VecVirtual {
	v := p.YMM()
	p.VPMADDUBSW(numbers, weights[0], v)
	if len(weights) > 1 {
		t := p.YMM()
		p.VPMADDUBSW(moved(numbers, 64), weights[1], t)
		p.VPADDW(t, v, v)
	}
	return v
}

// add adds the sum of products of a row and a token, times their scales.
func (p *narrowWhole) add(sum reg.VecVirtual, row, token, part, half int) {
	factor := p.YMM()
	p.VPERMILPS(operand.U8(uint64(row*0x55)), p.factor(token, part, half), factor)
	if p.vectors == 1 {
		p.VFMADD231PS(factor, sum, p.acc[2*row+half])
		return
	}
	p.VFMADD213PS(p.sum(row, token, half), factor, sum)
	p.VMOVUPS(sum, p.sum(row, token, half))
}

// store puts the sums of some rows where they belong.
func (p *narrowWhole) store(rows int) {
	out := p.GP64()
	p.MOVQ(p.s, out)
	for h := range p.vectors {
		halves := make([]reg.VecVirtual, 2)
		for half := range halves {
			v := make([]reg.VecVirtual, rows)
			for r := range v {
				if p.vectors == 1 {
					v[r] = p.acc[2*r+half]
				} else {
					v[r] = p.YMM()
					p.VMOVUPS(p.sum(r, h, half), v[r])
				}
			}
			halves[half] = p.quarterTotals(v)
		}
		total := p.bothHalves(halves)
		if p.f.order.sums {
			var v []reg.VecVirtual
			for half := range 2 {
				v = append(v, p.YMM())
				p.VMOVUPS(p.beside(h, half), v[half])
			}
			beside := p.bothHalves(v)
			if p.f.affine {
				p.VADDPS(beside, total, total)
			} else {
				p.VSUBPS(beside, total, total)
			}
		}
		if rows == 1 {
			p.VMOVSS(total, at(out, 0))
		} else {
			p.VMOVUPS(total, at(out, 0))
		}
		if h+1 < p.vectors {
			p.ADDQ(p.stride, out)
		}
	}
}

// quarterTotals is the sum of each quarter of one vector or four, which it destroys: in the first half those of the first quarters, in the order of the vectors.
func (a *asm) quarterTotals(v []reg.VecVirtual) reg.VecVirtual {
	t := a.YMM()
	if len(v) == 1 {
		for _, swap := range []uint64{0x4e, 0xb1} {
			a.VPERMILPS(operand.U8(swap), v[0], t)
			a.VADDPS(t, v[0], v[0])
		}
		return v[0]
	}
	for i := 0; i < 4; i += 2 {
		a.VUNPCKHPD(v[i+1], v[i], t)
		a.VUNPCKLPD(v[i+1], v[i], v[i])
		a.VADDPS(t, v[i], v[i])
	}
	a.VSHUFPS(operand.U8(0xdd), v[2], v[0], t)
	a.VSHUFPS(operand.U8(0x88), v[2], v[0], v[0])
	a.VADDPS(t, v[0], v[0])
	return v[0]
}

// bothHalves adds up four quarters, of which each vector has two.
func (a *asm) bothHalves(v []reg.VecVirtual) reg.Register {
	a.VADDPS(v[1], v[0], v[0])
	t := a.XMM()
	a.VEXTRACTF128(operand.U8(1), v[0], t)
	a.VADDPS(t, v[0].AsX(), v[0].AsX())
	return v[0].AsX()
}
