package main

import (
	"github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// gemms are the matrix kernels.
var gemms = []routine{{"gemm6x16", gemm}}

// gemm keeps 6 rows of two vectors in registers: 12 accumulators, two vectors of b and a broadcast.
func gemm(a *asm) {
	const rows, cols = 6, 2
	a.begin("gemm6x16AVX2", "func(c []float32, stride int, a, b []float32, k int, add bool)",
		"gemm6x16AVX2 is", "",
		"\tfor r := range 6 {\n\t\tfor j := range 16 {\n\t\t\tsum := float32(0)\n\t\t\tfor i := range k {\n\t\t\t\tsum += a[i*6+r] * b[i*16+j]\n\t\t\t}\n"+
			"\t\t\tif add {\n\t\t\t\tsum += c[r*stride+j]\n\t\t\t}\n\t\t\tc[r*stride+j] = sum\n\t\t}\n\t}")
	pa, pb, k := a.ptr("a"), a.ptr("b"), a.integer("k")
	acc := a.zeroed(rows * cols)
	step := func(depth int) {
		for u := range depth {
			b := []reg.VecVirtual{a.YMM(), a.YMM()}
			for j, v := range b {
				a.VMOVUPS(at(pb, (u*cols+j)*lanes*4), v)
			}
			for r := range rows {
				x := a.YMM()
				a.VBROADCASTSS(at(pa, (u*rows+r)*4), x)
				for j, v := range b {
					a.VFMADD231PS(v, x, acc[r*cols+j])
				}
			}
		}
		a.ADDQ(operand.U32(depth*rows*4), pa)
		a.ADDQ(operand.U32(depth*cols*lanes*4), pb)
	}
	a.repeat(k, 4, func() { step(4) })
	a.repeat(k, 1, func() { step(1) })
	c, stride := a.ptr("c"), a.integer("stride")
	a.SHLQ(operand.U8(2), stride)
	add := a.GP8()
	a.Load(a.Param("add"), add)
	store := func(accumulate bool) {
		for r := range rows {
			for j := range cols {
				m, v := at(c, j*lanes*4), acc[r*cols+j]
				if accumulate {
					a.VADDPS(m, v, v)
				}
				a.VMOVUPS(v, m)
			}
			if r < rows-1 {
				a.ADDQ(stride, c)
			}
		}
		a.VZEROUPPER()
		a.RET()
	}
	a.TESTB(add, add)
	a.JNE(operand.LabelRef("accumulate"))
	store(false)
	a.Label("accumulate")
	c2 := a.ptr("c")
	c = c2
	store(true)
}
