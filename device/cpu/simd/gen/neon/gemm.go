package main

import (
	"fmt"
	"strings"
)

// gemms are the kernel of the matrix product, and what lays its operands out.
var gemms = []routine{
	{"gemm6x16", gemm},
	{"pack6_f32", packRows},
	{"pack16_f32", func(a *asm) { pack(a, formats[0]) }},
	{"pack16_f16", func(a *asm) { pack(a, formats[1]) }},
	{"pack16_bf16", func(a *asm) { pack(a, formats[2]) }},
}

// gemm keeps 6 rows of four vectors in registers: 24 accumulators, four vectors of b and six elements of a, each a lane.
func gemm(a *asm) {
	const rows, cols = 6, 4
	a.begin("gemm6x16NEON", "func(c []float32, stride int, a, b []float32, k int, add bool)",
		is("gemm6x16NEON", "for r := range 6 {\n\tfor j := range 16 {\n\t\tsum := float32(0)\n\t\tfor i := range k {\n\t\t\tsum += a[i*6+r] * b[i*16+j]\n\t\t}\n\t\tif add {\n\t\t\tsum += c[r*stride+j]\n\t\t}\n\t\tc[r*stride+j] = sum\n\t}\n}", ""))
	pa, pb, k := a.ptr("a"), a.ptr("b"), a.integer("k")
	acc := a.zeros(rows * cols)
	x, y, b := a.vec(), a.vec(), a.vecs(cols)
	step := func() {
		a.nextq(x, pa)
		a.line("FMOVD.P\t8(%v), F%d", pa, y)
		for j := 0; j < cols; j += 2 {
			a.line("FLDPQ.P\t32(%v), (F%d, F%d)", pb, b[j], b[j+1])
		}
		for r := range rows {
			for j, v := range b {
				if r < 4 {
					a.do(fmlaLane(acc[r*cols+j], v, x, r))
				} else {
					a.do(fmlaLane(acc[r*cols+j], v, y, r-4))
				}
			}
		}
	}
	a.repeat(k, 2, func() {
		step()
		step()
	})
	a.repeat(k, 1, step)
	c, stride, add := a.ptr("c"), a.integer("stride"), a.general()
	a.line("LSL\t$2, %v", stride)
	a.line("MOVBU\t%s, %v", a.parameter("add"), add)
	store := a.label("store")
	a.line("CBZ\t%v, %s", add, store)
	from := a.copyOf(c)
	for r := range rows {
		for j, v := range b {
			a.ldq(v, from, 16*j)
			a.do(fadd(acc[r*cols+j], acc[r*cols+j], v))
		}
		a.line("ADD\t%v, %v", stride, from)
	}
	a.mark(store)
	for r := range rows {
		for j := range cols {
			a.stq(acc[r*cols+j], c, 16*j)
		}
		a.line("ADD\t%v, %v", stride, c)
	}
}

// transpose turns four vectors, rows, into columns.
func (a *asm) transpose(v []reg) {
	t := a.vecs(4)
	a.do(trn1s(t[0], v[0], v[1]), trn2s(t[1], v[0], v[1]), trn1s(t[2], v[2], v[3]), trn2s(t[3], v[2], v[3]))
	a.do(trn1d(v[0], t[0], t[2]), trn1d(v[1], t[1], t[3]), trn2d(v[2], t[0], t[2]), trn2d(v[3], t[1], t[3]))
	a.free(t...)
}

func packRows(a *asm) {
	a.begin("pack6F32NEON", "func(dst, src []float32, stride, n int)",
		is("pack6F32NEON", "for c := range n {\n\tfor r := range 6 {\n\t\tdst[c*6+r] = src[r*stride+c]\n\t}\n}", "for n a multiple of 4."))
	dst, src, stride, n := a.ptr("dst"), a.ptr("src"), a.integer("stride"), a.integer("n")
	a.line("LSL\t$2, %v", stride)
	rows := a.rows(src, stride, 6)
	a.repeat(n, 4, func() {
		v, low, high := a.vecs(6), a.vec(), a.vec()
		for r, x := range v {
			a.nextq(x, rows[r])
		}
		a.transpose(v[:4])
		a.do(zip1s(low, v[4], v[5]), zip2s(high, v[4], v[5])) // of two columns each
		for c := range 4 {
			a.putq(v[c], dst)
			pair := []reg{low, high}[c/2]
			if c%2 == 0 {
				a.line("FMOVD.P\tF%d, 8(%v)", pair, dst)
			} else {
				a.line("VST1.P\tV%d.D[1], 8(%v)", pair, dst)
			}
		}
		a.free(v...)
		a.free(low, high)
	})
}

func pack(a *asm, f storage) {
	name := fmt.Sprintf("pack16%sNEON", f.name)
	a.begin(name, "func(dst []float32, src []byte, stride, n int)",
		is(name, "for c := range n {\n\tfor r := range 16 {\n\t\tdst[c*16+r] = src[r*stride+c] // as "+strings.ToLower(f.name)+", in elements\n\t}\n}", "for n a multiple of 4."))
	dst, src, stride, n := a.ptr("dst"), a.ptr("src"), a.integer("stride"), a.integer("n")
	a.line("LSL\t$%d, %v", map[int]int{2: 1, 4: 2}[f.bytes], stride)
	rows := a.rows(src, stride, 16)
	a.repeat(n, 4, func() {
		v := a.vecs(16)
		for r, x := range v {
			if f.bytes == 4 {
				a.nextq(x, rows[r])
			} else {
				a.line("FMOVD.P\t8(%v), F%d", rows[r], x)
			}
			switch f.name {
			case "F16":
				a.do(fcvtl(x, x))
			case "BF16":
				a.do(shll(x, x))
			}
		}
		for r := 0; r < 16; r += 4 {
			a.transpose(v[r : r+4])
		}
		for c := range 4 {
			for r := 0; r < 16; r += 4 {
				a.putq(v[r+c], dst)
			}
		}
		a.free(v...)
	})
}
