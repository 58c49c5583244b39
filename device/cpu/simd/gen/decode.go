package main

import (
	"fmt"

	"github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// decodes are the kernels of decode attention over halves, for 1, 2 or 4 query heads that share each
// loaded key or value. Eight accumulators hide the latency of the multiplications. Meanwhile they ask for
// the memory that comes next, evenly, so that memory never rests: scores for the values of its keys,
// values for the next keys.
var decodes = func() []routine {
	var rs []routine
	for _, heads := range []int{1, 2, 4} {
		rs = append(rs,
			routine{fmt.Sprintf("scores%d_f16", heads), func(a *asm) { scores(a, heads) }},
			routine{fmt.Sprintf("values%d_f16", heads), func(a *asm) { values(a, heads) }})
	}
	return rs
}()

// scores writes the products of heads queries with n keys.
func scores(a *asm, heads int) {
	name := fmt.Sprintf("scores%dF16AVX2", heads)
	a.begin(name, "func(s []float32, stride int, q []float32, k, next []byte, n, dim int)",
		name+" is", "",
		fmt.Sprintf("\tfor h := range %d {\n\t\tfor j := range n {\n\t\t\tfor i := range dim {\n\t\t\t\ts[h*stride+j] += q[h*dim+i] * k[j*dim+i] // from 0\n\t\t\t}\n\t\t}\n\t}", heads),
		"", "for dim a multiple of 8. It prefetches next, at most 2*n*dim bytes of it.")
	keys := 4
	if heads == 4 {
		keys = 2
	}
	s, stride := a.ptr("s"), a.integer("stride")
	a.SHLQ(operand.U8(2), stride)
	q := []reg.GPVirtual{a.ptr("q")}
	k, n, dim := a.ptr("k"), a.integer("n"), a.integer("dim")
	next, limit := a.ahead()
	for h := 1; h < heads; h++ {
		query := a.GP64()
		a.LEAQ(atIndex(q[h-1], dim, 4, 0), query)
		q = append(q, query)
	}
	row := a.GP64() // bytes of one key
	a.MOVQ(dim, row)
	a.SHLQ(operand.U8(1), row)
	row3 := a.GP64()
	if keys == 4 {
		a.LEAQ(atIndex(row, row, 2, 0), row3)
	}
	// products sums over the elements of some keys; index counts bytes of halves.
	products := func(keys int) []reg.VecVirtual {
		acc := a.zeroed(heads * keys)
		base := []operand.Mem{at(k, 0), atIndex(k, row, 1, 0), atIndex(k, row, 2, 0), atIndex(k, row3, 1, 0)}
		left, index := a.copyOf(dim), a.GP64()
		a.XORQ(index, index)
		together := []int{2, 1} // vectors: with two heads memory is what is waited for, and is asked more evenly one by one
		if heads == 2 {
			together = []int{1}
		}
		for _, vectors := range together {
			a.repeat(left, vectors*lanes, func() {
				for u := range vectors {
					x := make([]reg.VecVirtual, keys)
					for j := range x {
						x[j] = a.YMM()
						a.VCVTPH2PS(moved(base[j], 2*lanes*u), x[j])
					}
					for h := range heads {
						y := a.YMM()
						a.VMOVUPS(atIndex(q[h], index, 2, 4*lanes*u), y)
						for j, v := range x {
							a.VFMADD231PS(v, y, acc[h*keys+j])
						}
					}
				}
				a.prefetch(next, limit, vectors*keys*lanes*2)
				a.ADDQ(operand.U32(vectors*lanes*2), k)
				a.ADDQ(operand.U32(vectors*lanes*2), index)
			})
		}
		if keys == 4 {
			a.ADDQ(row3, k)
		} else if keys == 2 {
			a.ADDQ(row, k)
		}
		return acc
	}
	a.repeat(n, keys, func() {
		a.narrowSums(products(keys), s, stride, keys)
		a.ADDQ(operand.U32(keys*4), s)
	})
	a.repeat(n, 1, func() {
		acc := products(1)
		out := a.copyOf(s)
		for _, v := range acc {
			a.narrowSum(v)
			a.VMOVSS(v.AsX(), at(out, 0))
			a.ADDQ(stride, out)
		}
		a.ADDQ(operand.U32(4), s)
	})
	a.VZEROUPPER()
	a.RET()
}

// narrowSums stores the sums of the lanes of vectors of AVX2, which are those of 2 or 4 keys for each head, a stride apart.
func (a *asm) narrowSums(acc []reg.VecVirtual, s, stride reg.GPVirtual, keys int) {
	out := a.copyOf(s)
	for g := 0; g < len(acc); g += 4 {
		a.VHADDPS(acc[g+1], acc[g], acc[g])
		a.VHADDPS(acc[g+3], acc[g+2], acc[g+2])
		a.VHADDPS(acc[g+2], acc[g], acc[g])
		t := a.XMM()
		a.VEXTRACTF128(operand.U8(1), acc[g], t)
		a.VADDPS(t, acc[g].AsX(), t)
		if keys == 4 {
			a.VMOVUPS(t, at(out, 0))
			a.ADDQ(stride, out)
			continue
		}
		a.VMOVLPS(t, at(out, 0))
		a.ADDQ(stride, out)
		a.VMOVHPS(t, at(out, 0))
		a.ADDQ(stride, out)
	}
}

// narrowSum leaves the sum of the lanes of v in its lowest element. It adds in the order of narrowSums, so that a score does
// not depend on where its key lies.
func (a *asm) narrowSum(v reg.VecVirtual) {
	a.VHADDPS(v, v, v)
	a.VHADDPS(v, v, v)
	t := a.XMM()
	a.VEXTRACTF128(operand.U8(1), v, t)
	a.VADDPS(t, v.AsX(), v.AsX())
}

// values writes the sums of n values, weighted for each of heads queries.
func values(a *asm, heads int) {
	name := fmt.Sprintf("values%dF16%s", heads, a.suffix())
	a.begin(name, "func(o, p []float32, stride int, v, next []byte, n, dim int)",
		name+" is", "",
		fmt.Sprintf("\tfor h := range %d {\n\t\tfor j := range n {\n\t\t\tfor i := range dim {\n\t\t\t\to[h*dim+i] += p[h*stride+j] * v[j*dim+i]\n\t\t\t}\n\t\t}\n\t}", heads),
		"", fmt.Sprintf("for n at least 1 and dim a multiple of %d. It prefetches next, at most 2*n*dim bytes of it.", a.lanes()))
	o, p, stride, v0 := a.ptr("o"), a.ptr("p"), a.integer("stride"), a.ptr("v")
	next, limit := a.ahead()
	asked := func(int) {}
	if a.wide {
		asked = a.near("v").orNext(next, limit).ask
	}
	n, dim := a.integer("n"), a.integer("dim")
	a.SHLQ(operand.U8(2), stride)
	strides := a.multiples(stride, heads)
	row := a.copyOf(dim) // bytes of a value
	a.SHLQ(operand.U8(1), row)
	// chunk sums some vectors of elements over all values.
	chunk := func(vectors int) {
		acc := make([]reg.VecVirtual, heads*vectors)
		each := func(do func(x reg.VecVirtual, m operand.Mem)) {
			out := a.copyOf(o)
			for i, x := range acc {
				do(x, at(out, i%vectors*a.lanes()*4))
				if i%vectors == vectors-1 && i+1 < len(acc) {
					a.LEAQ(atIndex(out, row, 2, 0), out)
				}
			}
		}
		for i := range acc {
			acc[i] = a.vec()
		}
		each(func(x reg.VecVirtual, m operand.Mem) { a.VMOVUPS(m, x) })
		v, weights, left := a.copyOf(v0), a.copyOf(p), a.copyOf(n)
		some := func(n int) {
			for i, value := range []operand.Mem{at(v, 0), atIndex(v, row, 1, 0)}[:n] {
				x := make([]reg.VecVirtual, vectors)
				for h, m := range strided(weights, strides, 1, heads) {
					w := a.vec()
					a.VBROADCASTSS(moved(m, 4*i), w)
					for u := range x {
						if h == 0 {
							x[u] = a.vec()
							a.VCVTPH2PS(moved(value, u*a.lanes()*2), x[u])
						}
						a.VFMADD231PS(x[u], w, acc[h*vectors+u])
					}
				}
			}
			a.prefetch(next, limit, n*vectors*a.lanes()*2)
			asked(n * vectors * a.lanes() * 2)
			a.ADDQ(operand.U32(4*n), weights)
			for range n {
				a.ADDQ(row, v)
			}
		}
		if vectors*a.lanes()*2 == cacheLine/2 && !a.wide { // two at a time ask for each line once
			a.repeat(left, 2, func() { some(2) })
		}
		a.repeat(left, 1, func() { some(1) })
		each(func(x reg.VecVirtual, m operand.Mem) { a.VMOVUPS(x, m) })
		a.ADDQ(operand.U32(vectors*a.lanes()*4), o)
		a.ADDQ(operand.U32(vectors*a.lanes()*2), v0)
	}
	for vectors := min(8, a.lanes()/heads); vectors > 0; vectors /= 2 {
		a.repeat(dim, vectors*a.lanes(), func() { chunk(vectors) })
	}
	a.VZEROUPPER()
	a.RET()
}
