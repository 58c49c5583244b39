package main

import (
	"fmt"

	"github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// A blockFormat is how a routine reads blocks of quantized weights.
type blockFormat struct {
	name     string
	elements int
	bytes    int
	// open reads what holds for a whole block at m, with halves as a table of float32; piece is then sixteen of its
	// weights, the pieces in their order.
	open  func(a *asm, m operand.Mem, halves reg.GPVirtual) any
	piece func(a *asm, m operand.Mem, opened any, i int) reg.VecVirtual
}

var blockFormats = []blockFormat{
	{"Q8_0", 32, 34, openScale, func(a *asm, m operand.Mem, opened any, i int) reg.VecVirtual {
		v := a.ZMM()
		a.VPMOVSXBD(moved(m, 2+16*i), v)
		a.VCVTDQ2PS(v, v)
		a.VMULPS(opened.(reg.VecVirtual), v, v)
		return v
	}},
	{"Q4_0", 32, 18, func(a *asm, m operand.Mem, halves reg.GPVirtual) any {
		// The sixteen values, scaled, to look up.
		table, nibbles := openScale(a, m, halves).(reg.VecVirtual), a.ZMM()
		a.VMULPS(a.list("fromEight", func(i int) float32 { return float32(i - 8) }), table, table)
		a.VPMOVZXBD(moved(m, 2), nibbles)
		return [2]reg.VecVirtual{table, nibbles}
	}, func(a *asm, m operand.Mem, opened any, i int) reg.VecVirtual {
		table, nibbles := opened.([2]reg.VecVirtual)[0], opened.([2]reg.VecVirtual)[1]
		if i == 1 {
			a.VPSRLD(operand.U8(4), nibbles, nibbles)
		}
		v := a.ZMM()
		a.VPERMPS(table, nibbles, v) // it looks at the lowest four bits only
		return v
	}},
}

// openScale broadcasts the half that begins a block. The table costs no port that multiplies.
func openScale(a *asm, m operand.Mem, halves reg.GPVirtual) any {
	d, v := a.GP64(), a.ZMM()
	a.MOVWQZX(m, d)
	a.VBROADCASTSS(atIndex(halves, d, 4, 0), v)
	return v
}

// wideQuants are products of 1, 2, 4 or 8 rows of activations with quantized weights, and what these stand for.
var wideQuants = func() []routine {
	var rs []routine
	for _, f := range blockFormats {
		for _, vectors := range []int{1, 2, 4, 8} {
			rs = append(rs, routine{fmt.Sprintf("product%d_%s_avx512", vectors, f.file()), func(a *asm) { a.wide = true; quantProduct(a, f, vectors) }})
		}
		rs = append(rs, routine{fmt.Sprintf("from_%s_avx512", f.file()), func(a *asm) { a.wide = true; fromQuant(a, f) }})
	}
	return rs
}()

// file is the format's part of file names.
func (f blockFormat) file() string {
	b := []byte(f.name)
	for i, c := range b {
		if c >= 'A' && c <= 'Z' {
			b[i] = c + 'a' - 'A'
		}
	}
	return string(b)
}

func fromQuant(a *asm, f blockFormat) {
	name := fmt.Sprintf("from%sAVX512", f.name)
	a.begin(name, "func(dst []float32, src []byte, halves *[65536]float32)",
		name+" is", "", fmt.Sprintf("\tfor i := range dst {\n\t\tdst[i] = src[i] // as %s\n\t}", f.name),
		"", fmt.Sprintf("for len(dst) a multiple of %d.", f.elements))
	dst, src, n := a.ptr("dst"), a.ptr("src"), a.length("dst")
	halves := a.integer("halves")
	a.repeat(n, f.elements, func() {
		opened := f.open(a, at(src, 0), halves)
		for i := range f.elements / 16 {
			a.VMOVUPS(f.piece(a, at(src, 0), opened, i), at(dst, 64*i))
		}
		a.ADDQ(operand.U32(f.bytes), src)
		a.ADDQ(operand.U32(4*f.elements), dst)
	})
	a.VZEROUPPER()
	a.RET()
}

func quantProduct(a *asm, f blockFormat, vectors int) {
	keys := min(4, 16/vectors)
	name := fmt.Sprintf("product%d%sAVX512", vectors, f.name)
	a.begin(name, "func(s []float32, stride int, q []float32, k, next []byte, n, dim int, halves *[65536]float32)",
		name+" is", "",
		fmt.Sprintf("\tfor h := range %d {\n\t\tfor j := range n {\n\t\t\tfor i := range dim {\n\t\t\t\ts[h*stride+j] += q[h*dim+i] * k[j*dim+i] // from 0\n\t\t\t}\n\t\t}\n\t}", vectors),
		"", fmt.Sprintf("for dim a multiple of %d. It prefetches next, about as many bytes of it as k has at most.", f.elements))
	s, stride, q, k := a.ptr("s"), a.integer("stride"), a.ptr("q"), a.ptr("k")
	next, last := a.ahead()
	slot, err := a.Param("next").Len().Resolve()
	if err != nil {
		panic(err) // a mistake in this program: the signature has no such parameter
	}
	limit := slot.Addr // there are too few registers to keep it in one
	a.MOVQ(last, limit)
	n, dim, halves := a.integer("n"), a.integer("dim"), a.integer("halves")
	a.SHLQ(operand.U8(2), stride)
	activations := a.copyOf(dim) // bytes of a row of them
	a.SHLQ(operand.U8(2), activations)
	units := a.multiples(activations, vectors)
	row := a.GP64() // bytes of a row of weights
	a.XORQ(row, row)
	a.repeat(dim, f.elements, func() { a.ADDQ(operand.U32(f.bytes), row) })
	rows := a.multiples(row, keys)
	// sums is the products of some rows, over all their blocks.
	sums := func(keys int) []reg.VecVirtual {
		acc := a.zeroed(vectors * keys)
		stored := strided(k, rows, 1, keys)
		left := a.copyOf(row)
		a.repeat(left, f.bytes, func() {
			opened := make([]any, keys)
			for j, m := range stored {
				opened[j] = f.open(a, m, halves)
			}
			for i := range f.elements / 16 {
				w := make([]reg.VecVirtual, keys)
				for j, m := range stored {
					w[j] = f.piece(a, m, opened[j], i)
				}
				for h, m := range strided(q, units, 1, vectors) {
					x := a.ZMM()
					a.VMOVUPS(moved(m, 64*i), x)
					for j := range keys {
						a.VFMADD231PS(w[j], x, acc[h*keys+j])
					}
				}
			}
			for disp := 0; disp < keys*f.bytes; disp += cacheLine {
				a.PREFETCHT1(at(next, disp))
			}
			a.ADDQ(operand.U32(keys*f.bytes), next)
			a.CMPQ(next, limit)
			a.CMOVQHI(limit, next)
			a.ADDQ(operand.U32(f.bytes), k)
			a.ADDQ(operand.U32(4*f.elements), q)
		})
		a.SUBQ(activations, q)
		return acc
	}
	a.repeat(n, keys, func() {
		total := a.laneSums(sums(keys))
		a.spread(total, s, stride, vectors, keys)
		a.ADDQ(operand.U32(keys*4), s)
		for range keys - 1 {
			a.ADDQ(row, k)
		}
	})
	a.repeat(n, 1, func() {
		out := a.copyOf(s)
		for _, v := range sums(1) {
			a.laneSum(v)
			a.VMOVSS(v.AsX(), at(out, 0))
			a.ADDQ(stride, out)
		}
		a.ADDQ(operand.U32(4), s)
	})
	a.VZEROUPPER()
	a.RET()
}
