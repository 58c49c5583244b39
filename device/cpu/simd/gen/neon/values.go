package main

import "fmt"

// values are the sums of stored values, weighted for each of 1, 2 or 4 queries.
var values = func() []routine {
	var rs []routine
	for _, heads := range []int{1, 2, 4} {
		rs = append(rs, routine{fmt.Sprintf("values%d_f16", heads), func(a *asm) { valuesF16(a, heads) }})
	}
	return rs
}()

// valuesLoop is what the routines for values equal.
func valuesLoop(heads int, element string) string {
	return fmt.Sprintf("for h := range %d {\n\tfor j := range n {\n\t\tfor i := range dim {\n\t\t\to[h*dim+i] += p[h*stride+j] * %s\n\t\t}\n\t}\n}", heads, element)
}

// valuesF16 keeps sixteen vectors of results in registers, a few of each head, and goes over all values with them.
func valuesF16(a *asm, heads int) {
	name := fmt.Sprintf("values%dF16NEON", heads)
	a.begin(name, "func(o, p []float32, stride int, v []byte, n, dim int)",
		is(name, valuesLoop(heads, "v[j*dim+i]"), "for n at least 1 and dim a multiple of 8."))
	o, p, stride, v := a.ptr("o"), a.ptr("p"), a.integer("stride"), a.ptr("v")
	n, dim := a.integer("n"), a.integer("dim")
	a.line("LSL\t$2, %v", stride)
	row, out := a.shifted(dim, 1), a.shifted(dim, 2)
	for quads := 16 / heads; quads >= 2; quads /= 2 {
		a.repeat(dim, 4*quads, func() {
			acc := a.vecs(heads * quads)
			outs := a.rows(o, out, heads)
			for i, x := range acc {
				a.ldq(x, outs[i/quads], i%quads*16)
			}
			at, weights, left := a.copyOf(v), a.rows(p, stride, heads), a.copyOf(n)
			a.repeat(left, 1, func() {
				w := a.vecs(heads)
				for h, x := range w {
					a.line("FMOVS.P\t4(%v), F%d", weights[h], x)
				}
				for u := 0; u < quads; u += 2 {
					raw := a.vec()
					a.ldq(raw, at, u*8)
					for half := range 2 {
						x, free := a.quad(formats[1], []reg{raw}, half)
						for h := range heads {
							a.do(fmlaLane(acc[h*quads+u+half], x, w[h], 0))
						}
						free()
					}
					a.free(raw)
				}
				a.line("ADD\t%v, %v", row, at)
				a.free(w...)
			})
			for i, x := range acc {
				a.stq(x, outs[i/quads], i%quads*16)
			}
			a.advance(quads*16, o)
			a.advance(quads*8, v)
			a.drop(at, left)
			a.drop(weights...)
			a.drop(outs...)
			a.free(acc...)
		})
	}
}
