package main

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// tiles are the kernels of prefill attention. Queries lie in the lanes, 24 of them in three vectors,
// so that maximum and sum of a query's scores need no sum across lanes, and keys and values are
// broadcast from their own layout. Four keys (or four elements of a value) times three vectors are 12
// accumulators. AVX-512 has vectors twice as long, and registers for 24 accumulators: eight keys.
var tiles = []routine{
	{"tile_scores", tileScores},
	{"tile_softmax", tileSoftmax},
	{"tile_values", tileValues},
	{"tile_scores_avx512", func(a *asm) { a.wide = true; tileScores(a) }},
	{"tile_softmax_avx512", func(a *asm) { a.wide = true; tileSoftmax(a) }},
	{"tile_values_avx512", func(a *asm) { a.wide = true; tileValues(a) }},
}

const tileVectors = 3

// tileLanes is the number of queries.
func (a *asm) tileLanes() int { return tileVectors * a.lanes() }

// tileRows is the number of keys, or elements of a value, at a time.
func (a *asm) tileRows() int {
	if a.wide {
		return 8
	}
	return 4
}

// tileDoc is documentation of 24 lanes, for as many as there are.
func (a *asm) tileDoc(doc string) string {
	return strings.ReplaceAll(doc, "24", strconv.Itoa(a.tileLanes()))
}

func tileScores(a *asm) {
	name, rows, lanes := "tileScores"+a.suffix(), a.tileRows(), a.lanes()
	a.begin(name, "func(s, k, q []float32, n, dim int)",
		name+" is", "",
		a.tileDoc("\tfor j := range n {\n\t\tfor lane := range 24 {\n\t\t\tfor i := range dim {\n\t\t\t\ts[j*24+lane] += k[j*dim+i] * q[i*24+lane] // from 0\n\t\t\t}\n\t\t}\n\t}"),
		"", fmt.Sprintf("for n a multiple of %d and dim of 2.", rows))
	s, k, q0 := a.ptr("s"), a.ptr("k"), a.ptr("q")
	n, dim := a.integer("n"), a.integer("dim")
	stride, stride3 := a.GP64(), a.GP64()
	a.MOVQ(dim, stride)
	a.SHLQ(operand.U8(2), stride)
	a.LEAQ(atIndex(stride, stride, 2, 0), stride3)
	a.repeat(n, rows, func() {
		q, left := a.copyOf(q0), a.copyOf(dim)
		keys := []reg.GPVirtual{k} // four rows each
		for len(keys)*4 < rows {
			next := a.GP64()
			a.LEAQ(atIndex(keys[len(keys)-1], stride, 4, 0), next)
			keys = append(keys, next)
		}
		acc := a.zeroed(rows * tileVectors)
		a.repeat(left, 2, func() {
			for u := range 2 {
				v := a.vectors(q, u*a.tileLanes()*4)
				for i, k := range keys {
					for r, m := range []operand.Mem{at(k, u*4), atIndex(k, stride, 1, u*4), atIndex(k, stride, 2, u*4), atIndex(k, stride3, 1, u*4)} {
						a.fma(m, v, acc[(i*4+r)*tileVectors:])
					}
				}
			}
			a.ADDQ(operand.U32(2*a.tileLanes()*4), q)
			for _, k := range keys {
				a.ADDQ(operand.U32(2*4), k)
			}
		})
		for i, v := range acc {
			a.VMOVUPS(v, at(s, i*lanes*4))
		}
		a.ADDQ(operand.U32(rows*a.tileLanes()*4), s)
		if last := keys[len(keys)-1]; last != k {
			a.MOVQ(last, k)
		}
		a.ADDQ(stride3, k) // the last of the rows' ends is the next one's beginning
	})
	a.VZEROUPPER()
	a.RET()
}

func tileValues(a *asm) {
	name, rows, lanes := "tileValues"+a.suffix(), a.tileRows(), a.lanes()
	a.begin(name, "func(o, v, p, f []float32, n, dim int)",
		name+" is", "",
		a.tileDoc("\tfor i := range dim {\n\t\tfor lane := range 24 {\n\t\t\to[i*24+lane] *= f[lane]\n\t\t\tfor j := range n {\n\t\t\t\to[i*24+lane] += v[j*dim+i] * p[j*24+lane]\n\t\t\t}\n\t\t}\n\t}"),
		"", fmt.Sprintf("for dim a multiple of %d.", rows))
	o, v0, p0, f := a.ptr("o"), a.ptr("v"), a.ptr("p"), a.ptr("f")
	n, dim := a.integer("n"), a.integer("dim")
	stride := a.GP64()
	a.MOVQ(dim, stride)
	a.SHLQ(operand.U8(2), stride)
	a.repeat(dim, rows, func() {
		v, p, left := a.copyOf(v0), a.copyOf(p0), a.copyOf(n)
		acc := make([]reg.VecVirtual, 0, rows*tileVectors)
		factors := a.vectors(f, 0)
		for r := range rows {
			for t, factor := range factors {
				x := a.vec()
				a.VMULPS(at(o, (r*tileVectors+t)*lanes*4), factor, x)
				acc = append(acc, x)
			}
		}
		a.repeat(left, 1, func() {
			x := a.vectors(p, 0)
			for r := range rows {
				a.fma(at(v, r*4), x, acc[r*tileVectors:])
			}
			a.ADDQ(operand.U32(a.tileLanes()*4), p)
			a.ADDQ(stride, v)
		})
		for i, x := range acc {
			a.VMOVUPS(x, at(o, i*lanes*4))
		}
		a.ADDQ(operand.U32(rows*a.tileLanes()*4), o)
		a.ADDQ(operand.U32(rows*4), v0)
	})
	a.VZEROUPPER()
	a.RET()
}

// vectors loads three vectors.
func (a *asm) vectors(base reg.GPVirtual, disp int) []reg.VecVirtual {
	v := make([]reg.VecVirtual, tileVectors)
	for i := range v {
		v[i] = a.vec()
		a.VMOVUPS(at(base, disp+i*a.lanes()*4), v[i])
	}
	return v
}

// fma adds the element at m times x to three accumulators.
func (a *asm) fma(m operand.Mem, x, acc []reg.VecVirtual) {
	b := a.vec()
	a.VBROADCASTSS(m, b)
	for i, v := range x {
		a.VFMADD231PS(v, b, acc[i])
	}
}

func tileSoftmax(a *asm) {
	name, lanes := "tileSoftmax"+a.suffix(), a.lanes()
	a.begin(name, "func(s, m, l, f []float32, n int)",
		a.tileDoc(name+" is, for each lane of 24,"), "",
		"\tnext := m\n\tfor j := range n {\n\t\tnext = max(next, s[j])\n\t}\n\tif next == -Inf {\n\t\tf, base = 0, 0\n\t} else {\n\t\tf, base = exp(m-next), next\n\t}\n\tm, l = next, l*f\n"+
			"\tfor j := range n {\n\t\ts[j] = exp(s[j] - base)\n\t\tl += s[j]\n\t}",
		"", a.tileDoc("with s [n][24] and m, l, f [24]."))
	s, m, l, f, n := a.ptr("s"), a.ptr("m"), a.ptr("l"), a.ptr("f"), a.integer("n")
	if a.wide {
		a.holdExp()
	}
	next := a.vectors(m, 0)
	p, left := a.copyOf(s), a.copyOf(n)
	a.repeat(left, 1, func() {
		for t, v := range next {
			a.VMAXPS(at(p, t*lanes*4), v, v)
		}
		a.ADDQ(operand.U32(a.tileLanes()*4), p)
	})
	base := make([]reg.VecVirtual, tileVectors)
	for t, v := range next {
		base[t] = a.vec()
		if a.wide {
			finite := a.K()
			a.VCMPPS(operand.U8(4), a.splat("minusInf", minusInf), v, finite)
			a.VMOVAPS_Z(v, finite, base[t])
		} else {
			a.VCMPPS(operand.U8(4), a.splat("minusInf", minusInf), v, base[t])
			a.VANDPS(v, base[t], base[t])
		}
		x := a.vec()
		a.VMOVUPS(at(m, t*lanes*4), x)
		a.VSUBPS(base[t], x, x)
		a.exp(x)
		a.VMOVUPS(x, at(f, t*lanes*4))
		a.VMOVUPS(v, at(m, t*lanes*4))
	}
	sums := a.zeroed(tileVectors)
	a.repeat(n, 1, func() {
		for t := range tileVectors {
			x := a.vec()
			a.VMOVUPS(at(s, t*lanes*4), x)
			a.VSUBPS(base[t], x, x)
			a.exp(x)
			a.VMOVUPS(x, at(s, t*lanes*4))
			a.VADDPS(x, sums[t], sums[t])
		}
		a.ADDQ(operand.U32(a.tileLanes()*4), s)
	})
	for t, v := range sums {
		x := a.vec()
		a.VMOVUPS(at(f, t*lanes*4), x)
		a.VFMADD231PS(at(l, t*lanes*4), x, v)
		a.VMOVUPS(v, at(l, t*lanes*4))
	}
	a.VZEROUPPER()
	a.RET()
}

// minusInf is the score of a key that a query does not see.
var minusInf = float32(math.Inf(-1))
