package main

import (
	"strings"

	"github.com/mmcloughlin/avo/operand"
)

// directProducts are the products of one row of activations with stored weights, for AVX-512, that ask for memory to be brought into the first cache at once, in the order
// in which it lies. They take few rows at a time and much of each, as the processors that they are for read memory fastest from one place after the other.
var directProducts = func() []routine {
	var rs []routine
	for _, f := range formats {
		rs = append(rs, routine{"product1_" + strings.ToLower(f.name) + "_direct_avx512", func(a *asm) { directProduct(a, f) }})
	}
	return rs
}()

const (
	directStretch = 256  // bytes of a row that are read one after the other
	directFew     = 2    // rows at a time,
	directMany    = 4    // and where rows are
	directLong    = 4096 // elements and longer: the first cache does not keep the activations of these, which more rows share then
)

func directProduct(a *asm, f format) {
	a.wide = true
	name := "product1" + f.name + "Direct"
	a.begin(name, "func(s []float32, stride int, q []float32, k, next []byte, n int, dim int)",
		name+" is", "",
		"\tfor j := range n {\n\t\tfor i := range dim {\n\t\t\ts[j] += q[i] * k[j*dim+i] // from 0\n\t\t}\n\t}",
		"", "for dim a multiple of 16, with the bits of product1"+f.name+"AVX512. It prefetches next, at most as many bytes of it as k has.")
	s, q, k := a.ptr("s"), a.ptr("q"), a.ptr("k")
	next, limit := a.ahead()
	n, row := a.integer("n"), a.integer("dim")
	long := a.copyOf(row)
	wider := 4 / f.bytes // how many times the bytes of a row the activations have
	a.SHLQ(operand.U8(uint64(f.bytes/2)), row)
	units := a.multiples(row, directMany)
	vector := 16 * f.bytes // bytes of weights that fill one as float32
	products := func(keys int) {
		acc, stored := a.zeroed(keys), strided(k, units, 1, keys)
		left := a.copyOf(row)
		step := func(bytes int) func() {
			return func() {
				for r := range keys {
					for at := 0; at < bytes; at += vector {
						x := a.ZMM()
						a.load(f, moved(stored[r], at), x)
						a.VFMADD231PS(operand.Mem{Base: q, Disp: at * wider}, x, acc[r])
					}
				}
				for line := 0; line < keys*bytes; line += cacheLine {
					a.PREFETCHT0(at(next, line))
				}
				a.advance(next, limit, keys*bytes)
				a.ADDQ(operand.U32(bytes), k)
				a.ADDQ(operand.U32(bytes*wider), q)
			}
		}
		a.repeat(left, directStretch, step(directStretch))
		a.repeat(left, vector, step(vector))
		for range wider {
			a.SUBQ(row, q)
		}
		for r, v := range acc {
			a.laneSum(v)
			a.VMOVSS(v.AsX(), at(s, 4*r))
		}
		a.ADDQ(operand.U32(4*keys), s)
		for range keys - 1 {
			a.ADDQ(row, k)
		}
	}
	few := a.label("few")
	a.CMPQ(long, operand.U32(directLong))
	a.JLE(operand.LabelRef(few))
	a.repeat(n, directMany, func() { products(directMany) })
	a.Label(few)
	a.repeat(n, directFew, func() { products(directFew) })
	a.repeat(n, 1, func() { products(1) })
	a.VZEROUPPER()
	a.RET()
}
