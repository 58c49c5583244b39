package main

import (
	"fmt"

	"github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// A narrowFormat is how a routine for AVX2 reads blocks of quantized weights, which begin with a half, the scale that multiplies their sum.
type narrowFormat struct {
	name     string
	elements int
	bytes    int
	steps    int
	// step is a step of a block at m: some vectors of eight weights, without the scale, and where in the block they belong.
	step func(a *asm, m operand.Mem, i int) (weights []reg.VecVirtual, places []int)
}

var narrowFormats = []narrowFormat{
	{"Q8_0", 32, 34, 4, func(a *asm, m operand.Mem, i int) ([]reg.VecVirtual, []int) {
		v := a.YMM()
		a.VPMOVSXBD(moved(m, 2+8*i), v)
		a.VCVTDQ2PS(v, v)
		return []reg.VecVirtual{v}, []int{8 * i}
	}},
	{"Q4_0", 32, 18, 2, func(a *asm, m operand.Mem, i int) ([]reg.VecVirtual, []int) {
		low, high := a.YMM(), a.YMM()
		a.VPMOVZXBD(moved(m, 2+8*i), high)
		a.VPAND(a.words("fifteen", func(int) uint32 { return 15 }), high, low)
		a.VPSRLD(operand.U8(4), high, high)
		v := []reg.VecVirtual{low, high}
		for _, v := range v {
			a.VPSUBD(a.words("eight", func(int) uint32 { return 8 }), v, v)
			a.VCVTDQ2PS(v, v)
		}
		return v, []int{8 * i, 16 + 8*i}
	}},
}

// narrowQuants are products of 1, 2 or 4 rows of activations with quantized weights, for AVX2. They add up in the same order, so
// that a token's result does not depend on what it is batched with.
var narrowQuants = func() []routine {
	var rs []routine
	for _, f := range narrowFormats {
		for _, vectors := range []int{1, 2, 4} {
			rs = append(rs, routine{fmt.Sprintf("product%d_%s", vectors, blockFormat{name: f.name}.file()), func(a *asm) { narrowProduct(a, f, vectors) }})
		}
	}
	return rs
}()

func narrowProduct(a *asm, f narrowFormat, vectors int) {
	keys := 4 / vectors
	name := fmt.Sprintf("product%d%sAVX2", vectors, f.name)
	a.begin(name, "func(s []float32, stride int, q []float32, k, next []byte, n, dim int, halves *[65536]float32)",
		name+" is", "",
		fmt.Sprintf("\tfor h := range %d {\n\t\tfor j := range n {\n\t\t\tfor i := range dim {\n\t\t\t\ts[h*stride+j] += q[h*dim+i] * k[j*dim+i] // from 0\n\t\t\t}\n\t\t}\n\t}", vectors),
		"", fmt.Sprintf("for dim a multiple of %d. It prefetches next, about as many bytes of it as k has at most.", f.elements))
	s, stride, q, k := a.ptr("s"), a.integer("stride"), a.ptr("q"), a.ptr("k")
	next, limit := a.ahead() // there are too few registers to keep it in one
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
		acc := a.zeroed(keys * vectors)
		stored, queries := strided(k, rows, 1, keys), strided(q, units, 1, vectors)
		left := a.copyOf(row)
		a.repeat(left, f.bytes, func() {
			a.narrowBlock(f, stored, queries, acc, halves)
			for line := range (keys*f.bytes + cacheLine - 1) / cacheLine {
				a.PREFETCHT1(at(next, line*cacheLine))
			}
			a.ADDQ(operand.U32(keys*f.bytes), next)
			a.CMPQ(next, limit)
			a.CMOVQHI(limit, next)
			a.ADDQ(operand.U32(f.bytes), k)
			a.ADDQ(operand.U32(4*f.elements), q)
		})
		a.SUBQ(activations, q)
		for range keys - 1 {
			a.ADDQ(row, k)
		}
		return acc
	}
	for _, take := range []int{keys, 1} {
		a.repeat(n, take, func() {
			acc, out := sums(take), a.copyOf(s)
			for h := range vectors {
				for j := range take {
					v := acc[j*vectors+h]
					a.sum(v)
					a.VMOVSS(v.AsX(), at(out, 4*j))
				}
				if h+1 < vectors {
					a.ADDQ(stride, out)
				}
			}
			a.ADDQ(operand.U32(4*take), s)
		})
		if keys == 1 {
			break
		}
	}
	a.VZEROUPPER()
	a.RET()
}

// narrowBlock adds a block of the rows stored, times the queries, to the sums acc.
func (a *asm) narrowBlock(f narrowFormat, stored, queries []operand.Mem, acc []reg.VecVirtual, halves reg.GPVirtual) {
	vectors := len(queries)
	parts := a.zeroed(len(acc)) // without their scales
	for i := range f.steps {
		shared := map[operand.Mem]reg.VecVirtual{}
		for j, m := range stored {
			weights, places := f.step(a, m, i)
			for w, v := range weights {
				for h, m := range queries {
					x := moved(m, 4*places[w])
					var from operand.Op = x
					if len(stored) > 1 {
						if _, loaded := shared[x]; !loaded {
							shared[x] = a.YMM()
							a.VMOVUPS(x, shared[x])
						}
						from = shared[x]
					}
					a.VFMADD231PS(from, v, parts[j*vectors+h])
				}
			}
		}
	}
	for j, m := range stored {
		scale, d := a.YMM(), a.GP64()
		a.MOVWQZX(m, d)
		a.VBROADCASTSS(atIndex(halves, d, 4, 0), scale)
		for h := range vectors {
			a.VFMADD231PS(scale, parts[j*vectors+h], acc[j*vectors+h])
		}
	}
}
