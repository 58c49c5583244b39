package main

import (
	"github.com/mmcloughlin/avo/attr"
	"github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// quads are scores of four heads, each of which has a quarter of a vector: four elements of a key, to be broadcast to the quarters,
// lie in memory as float32, so that sums go across four lanes rather than sixteen.
var quads = []routine{{"scores4_f16_quads_avx512", quadScores}}

const (
	quadDim  = 256 // largest number of elements in a row
	quadSpan = 64  // elements at a time
	quadKeys = 8   // keys at a time
)

func quadScores(a *asm) {
	a.wide = true
	const heads = 4
	a.Function("scores4F16QuadsAVX512") // it needs more stack than one without a check may take
	a.Pragma("noescape")
	a.SignatureExpr("func(s []float32, stride int, q []float32, k, next []byte, n, dim int)")
	a.Doc("scores4F16QuadsAVX512 is", "", "\tfor h := range 4 {", "\t\tfor j := range n {", "\t\t\tfor i := range dim {",
		"\t\t\t\ts[h*stride+j] += q[h*dim+i] * k[j*dim+i] // from 0", "\t\t\t}", "\t\t}", "\t}",
		"", "for dim a multiple of 64, up to 256. It prefetches next, at most 2*n*dim bytes of it.")
	a.Attributes(attr.Attribute(0))
	const singles, queries = 0, 4 * quadKeys * quadSpan
	base := a.GP64() // at a cache line
	a.LEAQ(a.AllocLocal(queries+4*heads*quadDim+cacheLine).Offset(cacheLine-1), base)
	a.ANDQ(operand.I8(-cacheLine), base)
	s, stride, k := a.ptr("s"), a.integer("stride"), a.ptr("k")
	row := a.integer("dim")
	a.SHLQ(operand.U8(2), stride)
	stride3 := a.GP64()
	a.LEAQ(atIndex(stride, stride, 2, 0), stride3)
	next, limit := a.ahead()

	// The queries, quad by quad, a quarter for each head.
	q, to, left := a.ptr("q"), a.GP64(), a.copyOf(row)
	a.LEAQ(at(base, queries), to)
	wide, wide3 := a.copyOf(row), a.GP64()
	a.SHLQ(operand.U8(2), wide)
	a.LEAQ(atIndex(wide, wide, 2, 0), wide3)
	a.repeat(left, 4, func() {
		x := a.ZMM()
		a.VMOVUPS(at(q, 0), x.AsX())
		a.VINSERTF32X4(operand.U8(1), atIndex(q, wide, 1, 0), x, x)
		a.VINSERTF32X4(operand.U8(2), atIndex(q, wide, 2, 0), x, x)
		a.VINSERTF32X4(operand.U8(3), atIndex(q, wide3, 1, 0), x, x)
		a.VMOVUPS(x, at(to, 0))
		a.ADDQ(operand.U8(16), q)
		a.ADDQ(operand.U8(64), to)
	})
	a.ADDQ(row, row)
	n := a.integer("n")

	// sums is the products of some keys, k being moved on behind their first elements.
	sums := func(keys int) []reg.VecVirtual {
		acc := a.zeroed(keys)
		from, left := a.GP64(), a.copyOf(row)
		a.LEAQ(at(base, queries), from)
		a.repeat(left, 2*quadSpan, func() {
			key := a.copyOf(k)
			for j := range keys {
				for v := range quadSpan / 16 {
					x := a.ZMM()
					a.VCVTPH2PS(at(key, 32*v), x)
					a.VMOVUPS(x, at(base, singles+4*(j*quadSpan+16*v)))
				}
				if j+1 < keys {
					a.ADDQ(row, key)
				}
			}
			for i := range quadSpan / 4 {
				if keys == quadKeys {
					a.prefetch(next, limit, cacheLine)
				}
				y := a.ZMM()
				a.VMOVUPS(at(from, 64*i), y)
				for j := range keys {
					x := a.ZMM()
					a.VBROADCASTF32X4(at(base, singles+4*(j*quadSpan+4*i)), x)
					a.VFMADD231PS(x, y, acc[j])
				}
			}
			a.ADDQ(operand.U32(16*quadSpan), from)
			a.ADDQ(operand.U32(2*quadSpan), k)
		})
		return acc
	}
	a.repeat(n, quadKeys, func() {
		acc := sums(quadKeys)
		for i := 0; i < quadKeys; i += 4 {
			v := acc[i : i+4]
			for pair := 0; pair < 4; pair += 2 {
				t := a.ZMM()
				a.VUNPCKHPS(v[pair+1], v[pair], t)
				a.VUNPCKLPS(v[pair+1], v[pair], v[pair])
				a.VADDPS(t, v[pair], v[pair])
			}
			t := a.ZMM()
			a.VUNPCKHPD(v[2], v[0], t)
			a.VUNPCKLPD(v[2], v[0], v[0])
			a.VADDPS(t, v[0], v[0])
			a.VMOVUPS(v[0].AsX(), at(s, 4*i))
			a.VEXTRACTF32X4(operand.U8(1), v[0], atIndex(s, stride, 1, 4*i))
			a.VEXTRACTF32X4(operand.U8(2), v[0], atIndex(s, stride, 2, 4*i))
			a.VEXTRACTF32X4(operand.U8(3), v[0], atIndex(s, stride3, 1, 4*i))
		}
		a.ADDQ(operand.U8(4*quadKeys), s)
		a.LEAQ(atIndex(k, row, 8, 0), k)
		a.SUBQ(row, k)
	})
	a.repeat(n, 1, func() {
		v := sums(1)[0]
		t := a.ZMM()
		a.VPERMILPS(operand.U8(0x4e), v, t)
		a.VADDPS(t, v, v)
		a.VPERMILPS(operand.U8(0xb1), v, t)
		a.VADDPS(t, v, v)
		a.VMOVSS(v.AsX(), at(s, 0))
		for h, m := range []operand.Mem{atIndex(s, stride, 1, 0), atIndex(s, stride, 2, 0), atIndex(s, stride3, 1, 0)} {
			x := a.XMM()
			a.VEXTRACTF32X4(operand.U8(uint64(h+1)), v, x)
			a.VMOVSS(x, m)
		}
		a.ADDQ(operand.U8(4), s)
	})
	a.VZEROUPPER()
	a.RET()
}
