package main

import (
	"fmt"
	"strings"

	"github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// wideProducts are the products of 1 to 8 rows of activations with stored weights, for AVX-512. They
// accumulate in the same order, so that a token's result does not depend on what it is batched with.
var wideProducts = func() []routine {
	var rs []routine
	for _, f := range formats {
		for vectors := 1; vectors <= 8; vectors++ {
			write := panelProduct
			if vectors == 1 {
				write = wideProduct
			}
			rs = append(rs, routine{fmt.Sprintf("product%d_%s_avx512", vectors, strings.ToLower(f.name)), func(a *asm) { a.wide = true; write(a, f, vectors) }})
		}
	}
	return rs
}()

func wideProduct(a *asm, f format, vectors int) {
	name := fmt.Sprintf("product%d%sAVX512", vectors, f.name)
	a.begin(name, "func(s []float32, stride int, q []float32, k, next []byte, n, dim int)",
		productDoc(name, "k[j*dim+i]", vectors),
		"", fmt.Sprintf("for dim a multiple of 16. It prefetches next, at most %d*n*dim bytes of it.", f.bytes))
	a.products(f, vectors, min(4, 16/vectors), false)
}

// productDoc says what a routine does, with weight an element of the weights.
func productDoc(name, weight string, vectors int) string {
	return fmt.Sprintf("%s is\n\n\tfor h := range %d {\n\t\tfor j := range n {\n\t\t\tfor i := range dim {\n\t\t\t\ts[h*stride+j] += q[h*dim+i] * %s // from 0\n\t\t\t}\n\t\t}\n\t}", name, vectors, weight)
}

func panelProduct(a *asm, f format, vectors int) {
	keys := 4
	if vectors > 4 { // 16 sums at the most
		keys = 2
	}
	name := fmt.Sprintf("product%d%sAVX512", vectors, f.name)
	a.begin(name, "func(s []float32, stride int, q []float32, k, next []byte, n, "+panelParameters+")",
		panelDoc(name, "k[j*dim+i]", vectors),
		"", fmt.Sprintf("from, to and dim are multiples of 16. It prefetches next, at most %d*n*(to-from) bytes of it.", f.bytes))
	p, from, columns := a.panel()
	s, stride, q, k := a.ptr("s"), a.integer("stride"), a.ptr("q"), a.ptr("k")
	next, limit := a.ahead()
	n, row := a.integer("n"), a.integer("dim")
	a.SHLQ(operand.U8(2), stride)
	size := operand.U8(uint64(f.bytes / 2))                // shifts elements to bytes
	wider := 4 / f.bytes                                   // how many times the bytes of a row the activations have
	width, skip := a.AllocLocal(8), a.slot(a.Param("dim")) // bytes of a row in the panel, and of the rest
	a.LEAQ(atIndex(q, from, 4, 0), q)
	a.LEAQ(atIndex(k, from, uint8(f.bytes), 0), k)
	a.SHLQ(size, columns)
	a.MOVQ(columns, width)
	a.SHLQ(size, row)
	a.NEGQ(columns)
	a.ADDQ(row, columns)
	a.MOVQ(columns, skip)
	units := a.multiples(row, max(vectors, keys))
	sums := func(keys int) []reg.VecVirtual {
		acc, step := p.begin(vectors*keys), 16*f.bytes
		left := a.GP64()
		a.MOVQ(width, left)
		a.repeat(left, step, func() {
			a.multiply(f, strided(k, units, 1, keys), strided(q, units, uint8(wider), vectors), acc)
			a.prefetch(next, limit, keys*step)
			if keys == 4 { // few tokens: the next rows come from the second cache into the first
				near := a.GP64()
				a.LEAQ(atIndex(k, row, 4, 0), near)
				for _, m := range strided(near, units, 1, keys) {
					a.PREFETCHT0(m)
				}
			}
			a.ADDQ(operand.U32(step), k)
			a.ADDQ(operand.U32(64), q)
		})
		for range wider {
			a.SUBQ(width, q)
		}
		a.ADDQ(skip, k)
		return acc
	}
	a.repeat(n, keys, func() {
		acc := sums(keys)
		p.end(acc, func() { a.spread(a.laneSums(acc), s, stride, vectors, keys) })
		a.ADDQ(operand.U32(keys*4), s)
		for range keys - 1 {
			a.ADDQ(row, k)
		}
	})
	a.repeat(n, 1, func() {
		acc := sums(1)
		p.end(acc, func() {
			out := a.copyOf(s)
			for _, v := range acc {
				a.laneSum(v)
				a.VMOVSS(v.AsX(), at(out, 0))
				a.ADDQ(stride, out)
			}
		})
		a.ADDQ(operand.U32(4), s)
	})
	a.VZEROUPPER()
	a.RET()
}
