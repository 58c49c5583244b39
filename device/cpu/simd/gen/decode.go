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
		"", "for dim a multiple of 8. It prefetches 2*n*dim bytes of next.")
	keys := 4
	if heads == 4 {
		keys = 2
	}
	s, stride := a.ptr("s"), a.integer("stride")
	a.SHLQ(operand.U8(2), stride)
	q := []reg.GPVirtual{a.ptr("q")}
	k, next, n, dim := a.ptr("k"), a.ptr("next"), a.integer("n"), a.integer("dim")
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
		a.repeat(left, lanes, func() {
			var x []reg.VecVirtual
			for j := range keys {
				v := a.YMM()
				a.VCVTPH2PS(base[j], v)
				x = append(x, v)
			}
			for h := range heads {
				y := a.YMM()
				a.VMOVUPS(atIndex(q[h], index, 2, 0), y)
				for j, v := range x {
					a.VFMADD231PS(v, y, acc[h*keys+j])
				}
			}
			a.PREFETCHT1(at(next, 0))
			a.ADDQ(operand.U32(keys*lanes*2), next)
			a.ADDQ(operand.U32(lanes*2), k)
			a.ADDQ(operand.U32(lanes*2), index)
		})
		if keys == 4 {
			a.ADDQ(row3, k)
		} else if keys == 2 {
			a.ADDQ(row, k)
		}
		return acc
	}
	a.repeat(n, keys, func() {
		acc := products(keys)
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
		a.ADDQ(operand.U32(keys*4), s)
	})
	a.repeat(n, 1, func() {
		acc := products(1)
		out := a.copyOf(s)
		for _, v := range acc {
			// In the order of the sums above, so that a score does not depend on where its key lies.
			a.VHADDPS(v, v, v)
			a.VHADDPS(v, v, v)
			t := a.XMM()
			a.VEXTRACTF128(operand.U8(1), v, t)
			a.VADDPS(t, v.AsX(), t)
			a.VMOVSS(t, at(out, 0))
			a.ADDQ(stride, out)
		}
		a.ADDQ(operand.U32(4), s)
	})
	a.VZEROUPPER()
	a.RET()
}

// values writes the sums of n values, weighted for each of heads queries.
func values(a *asm, heads int) {
	name := fmt.Sprintf("values%dF16AVX2", heads)
	a.begin(name, "func(o, p []float32, stride int, v, next []byte, n, dim int)",
		name+" is", "",
		fmt.Sprintf("\tfor h := range %d {\n\t\tfor j := range n {\n\t\t\tfor i := range dim {\n\t\t\t\to[h*dim+i] += p[h*stride+j] * v[j*dim+i]\n\t\t\t}\n\t\t}\n\t}", heads),
		"", "for dim a multiple of 8. It prefetches 2*n*dim bytes of next.")
	o := []reg.GPVirtual{a.ptr("o")}
	p := []reg.GPVirtual{a.ptr("p")}
	stride, v0, next, n, dim := a.integer("stride"), a.ptr("v"), a.ptr("next"), a.integer("n"), a.integer("dim")
	for h := 1; h < heads; h++ {
		nextO, nextP := a.GP64(), a.GP64()
		a.LEAQ(atIndex(o[h-1], dim, 4, 0), nextO)
		a.LEAQ(atIndex(p[h-1], stride, 4, 0), nextP)
		o, p = append(o, nextO), append(p, nextP)
	}
	row := stride // its register is free now
	a.MOVQ(dim, row)
	a.SHLQ(operand.U8(1), row)
	// chunk sums vectors·8 elements over all values.
	chunk := func(vectors int) {
		var acc []reg.VecVirtual
		for h := range heads {
			for u := range vectors {
				x := a.YMM()
				a.VMOVUPS(at(o[h], u*lanes*4), x)
				acc = append(acc, x)
			}
		}
		v, j := a.copyOf(v0), a.GP64()
		a.XORQ(j, j)
		top, end := a.label("loop"), a.label("end")
		a.CMPQ(j, n)
		a.JGE(operand.LabelRef(end))
		a.Label(top)
		var x []reg.VecVirtual
		if vectors*heads > 8 {
			panic("too many accumulators")
		}
		if heads > 1 {
			for u := range vectors {
				y := a.YMM()
				a.VCVTPH2PS(at(v, u*lanes*2), y)
				x = append(x, y)
			}
		}
		for h := range heads {
			w := a.YMM()
			a.VBROADCASTSS(atIndex(p[h], j, 4, 0), w)
			for u := range vectors {
				var y reg.VecVirtual
				if heads > 1 {
					y = x[u]
				} else {
					y = a.YMM()
					a.VCVTPH2PS(at(v, u*lanes*2), y)
				}
				a.VFMADD231PS(y, w, acc[h*vectors+u])
			}
		}
		for disp := 0; disp < vectors*lanes*2; disp += cacheLine {
			a.PREFETCHT1(at(next, disp))
		}
		a.ADDQ(operand.U32(vectors*lanes*2), next)
		a.ADDQ(row, v)
		a.INCQ(j)
		a.CMPQ(j, n)
		a.JLT(operand.LabelRef(top))
		a.Label(end)
		for h := range heads {
			for u := range vectors {
				a.VMOVUPS(acc[h*vectors+u], at(o[h], u*lanes*4))
			}
			a.ADDQ(operand.U32(vectors*lanes*4), o[h])
		}
		a.ADDQ(operand.U32(vectors*lanes*2), v0)
	}
	most := 8 / heads
	a.repeat(dim, most*lanes, func() { chunk(most) })
	a.repeat(dim, lanes, func() { chunk(1) })
	a.VZEROUPPER()
	a.RET()
}
