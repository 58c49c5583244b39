package main

import "fmt"

// quants are the products of 1, 2 or 4 rows of activations with quantized weights, which become float32 in registers.
//
// A group's elements are multiplied as they are, and their sums by the scale, in every lane: a group of 32 takes a multiplication
// more rather than eight. Four rows go at a time, so that what is made of activations is made once for them.
var quants = func() []routine {
	var rs []routine
	for _, vectors := range []int{1, 2, 4} {
		for _, f := range blockFormats {
			rs = append(rs, routine{fmt.Sprintf("product%d_%s", vectors, f.file()), func(a *asm) { blockProduct(a, &f, vectors) }})
		}
		for _, bits := range []int{4, 8} {
			rs = append(rs, routine{fmt.Sprintf("product%d_affine%d", vectors, bits), func(a *asm) { affineProduct(a, bits, vectors) }})
		}
	}
	return rs
}()

// quantRows is how many rows go at a time.
const quantRows = 4

// weigh adds up the products of a group's elements, which each calls use with, with those of each vector from offset bytes on.
func (a *asm) weigh(xs []gp, offset int, each func(use func(quad int, v reg))) []reg {
	sums := a.vecs(len(xs))
	each(func(quad int, v reg) {
		for h, p := range xs {
			x := a.vec()
			a.ldq(x, p, offset+16*quad)
			if quad == 0 {
				a.do(fmul(sums[h], v, x))
			} else {
				a.do(fmla(sums[h], v, x))
			}
			a.free(x)
		}
	})
	return sums
}

// sumsOf adds up so many vectors of each row of activations.
func (a *asm) sumsOf(xs []gp, offset, quads int) []reg {
	sums := a.vecs(len(xs))
	for h, p := range xs {
		a.ldq(sums[h], p, offset)
		for quad := 1; quad < quads; quad++ {
			x := a.vec()
			a.ldq(x, p, offset+16*quad)
			a.do(fadd(sums[h], sums[h], x))
			a.free(x)
		}
	}
	return sums
}

func blockProduct(a *asm, f *blockFormat, vectors int) {
	name := fmt.Sprintf("product%d%sNEON", vectors, f.name)
	a.begin(name, "func(s []float32, stride int, q []float32, k []byte, n, dim int)",
		is(name, productLoop(vectors, "k[j*dim+i]"), fmt.Sprintf("for dim a multiple of %d.", f.elements)))
	s, stride, q, k := a.ptr("s"), a.integer("stride"), a.ptr("q"), a.ptr("k")
	n, dim := a.integer("n"), a.integer("dim")
	kept := f.open(a)
	number := a.general()
	a.line("LSL\t$2, %v", stride)
	query, row := a.shifted(dim, 2), a.general()
	a.line("MOVD\t$%d, %v", f.elements, row)
	a.line("UDIV\t%v, %v, %v", row, dim, row)
	a.scale(row, f.bytes)
	some := func(rows int) {
		acc := a.zeros(vectors * rows)
		xs, blocks, left := a.rows(q, query, vectors), a.rows(k, row, rows), a.copyOf(dim)
		a.repeat(left, f.elements, func() {
			extra := make([][]gp, rows)
			if f.numbers > 0 {
				a.local(number, quantRows*4*f.numbers)
				for j, block := range blocks {
					f.begin(a, block, number, true)
					a.advance(4*f.numbers, number)
					extra[j] = a.generalsOf(f.extra)
					f.place(a, block, extra[j])
				}
				a.local(number, quantRows*4*f.numbers)
			}
			count := a.general()
			a.each(f, count, func() {
				for g := range f.groups() {
					offset := 4 * f.group * g
					var plain []reg
					if f.least {
						plain = a.sumsOf(xs, offset, f.group/4)
					}
					for j, block := range blocks {
						sums := a.weigh(xs, offset, func(use func(int, reg)) { f.each(a, kept, block, extra[j], g, use) })
						scale := a.vec()
						if f.numbers == 0 {
							a.do(ldrh(scale, block, 0), fcvtsh(scale, scale))
						} else {
							a.lds(scale, number, 4*(f.numbers*j+g))
						}
						for h := range xs {
							a.do(fmlaLane(acc[h*rows+j], sums[h], scale, 0))
						}
						if f.least {
							a.lds(scale, number, 4*(f.numbers*j+f.numbers/2+g))
							for h := range xs {
								a.do(fmlsLane(acc[h*rows+j], plain[h], scale, 0))
							}
						}
						a.free(scale)
						a.free(sums...)
					}
					a.free(plain...)
				}
				a.advance(4*f.group*f.groups(), xs...)
				if f.next != nil {
					a.advance(4*f.groups(), number)
					for j, block := range blocks {
						f.next(a, block, extra[j])
					}
				}
			})
			a.drop(count)
			for _, r := range extra {
				a.drop(r...)
			}
			a.advance(f.rest, blocks...)
		})
		a.line("MOVD\t%v, %v", blocks[rows-1], k)
		a.drop(left)
		a.drop(blocks...)
		a.drop(xs...)
		a.finish(acc, rows, s, stride)
	}
	a.repeat(n, quantRows, func() { some(quantRows) })
	a.repeat(n, 1, func() { some(1) })
}

// finish stores the sums of accumulators, gives them back, and moves s on.
func (a *asm) finish(acc []reg, rows int, s, stride gp) {
	out := a.copyOf(s)
	a.laneSums(acc, rows, out, stride)
	a.advance(4*rows, s)
	a.drop(out)
	a.free(acc...)
}

// scale multiplies r by a constant.
func (a *asm) scale(r gp, by int) {
	c := a.general()
	a.line("MOVD\t$%d, %v", by, c)
	a.line("MUL\t%v, %v", c, r)
	a.drop(c)
}

// affineNumbers is how many scales, and then how many biases, lie together for affineProduct.
const affineNumbers = 4096

// affineProduct makes each weight s q + b, rather than to add b times the sum of a group's activations: what is not finite then
// shows as the loop would show it.
func affineProduct(a *asm, bits, vectors int) {
	name := fmt.Sprintf("product%dAffine%dNEON", vectors, bits)
	a.begin(name, fmt.Sprintf("func(s []float32, stride int, q []float32, k []byte, n, dim, group int, numbers *[2][%d]float32)", affineNumbers),
		is(name, fmt.Sprintf("for h := range %d {\n\tfor j := range n {\n\t\tfor i := range dim {\n\t\t\tg := (j*dim + i) / group\n\t\t\ts[h*stride+j] += q[h*dim+i] * (numbers[0][g]*k[j*dim+i] + numbers[1][g]) // from 0\n\t\t}\n\t}\n}", vectors),
			fmt.Sprintf("for k of %d bits and group a multiple of 32.", bits)))
	s, stride, q, k := a.ptr("s"), a.integer("stride"), a.ptr("q"), a.ptr("k")
	n, dim, group, numbers := a.integer("n"), a.integer("dim"), a.integer("group"), a.integer("numbers")
	a.line("LSL\t$2, %v", stride)
	query, row, perRow := a.shifted(dim, 2), dim, a.general()
	a.line("UDIV\t%v, %v, %v", group, dim, perRow)
	a.line("LSL\t$2, %v", perRow)
	if bits == 4 {
		a.line("LSR\t$1, %v", row)
	}
	f := newAffine(a, bits)
	var eight reg
	if bits == 4 {
		eight = a.word(0x41000000)
	}
	some := func(rows int) {
		acc := a.zeros(vectors * rows)
		xs, ks, ns, left := a.rows(q, query, vectors), a.rows(k, row, rows), a.rows(numbers, perRow, rows), a.copyOf(perRow)
		a.repeat(left, 4, func() {
			inside := a.copyOf(group)
			a.repeat(inside, 32, func() {
				for j := range rows {
					scale, bias, at := a.vec(), a.vec(), a.general()
					a.lds(scale, ns[j], 0)
					a.line("ADD\t$%d, %v, %v", 4*affineNumbers, ns[j], at)
					a.line("VLD1R\t(%v), [V%d.S4]", at, bias)
					a.drop(at)
					if bits == 4 {
						a.do(fmlaLane(bias, eight, scale, 0))
					}
					f.each(ks[j], func(quad int, v reg) {
						w := a.vec()
						a.do(mov(w, bias), fmlaLane(w, v, scale, 0))
						for h, p := range xs {
							x := a.vec()
							a.ldq(x, p, 16*quad)
							a.do(fmla(acc[h*rows+j], w, x))
							a.free(x)
						}
						a.free(w)
					})
					a.free(scale, bias)
				}
				a.advance(128, xs...)
				a.advance(4*bits, ks...)
			})
			a.drop(inside)
			a.advance(4, ns...)
		})
		a.line("MOVD\t%v, %v", ks[rows-1], k)
		a.line("MOVD\t%v, %v", ns[rows-1], numbers)
		a.drop(left)
		a.drop(ns...)
		a.drop(ks...)
		a.drop(xs...)
		a.finish(acc, rows, s, stride)
	}
	a.repeat(n, quantRows, func() { some(quantRows) })
	a.repeat(n, 1, func() { some(1) })
}
