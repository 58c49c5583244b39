package main

import (
	"fmt"
	"strings"
)

// storage is how stored elements become float32.
type storage struct {
	name  string
	bytes int
}

var formats = []storage{{"F32", 4}, {"F16", 2}, {"BF16", 2}}

// loadEight takes registers for eight elements at p, and moves it on.
func (a *asm) loadEight(f storage, p gp) []reg {
	raw := a.vecs(f.bytes / 2)
	for _, v := range raw {
		a.nextq(v, p)
	}
	return raw
}

// quad is four of them as float32, in a register that is taken for it unless they are float32 already. Of eight halves it is
// the lower or the upper four.
func (a *asm) quad(f storage, raw []reg, upper int) (v reg, free func()) {
	if f.bytes == 4 {
		return raw[upper], func() {}
	}
	v = a.vec()
	switch {
	case f.name == "F16" && upper == 0:
		a.do(fcvtl(v, raw[0]))
	case f.name == "F16":
		a.do(fcvtl2(v, raw[0]))
	case upper == 0:
		a.do(shll(v, raw[0]))
	default:
		a.do(shll2(v, raw[0]))
	}
	return v, func() { a.free(v) }
}

// products are those of 1, 2, 4 or 8 rows of activations, or queries, with stored rows.
var products = func() []routine {
	var rs []routine
	for _, f := range formats {
		for _, vectors := range []int{1, 2, 4, 8} {
			rs = append(rs, routine{fmt.Sprintf("product%d_%s", vectors, strings.ToLower(f.name)), func(a *asm) { product(a, f, vectors) }})
		}
	}
	return rs
}()

// productLoop is what a product equals.
func productLoop(vectors int, element string) string {
	return fmt.Sprintf("for h := range %d {\n\tfor j := range n {\n\t\tfor i := range dim {\n\t\t\ts[h*stride+j] += q[h*dim+i] * %s // from 0\n\t\t}\n\t}\n}", vectors, element)
}

// product keeps one accumulator for each vector and row, of which there are sixteen, or the eight of one vector: enough for the
// latency of multiplications, and each adds in the same order whatever is computed beside it.
func product(a *asm, f storage, vectors int) {
	name := fmt.Sprintf("product%d%sNEON", vectors, f.name)
	a.begin(name, "func(s []float32, stride int, q []float32, k []byte, n, dim int)",
		is(name, productLoop(vectors, "k[j*dim+i]"), "for dim a multiple of 8."))
	s, stride, q, k := a.ptr("s"), a.integer("stride"), a.ptr("q"), a.ptr("k")
	n, dim := a.integer("n"), a.integer("dim")
	a.line("LSL\t$2, %v", stride)
	row, query := a.shifted(dim, map[int]int{2: 1, 4: 2}[f.bytes]), a.shifted(dim, 2)
	some := func(rows int) {
		acc := a.zeros(vectors * rows)
		ks, qs := a.rows(k, row, rows), a.rows(q, query, vectors)
		left := a.copyOf(dim)
		a.repeat(left, 8, func() {
			if vectors < rows {
				x := make([][2]reg, vectors)
				for h, p := range qs {
					x[h] = [2]reg{a.vec(), a.vec()}
					a.line("FLDPQ.P\t32(%v), (F%d, F%d)", p, x[h][0], x[h][1])
				}
				for j, p := range ks {
					raw := a.loadEight(f, p)
					for u := range 2 {
						w, free := a.quad(f, raw, u)
						for h := range vectors {
							a.do(fmla(acc[h*rows+j], w, x[h][u]))
						}
						free()
					}
					a.free(raw...)
				}
				for _, v := range x {
					a.free(v[0], v[1])
				}
				return
			}
			raw := make([][]reg, rows)
			for j, p := range ks {
				raw[j] = a.loadEight(f, p)
			}
			for u := range 2 {
				w, frees := make([]reg, rows), make([]func(), rows)
				for j := range rows {
					w[j], frees[j] = a.quad(f, raw[j], u)
				}
				for h, p := range qs {
					x := a.vec()
					a.nextq(x, p)
					for j := range rows {
						a.do(fmla(acc[h*rows+j], w[j], x))
					}
					a.free(x)
				}
				for _, free := range frees {
					free()
				}
			}
			for _, r := range raw {
				a.free(r...)
			}
		})
		a.line("MOVD\t%v, %v", ks[rows-1], k)
		out := a.copyOf(s)
		a.laneSums(acc, rows, out, stride)
		a.advance(4*rows, s)
		a.drop(out, left)
		a.drop(ks...)
		a.drop(qs...)
		a.free(acc...)
	}
	for _, rows := range map[int][]int{1: {8, 1}, 2: {8, 1}, 4: {4, 1}, 8: {2, 1}}[vectors] {
		a.repeat(n, rows, func() { some(rows) })
	}
}
