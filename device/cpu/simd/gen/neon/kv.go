package main

import "fmt"

// stored are the routines of attention over keys and values of 8 and 4 bits, which become float32 in registers: for 1, 2 or 4
// query heads that share them, and those that write them for tiles of prefill.
var stored = func() []routine {
	var rs []routine
	for _, bits := range []int{8, 4} {
		for _, heads := range []int{1, 2, 4} {
			rs = append(rs,
				routine{fmt.Sprintf("scores%d_q%d", heads, bits), func(a *asm) { storedScores(a, bits, heads) }},
				routine{fmt.Sprintf("values%d_q%d", heads, bits), func(a *asm) { storedValues(a, bits, heads) }})
		}
		rs = append(rs, routine{fmt.Sprintf("from_q%d", bits), func(a *asm) { fromStored(a, bits) }})
	}
	return rs
}()

// storedGroup is the number of elements that share a scale.
const storedGroup = 32

// cells reads elements of rows.
type cells struct {
	*asm
	bits    int
	octets  octets
	nibbles nibbles
	order   []reg // of 4 bits: where the elements of one word, or the next, go
	row     gp    // bytes of a row
	scales  gp    // bytes of its scales
}

// newCells takes the sizes of rows from the parameter dim, which stays as it is.
func newCells(a *asm, bits int, dim gp) cells {
	c := cells{asm: a, bits: bits, row: a.general(), scales: a.general()}
	a.line("ADD\t$%d, %v, %v", storedGroup-1, dim, c.scales)
	a.line("LSR\t$5, %v", c.scales)
	a.line("LSL\t$2, %v", c.scales)
	if bits == 8 {
		a.line("MOVD\t%v, %v", dim, c.row)
		c.octets = newOctets(a, true)
		return c
	}
	a.line("LSR\t$1, %v, %v", dim, c.row)
	c.nibbles = newNibbles(a)
	a.free(c.nibbles.zero)
	// When lower and upper halves of bytes alternate, a word has its even elements first.
	var order [2][16]byte
	for word := range order {
		for i := range order[word] {
			order[word][i] = 0xff // none
			if i%2 == 1 {
				order[word][i] = byte(8*word + i/2%2*4 + i/4)
			}
		}
	}
	c.order = a.tables("order", order[:]...)
	return c
}

// bytes is what so many elements of a row take.
func (c cells) bytes(elements int) int { return elements * c.bits / 8 }

// each calls use with the 16 or 32 elements at p, less their scale.
func (c cells) each(p gp, offset, elements int, use func(quad int, v reg)) {
	if c.bits == 8 {
		for i := range elements / 16 {
			raw := c.vec()
			c.ldq(raw, p, offset+16*i)
			c.octets.each(raw, 0, func(quad int, v reg) { use(4*i+quad, v) })
			c.free(raw)
		}
		return
	}
	low, high := c.vec(), c.vec()
	if elements == 16 {
		c.ldd(high, p, offset)
	} else {
		c.ldq(high, p, offset)
	}
	c.nibbles.low(low, high)
	c.nibbles.high(high, high)
	for i, zip := range []func(d, n, m reg) instruction{zip1b, zip2b}[:elements/16] {
		upper := c.vec()
		c.do(zip(upper, low, high))
		for word, order := range c.order {
			h := c.vec()
			c.do(tbl(h, upper, order))
			c.nibbles.eight(h, func(quad int, v reg) { use(4*i+2*word+quad, v) })
			c.free(h)
		}
		c.free(upper)
	}
	c.free(low, high)
}

// storedScores multiplies a group's elements as they are, and their sums by the scale, in every lane.
func storedScores(a *asm, bits, heads int) {
	name := fmt.Sprintf("scores%dQ%dNEON", heads, bits)
	a.begin(name, "func(s []float32, stride int, q []float32, k []byte, scales []float32, n, dim int)",
		is(name, productLoop(heads, "k[j*dim+i]"), "with k as element times scale, for dim a multiple of 16."))
	s, stride, q, k, scales := a.ptr("s"), a.integer("stride"), a.ptr("q"), a.ptr("k"), a.ptr("scales")
	n, dim := a.integer("n"), a.integer("dim")
	a.line("LSL\t$2, %v", stride)
	query := a.shifted(dim, 2)
	c := newCells(a, bits, dim)
	some := func(rows int) {
		acc := a.zeros(heads * rows)
		xs, ks, ss, left := a.rows(q, query, heads), a.rows(k, c.row, rows), a.rows(scales, c.scales, rows), a.copyOf(dim)
		for elements := storedGroup; elements >= 16; elements /= 2 {
			a.repeat(left, elements, func() {
				for j := range rows {
					sums := a.weigh(xs, 0, func(use func(int, reg)) { c.each(ks[j], 0, elements, use) })
					scale := a.vec()
					a.line("FMOVS.P\t4(%v), F%d", ss[j], scale)
					for h := range xs {
						a.do(fmlaLane(acc[h*rows+j], sums[h], scale, 0))
					}
					a.free(scale)
					a.free(sums...)
				}
				a.advance(4*elements, xs...)
				a.advance(c.bytes(elements), ks...)
			})
		}
		a.line("MOVD\t%v, %v", ks[rows-1], k)
		a.line("MOVD\t%v, %v", ss[rows-1], scales)
		a.drop(left)
		a.drop(ss...)
		a.drop(ks...)
		a.drop(xs...)
		a.finish(acc, rows, s, stride)
	}
	a.repeat(n, quantRows, func() { some(quantRows) })
	a.repeat(n, 1, func() { some(1) })
}

// storedValues multiplies weights by the scale, rather than elements, of which there are more. It keeps up to sixteen vectors of
// results in registers, and goes over all values with them.
func storedValues(a *asm, bits, heads int) {
	name := fmt.Sprintf("values%dQ%dNEON", heads, bits)
	a.begin(name, "func(o, p []float32, stride int, v []byte, scales []float32, n, dim int)",
		is(name, valuesLoop(heads, "v[j*dim+i]"), "with v as element times scale, for n at least 1 and dim a multiple of 16."))
	o, p, stride, v, scales := a.ptr("o"), a.ptr("p"), a.integer("stride"), a.ptr("v"), a.ptr("scales")
	n, dim := a.integer("n"), a.integer("dim")
	a.line("LSL\t$2, %v", stride)
	out := a.shifted(dim, 2)
	c := newCells(a, bits, dim)
	chunk := func(elements int) {
		quads := elements / 4
		acc, outs := a.vecs(heads*quads), a.rows(o, out, heads)
		for i, x := range acc {
			a.ldq(x, outs[i/quads], i%quads*16)
		}
		at, scaleAt, weights, left := a.copyOf(v), a.copyOf(scales), a.rows(p, stride, heads), a.copyOf(n)
		a.repeat(left, 1, func() {
			scale, w := a.vec(), a.vecs(heads)
			a.lds(scale, scaleAt, 0)
			for h, x := range w {
				a.line("FMOVS.P\t4(%v), F%d", weights[h], x)
				a.do(fmuls(x, x, scale))
			}
			a.free(scale)
			c.each(at, 0, elements, func(quad int, x reg) {
				for h := range heads {
					a.do(fmlaLane(acc[h*quads+quad], x, w[h], 0))
				}
			})
			a.free(w...)
			a.line("ADD\t%v, %v", c.row, at)
			a.line("ADD\t%v, %v", c.scales, scaleAt)
		})
		for i, x := range acc {
			a.stq(x, outs[i/quads], i%quads*16)
		}
		a.advance(4*elements, o)
		a.advance(c.bytes(elements), v)
		a.drop(at, scaleAt, left)
		a.drop(weights...)
		a.drop(outs...)
		a.free(acc...)
	}
	a.repeat(dim, storedGroup, func() {
		if heads == 4 { // registers suffice for half a group
			chunk(16)
			chunk(16)
		} else {
			chunk(storedGroup)
		}
		a.advance(4, scales)
	})
	a.repeat(dim, 16, func() { chunk(16) })
}

func fromStored(a *asm, bits int) {
	name := fmt.Sprintf("fromQ%dNEON", bits)
	a.begin(name, "func(dst []float32, src []byte, scales []float32, n, dim int)",
		is(name, "for j := range n {\n\tfor i := range dim {\n\t\tdst[j*dim+i] = src[j*dim+i] // as element times scale\n\t}\n}", "for dim a multiple of 16."))
	dst, src, scales, n, dim := a.ptr("dst"), a.ptr("src"), a.ptr("scales"), a.integer("n"), a.integer("dim")
	c := newCells(a, bits, dim)
	a.repeat(n, 1, func() {
		left := a.copyOf(dim)
		for elements := storedGroup; elements >= 16; elements /= 2 {
			a.repeat(left, elements, func() {
				scale := a.vec()
				a.line("FMOVS.P\t4(%v), F%d", scales, scale)
				c.each(src, 0, elements, func(_ int, x reg) {
					a.do(fmulLane(x, x, scale, 0))
					a.putq(x, dst)
				})
				a.advance(c.bytes(elements), src)
				a.free(scale)
			})
		}
		a.drop(left)
	})
}
