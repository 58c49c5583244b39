package main

import (
	"fmt"

	"github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// affineNumbers is how many scales, and then how many biases, lie together for affineProduct.
const affineNumbers = 4096

// affineProducts are the products of 1, 2, 4 or 8 rows of activations with MLX's groups.
var affineProducts = func() []routine {
	var rs []routine
	for _, bits := range []int{4, 8} {
		for _, vectors := range []int{1, 2, 4, 8} {
			rs = append(rs, routine{fmt.Sprintf("product%d_affine%d_avx512", vectors, bits), func(a *asm) { a.wide = true; affineProduct(a, bits, vectors) }})
		}
	}
	return rs
}()

func affineProduct(a *asm, bits, vectors int) {
	keys := min(4, 16/vectors)
	name := fmt.Sprintf("product%dAffine%dAVX512", vectors, bits)
	a.begin(name, fmt.Sprintf("func(s []float32, stride int, q []float32, k, next []byte, n, dim, group int, numbers *[2][%d]float32)", affineNumbers),
		name+" is", "",
		fmt.Sprintf("\tfor h := range %d {\n\t\tfor j := range n {\n\t\t\tfor i := range dim {\n\t\t\t\tg := (j*dim + i) / group\n\t\t\t\ts[h*stride+j] += q[h*dim+i] * (numbers[0][g]*k[j*dim+i] + numbers[1][g]) // from 0\n\t\t\t}\n\t\t}\n\t}", vectors),
		"", fmt.Sprintf("for k of %d bits and group a multiple of 32. It prefetches next, about as many bytes of it as k has at most.", bits))
	parameter := func(name string) operand.Mem {
		p, err := a.Param(name).Resolve()
		if err != nil {
			panic(err) // a mistake in this program: the signature has no such parameter
		}
		return p.Addr
	}
	s, stride, q, k := a.ptr("s"), a.integer("stride"), a.ptr("q"), a.ptr("k")
	next, limit := a.ahead() // there are too few registers to keep it in one
	a.SHLQ(operand.U8(2), stride)
	activations := a.integer("dim") // bytes of a row of them
	row, perRow := a.copyOf(activations), a.GP64()
	a.SHLQ(operand.U8(2), activations)
	if bits == 4 {
		a.SHRQ(operand.U8(1), row) // bytes of a row of weights
	}
	a.XORQ(perRow, perRow) // bytes of the scales of a row
	left := a.copyOf(activations)
	group := parameter("group")
	a.SHLQ(operand.U8(2), group)
	top, end := a.label("count"), a.label("counted")
	a.CMPQ(left, group)
	a.JLT(operand.LabelRef(end))
	a.Label(top)
	a.ADDQ(operand.U32(4), perRow)
	a.SUBQ(group, left)
	a.CMPQ(left, group)
	a.JGE(operand.LabelRef(top))
	a.Label(end)
	numbers := a.integer("numbers")
	units, rows, scaleRows := a.multiples(activations, vectors), a.multiples(row, keys), a.multiples(perRow, keys)
	n := parameter("n")
	var upper reg.OpmaskVirtual
	if bits == 4 {
		upper = a.K()
		mask := a.GP32()
		a.MOVL(operand.U32(0xff00), mask)
		a.KMOVW(mask, upper)
	}
	// sums is the products of some rows, over all their groups.
	sums := func(keys int) []reg.VecVirtual {
		acc := a.zeroed(vectors * keys)
		stored, scales := strided(k, rows, 1, keys), strided(numbers, scaleRows, 1, keys)
		left := a.copyOf(perRow)
		a.repeat(left, 4, func() {
			tables, biases := make([]reg.VecVirtual, keys), make([]reg.VecVirtual, keys)
			for j, m := range scales {
				tables[j], biases[j] = a.ZMM(), a.ZMM()
				a.VBROADCASTSS(m, tables[j])
				a.VBROADCASTSS(moved(m, 4*affineNumbers), biases[j])
				if bits == 4 { // the sixteen values, to look up
					a.VFMADD132PS(a.list("fromZero", func(i int) float32 { return float32(i) }), biases[j], tables[j])
				}
			}
			a.ADDQ(operand.U32(4), numbers)
			inside := a.GP64()
			a.MOVQ(group, inside)
			a.repeat(inside, 4*32, func() {
				for i := range 2 {
					w := make([]reg.VecVirtual, keys)
					for j, m := range stored {
						w[j] = a.ZMM()
						if bits == 4 {
							// Two words have eight elements each: every lane shifts its own to the bottom.
							a.VPBROADCASTD(moved(m, 8*i), w[j])
							a.VPBROADCASTD(moved(m, 8*i+4), upper, w[j])
							a.VPSRLVD(a.words("shifts4", func(i int) uint32 { return uint32(i % 8 * 4) }), w[j], w[j])
							a.VPERMPS(tables[j], w[j], w[j])
						} else {
							a.VPMOVZXBD(moved(m, 16*i), w[j])
							a.VCVTDQ2PS(w[j], w[j])
							a.VFMADD213PS(biases[j], tables[j], w[j])
						}
					}
					for h, m := range strided(q, units, 1, vectors) {
						x := a.ZMM()
						a.VMOVUPS(moved(m, 64*i), x)
						for j := range keys {
							a.VFMADD231PS(w[j], x, acc[h*keys+j])
						}
					}
				}
				for disp := 0; disp < keys*4*bits; disp += cacheLine {
					a.PREFETCHT1(at(next, disp))
				}
				a.ADDQ(operand.U32(keys*4*bits), next)
				a.CMPQ(next, limit)
				a.CMOVQHI(limit, next)
				a.ADDQ(operand.U32(4*bits), k)
				a.ADDQ(operand.U32(4*32), q)
			})
		})
		a.SUBQ(activations, q)
		return acc
	}
	// while runs body while n rows of them are left.
	while := func(rows int, body func()) {
		top, end := a.label("rows"), a.label("done")
		a.CMPQ(n, operand.U32(rows))
		a.JLT(operand.LabelRef(end))
		a.Label(top)
		body()
		a.SUBQ(operand.U32(rows), n)
		a.CMPQ(n, operand.U32(rows))
		a.JGE(operand.LabelRef(top))
		a.Label(end)
	}
	while(keys, func() {
		total := a.laneSums(sums(keys))
		a.spread(total, s, stride, vectors, keys)
		a.ADDQ(operand.U32(keys*4), s)
		for range keys - 1 {
			a.ADDQ(row, k)
			a.ADDQ(perRow, numbers)
		}
	})
	while(1, func() {
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
