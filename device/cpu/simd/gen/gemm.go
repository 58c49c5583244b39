package main

import (
	"github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// gemms are the matrix kernels.
var gemms = []routine{{"gemm6x16", gemm}, {"gemm12x32_avx512", wideGEMM}}

// wideGEMM keeps 12 rows of two vectors in registers: 24 accumulators, two vectors of b and a broadcast.
func wideGEMM(a *asm) {
	const rows, cols, panel = 12, 2, 6
	a.wide = true
	a.begin("gemm12x32AVX512", "func(c []float32, stride int, a, b []float32, k int, add bool)",
		"gemm12x32AVX512 is", "",
		"\tfor r := range 12 {\n\t\tfor j := range 32 {\n\t\t\tsum := float32(0)\n\t\t\tfor i := range k {\n\t\t\t\tsum += a[r/6*6*k+i*6+r%6] * b[j/16*16*k+i*16+j%16]\n\t\t\t}\n"+
			"\t\t\tif add {\n\t\t\t\tsum += c[r*stride+j]\n\t\t\t}\n\t\t\tc[r*stride+j] = sum\n\t\t}\n\t}")
	pa, pb, k := [2]reg.GPVirtual{a.ptr("a")}, [2]reg.GPVirtual{a.ptr("b")}, a.integer("k")
	pa[1], pb[1] = a.GP64(), a.GP64()
	a.LEAQ(atIndex(k, k, 2, 0), pa[1])
	a.LEAQ(atIndex(pa[0], pa[1], 8, 0), pa[1])
	a.MOVQ(k, pb[1])
	a.SHLQ(operand.U8(6), pb[1])
	a.ADDQ(pb[0], pb[1])
	c, stride := a.ptr("c"), a.integer("stride") // ask for the tile, whose rows may lie far apart
	for range rows {
		a.PREFETCHT0(at(c, 0))
		a.PREFETCHT0(at(c, 64))
		a.LEAQ(atIndex(c, stride, 4, 0), c)
	}
	acc := a.zeroed(rows * cols)
	step := func(depth int) {
		for u := range depth {
			b := [cols]reg.VecVirtual{a.ZMM(), a.ZMM()}
			for j, v := range b {
				a.VMOVUPS(at(pb[j], u*64), v)
			}
			for r := range rows {
				x := a.ZMM()
				a.VBROADCASTSS(at(pa[r/panel], (u*panel+r%panel)*4), x)
				for j, v := range b {
					a.VFMADD231PS(v, x, acc[r*cols+j])
				}
			}
		}
		for i := range 2 {
			a.ADDQ(operand.U32(depth*panel*4), pa[i])
			a.ADDQ(operand.U32(depth*64), pb[i])
		}
	}
	a.repeat(k, 4, func() { step(4) })
	a.repeat(k, 1, func() { step(1) })
	a.storeTile(acc, rows, cols)
}

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
	a.storeTile(acc, rows, cols)
}

// storeTile writes accumulators [rows][cols] to the parameter c, or adds them to it, and returns.
func (a *asm) storeTile(acc []reg.VecVirtual, rows, cols int) {
	c, stride := a.ptr("c"), a.integer("stride")
	a.SHLQ(operand.U8(2), stride)
	add := a.GP8()
	a.Load(a.Param("add"), add)
	store := func(accumulate bool) {
		for r := range rows {
			for j := range cols {
				m, v := at(c, j*a.lanes()*4), acc[r*cols+j]
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
