package main

import (
	"fmt"

	"github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// wholes are the products of 1 to 4 rows of activations, as whole numbers of 16 bits, with quantized weights. A lane has weights of one
// group in one vector or two, and VNNI adds up their products with one byte of the numbers and then with the other, between which the sum moves up by a byte. So
// one conversion and one multiplication by scales serve 64 weights or 128.
var wholes = func() []routine {
	var rs []routine
	for _, o := range wholeOrders {
		rs = append(rs, routine{o.file + "_avx512", func(a *asm) { wholeNumbers(a, o) }})
	}
	for _, f := range wholeFormats {
		for vectors := 1; vectors <= 4; vectors++ {
			rs = append(rs, routine{fmt.Sprintf("product%d_%s_whole_avx512", vectors, f.file), func(a *asm) { a.wide = true; wholeProduct(a, f, vectors, false) }})
		}
		rs = append(rs, routine{fmt.Sprintf("product1_%s_whole_direct_avx512", f.file), func(a *asm) { a.wide = true; wholeProduct(a, f, 1, true) }})
	}
	return rs
}()

const (
	wholeRows    = 4 // that go together
	wholeSharing = 2 // of them that have what they need of a token in registers at once, if there are several tokens
)

// mostBeside is up to how many tokens registers are left for what is beside their products.
const mostBeside = 2

const nearRow = 1024 // how far ahead in a long row what a product of one token reads is brought into the first cache

// wholeProduct writes a product. One that is direct asks for what comes to be brought into the first cache at once, rather than into the second and from there into the first.
func wholeProduct(a *asm, f wholeFormat, vectors int, direct bool) {
	o := f.order
	name, ask := fmt.Sprintf("product%d%sWhole", vectors, f.name), a.PREFETCHT1
	if direct {
		name, ask = name+"Direct", a.PREFETCHT0
	}
	parameters, weight, groups := "n, dim int", "k[j*dim+i]", ""
	if f.affine {
		groups = fmt.Sprintf("\ng = (j*dim + i)*per/%d; per is 1, 2 or 4, and there are three numbers behind those of the last row.", o.elements)
		parameters = fmt.Sprintf("n, dim, per int, numbers *[2][%d]float32", affineNumbers)
		weight = "(numbers[0][g]*k[j*dim+i] + numbers[1][g])"
	}
	a.begin(name, "func(s []float32, stride int, q, k, next []byte, "+parameters+")",
		name+" is", "",
		fmt.Sprintf("\tfor h := range %d {\n\t\tfor j := range n {\n\t\t\tfor i := range dim {\n\t\t\t\ts[h*stride+j] += q[h*dim+i] * %s // from 0\n\t\t\t}\n\t\t}\n\t}", vectors, weight),
		"", fmt.Sprintf("for q as %sAVX512 makes it and dim a multiple of %d. It prefetches next, about as many bytes of it as k has at most.", o.name, o.elements)+groups)
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
	a.repeat(left, o.elements, func() {
		a.ADDQ(operand.U32(o.bytes()), activations)
		a.ADDQ(operand.U32(f.bytes), row)
	})
	units, rows := a.multiples(activations, vectors), a.multiples(row, wholeRows)
	reader := f.begin(a, wholeProducts{k, rows, vectors, wholeRows})
	var waiting operand.Mem // what is beside the products, where there are too few registers
	if o.sums && vectors > mostBeside {
		waiting = a.AllocLocal(64 * vectors)
	}
	soon := a.GP64() // how far ahead of its use memory is brought from the second cache into the first: to the next rows, or further on in long ones
	if !direct {
		far := a.GP64()
		a.MOVQ(row, soon)
		a.SHLQ(operand.U8(2), soon)
		a.MOVQ(operand.U32(nearRow), far)
		a.CMPQ(row, operand.U32(2*nearRow))
		a.CMOVQHI(far, soon)
	}
	// besides is what is beside a token's products, from where it is.
	besides := func(beside []reg.VecVirtual, h int) reg.VecVirtual {
		if waiting.Base == nil {
			return beside[h]
		}
		v := a.ZMM()
		a.VMOVUPS(waiting.Offset(64*h), v)
		return v
	}
	// sums is the products of some rows, and what is beside them: for each token those of the rows in each quarter.
	sums := func(keys int) (acc, beside []reg.VecVirtual) {
		acc = a.zeroed(vectors * keys)
		switch {
		case waiting.Base != nil:
			for h := range vectors {
				a.VMOVUPS(a.zeroed(1)[0], waiting.Offset(64*h))
			}
		case o.sums:
			beside = a.zeroed(vectors)
		}
		stored := strided(k, rows, 1, keys)
		left := a.copyOf(row)
		if reader.enter != nil {
			reader.enter(keys)
		}
		a.repeat(left, f.bytes, func() {
			tokens := strided(q, units, 1, vectors)
			// sharedBy gives what a token has at a place: loaded once if several rows take it.
			sharedBy := func(rows, token int) func(disp int) operand.Op {
				have := map[int]reg.VecVirtual{}
				return func(disp int) operand.Op {
					if rows == 1 {
						return moved(tokens[token], disp)
					}
					if have[disp] == nil {
						have[disp] = a.ZMM()
						a.VMOVDQU64(moved(tokens[token], disp), have[disp])
					}
					return have[disp]
				}
			}
			step := reader.open(stored, left, f.bytes)
			var coming []operand.Mem
			if keys > 1 && !direct {
				near := a.GP64()
				a.LEAQ(atIndex(k, soon, 1, 0), near)
				coming = strided(near, rows, 1, keys)
			}
			lines, places := (keys*f.bytes+cacheLine-1)/cacheLine, o.parts*keys
			for part := range o.parts {
				if o.sums {
					factor := step.beside(part)
					for h := range vectors {
						v := besides(beside, h)
						a.VFMADD231PS(moved(tokens[h], o.sum(part)), factor, v)
						if waiting.Base != nil {
							a.VMOVUPS(v, waiting.Offset(64*h))
						}
					}
				}
				scales, factors := step.scales(part), make([]reg.VecVirtual, vectors)
				factorOf := func(h int) reg.VecVirtual {
					if factors[h] == nil {
						factors[h] = scales
						if h+1 < vectors {
							factors[h] = a.ZMM()
						}
						a.VMULPS(moved(tokens[h], o.scales(part)), scales, factors[h])
					}
					return factors[h]
				}
				sharing, sharedByAll := min(keys, wholeSharing), sharedBy(keys, 0)
				if vectors == 1 { // all rows share, and their weights come one after the other
					sharing = 1
				}
				for first := 0; first < keys; first += sharing {
					weights, sums := make([][]reg.VecVirtual, sharing), make([]reg.VecVirtual, sharing)
					for r := range weights {
						weights[r] = step.weights(part, first+r)
					}
					for h := range vectors {
						operandOf := sharedByAll
						if vectors > 1 {
							operandOf = sharedBy(sharing, h)
						}
						products := func(at int) {
							for i := range o.halves {
								for r, sum := range sums {
									a.raw("VPDPBUSD", true, nil, operandOf(at+64*i), weights[r][i], sum)
								}
							}
						}
						for r := range sums {
							if o.sums {
								sums[r] = a.zeroed(1)[0]
							} else {
								sums[r] = a.ZMM()
								a.VMOVDQU64(operandOf(o.start(part)), sums[r])
							}
						}
						products(o.upper(part))
						for _, sum := range sums {
							if o.sums {
								a.VPSLLD(operand.U8(8), sum, sum)
							} else {
								// The sum's upper eight bits, which are the start's and no part of it, go, and the lowest become the start's.
								a.raw("VPSHLDD", false, nil, operand.U8(8), operandOf(o.start(part)), sum, sum)
							}
						}
						products(o.lower(part))
						for r, sum := range sums {
							a.VCVTDQ2PS(sum, sum)
							factor := a.ZMM()
							a.VPERMILPS(operand.U8(uint64((first+r)*0x55)), factorOf(h), factor)
							a.VFMADD231PS(factor, sum, acc[h*keys+first+r])
						}
					}
					if coming != nil && part == 0 {
						for r := first; r < first+sharing; r++ {
							for disp := 0; disp < f.bytes-cacheLine/2; disp += cacheLine {
								a.PREFETCHT0(moved(coming[r], disp))
							}
						}
					}
					// Evenly: too many at once would be dropped.
					for line := lines * (part*keys + first) / places; line < lines*(part*keys+first+sharing)/places; line++ {
						ask(at(next, line*cacheLine))
					}
				}
			}
			a.ADDQ(operand.U32(keys*f.bytes), next)
			a.CMPQ(next, limit)
			a.CMOVQHI(limit, next)
			a.ADDQ(operand.U32(f.bytes), k)
			a.ADDQ(operand.U32(o.bytes()), q)
		})
		a.SUBQ(activations, q)
		if reader.leave != nil {
			reader.leave(keys)
		}
		return acc, beside
	}
	together, single := a.VSUBPS, a.VSUBSS
	if f.affine {
		together, single = a.VADDPS, a.VADDSS
	}
	// place is where a token's results go, and how far from those of the next.
	place := func() (out, step reg.GPVirtual) {
		out, step = a.GP64(), a.GP64()
		a.MOVQ(s, out)
		a.MOVQ(stride, step)
		return out, step
	}
	a.whileSlot(n, wholeRows, func() {
		v, beside := sums(wholeRows)
		total := a.laneSums(v)
		if o.sums {
			var all []reg.VecVirtual
			for h := range vectors {
				all = append(all, besides(beside, h))
			}
			together(a.quarterSums(all), total, total)
		}
		out, step := place()
		a.spread(total, out, step, vectors, wholeRows)
		a.ADDQ(operand.U32(wholeRows*4), s)
		for range wholeRows - 1 {
			a.ADDQ(row, k)
		}
	})
	a.whileSlot(n, 1, func() {
		v, beside := sums(1)
		out, step := place()
		for h, v := range v {
			a.laneSum(v)
			if o.sums {
				single(a.quarterSum(besides(beside, h)), v.AsX(), v.AsX())
			}
			a.VMOVSS(v.AsX(), at(out, 0))
			a.ADDQ(step, out)
		}
		a.ADDQ(operand.U32(4), s)
	})
	a.VZEROUPPER()
	a.RET()
}

// quarterSum is the sum of the quarters of v, which it destroys.
func (a *asm) quarterSum(v reg.VecVirtual) reg.VecVirtual {
	t := a.YMM()
	a.VEXTRACTF64X4(operand.U8(1), v, t)
	a.VADDPS(t, v.AsY(), v.AsY())
	a.VEXTRACTF32X4(operand.U8(1), v.AsY(), t.AsX())
	a.VADDPS(t.AsX(), v.AsX(), v.AsX())
	return v.AsX().(reg.VecVirtual)
}

// quarterSums is the quarterSum of each vector, in their order. It destroys them.
func (a *asm) quarterSums(v []reg.VecVirtual) reg.VecVirtual {
	for i := range v {
		quarter := a.quarterSum(v[i])
		if i > 0 {
			a.VINSERTF32X4(operand.U8(uint64(i)), quarter, v[0], v[0])
		}
	}
	return v[0]
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
