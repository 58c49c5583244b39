package main

import (
	"github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// floatTileGEMMs are the matrix kernel of many rows of activations with weights in bfloat16, for AMX, and what packs its activations. A float32 is the sum of three
// numbers in bfloat16, eight bits of it each, so a product of tiles for each of them is as exact as one in float32.
var floatTileGEMMs = []routine{
	{"pack_parts_avx512", packParts},
	{"float_tile_gemm_amx", floatTileGEMM},
}

// parts of a float32.
const parts = 3

// packParts splits sixteen rows.
func packParts(a *asm) {
	a.wide = true
	a.begin("packPartsAVX512", "func(dst, src []float32, stride, blocks int)",
		"packPartsAVX512 writes the three parts in bfloat16 of the first 32 columns of sixteen rows of src, stride float32 apart, all rows of a part together, and then of the next 32.",
		"The second and third part of what is not finite are 0.")
	dst, src, stride, blocks := a.ptr("dst"), a.ptr("src"), a.integer("stride"), a.integer("blocks")
	a.SHLQ(operand.U8(2), stride)
	upper, quiet, order := a.vec(), a.vec(), a.vec()
	a.VMOVDQU32(a.words("upper", func(int) uint32 { return 0xffff0000 }), upper)
	a.VMOVDQU32(a.words("quiet", func(int) uint32 { return 0x00400000 }), quiet)
	a.VMOVDQU16(a.words16("order", func(i int) uint16 { return uint16(2*i + 1) }), order)
	a.repeat(blocks, 1, func() {
		from := a.copyOf(src)
		for r := range tileRows {
			var of [parts][2]reg.VecVirtual
			for half := range 2 {
				v, rest := a.vec(), a.vec()
				for part := range of {
					of[part][half] = a.vec()
				}
				first, second, third := of[0][half], of[1][half], of[2][half]
				a.VMOVUPS(at(from, 64*half), v)
				a.VANDPS(upper, v, first)
				a.VSUBPS(first, v, rest)
				finite, not := a.K(), a.K()
				const ordered = 7
				a.VCMPPS(operand.U8(ordered), rest, rest, finite)
				a.KNOTW(finite, not)
				a.VANDPS_Z(upper, rest, finite, second)
				a.VSUBPS_Z(second, rest, finite, third)
				nan := a.K()
				const unordered = 3
				a.VCMPPS(operand.U8(unordered), v, v, not, nan)
				a.VPORD(quiet, first, nan, first) // what says so may have been in the other parts
			}
			for part, v := range of {
				a.VPERMT2W(v[1], order, v[0])
				a.VMOVDQU16(v[0], at(dst, 1024*part+64*r))
			}
			if r < tileRows-1 {
				a.ADDQ(stride, from)
			}
		}
		a.ADDQ(operand.U32(128), src)
		a.ADDQ(operand.U32(1024*parts), dst)
	})
	a.VZEROUPPER()
	a.RET()
}

// floatTileGEMM has four tiles of float32: two of rows by two of weights, which share what is loaded.
func floatTileGEMM(a *asm) {
	a.begin("floatTileGEMM", "func(c []float32, stride int, x, w []float32, blocks, xs, ws int, add bool)",
		"floatTileGEMM is", "",
		"\tfor t := range xs { // the next two x, 32 rows of c further on\n\t\tfor u := range ws { // the next two w, 32 columns further on\n\t\t\tfor r := range 32 {\n\t\t\t\tfor j := range 32 {\n\t\t\t\t\tf := c[r*stride+j] // 0 without add\n"+
			"\t\t\t\t\tfor b := range blocks {\n\t\t\t\t\t\tfor i := range 32 {\n\t\t\t\t\t\t\tfor p := range 3 {\n\t\t\t\t\t\t\t\tf += x[r/16].parts[b][p][r%16][i] * w[j/16].pairs[b][i/2][j%16][i%2]\n\t\t\t\t\t\t\t}\n\t\t\t\t\t\t}\n\t\t\t\t\t}\n"+
			"\t\t\t\t\tc[r*stride+j] = f\n\t\t\t\t}\n\t\t\t}\n\t\t}\n\t}",
		"", "in some order, for x made of", "", "\tparts [blocks][3][16][32]bfloat16", "", "and w of", "", "\tpairs [blocks][16][16][2]bfloat16", "", "one behind the other.")
	const rows, columns = 4, 6 // the first of two tiles of activations, and of weights; those before have the result
	whole := shape{tileRows, 64}
	a.setTiles(whole, whole, whole, whole, whole, whole, whole, whole)
	row, stride := a.GP64(), a.integer("stride")
	a.MOVQ(operand.U32(64), row)
	a.SHLQ(operand.U8(2), stride)
	x, x2, w, w2, xSpan, wSpan := a.GP64(), a.GP64(), a.GP64(), a.GP64(), a.GP64(), a.GP64()
	xBase, cBase, ws, xs := a.slot(a.Param("x").Base()), a.slot(a.Param("c").Base()), a.slot(a.Param("ws")), a.slot(a.Param("xs"))
	a.IMUL3Q(operand.U32(1024*parts), a.integer("blocks"), xSpan)
	a.MOVQ(a.integer("blocks"), wSpan)
	a.SHLQ(operand.U8(10), wSpan)
	c, left, below := a.GP64(), a.GP64(), a.GP64()
	result := func(each func(t operand.Op, m operand.Mem)) {
		a.MOVQ(stride, below)
		a.SHLQ(operand.U8(4), below)
		a.ADDQ(c, below)
		for i, p := range []reg.GPVirtual{c, c, below, below} {
			each(tile(i), atIndex(p, stride, 1, i%2*64))
		}
	}

	a.Label("activations")
	a.MOVQ(cBase, c)
	a.Load(a.Param("w").Base(), w)
	a.MOVQ(ws, left)
	a.Label("weights")
	add := a.GP8()
	a.Load(a.Param("add"), add)
	a.TESTB(add, add)
	a.JEQ(operand.LabelRef("zero"))
	result(func(t operand.Op, m operand.Mem) { a.amx(loadTile, m, t) })
	a.JMP(operand.LabelRef("start"))
	a.Label("zero")
	for i := range 4 {
		a.amx(zeroTile, tile(i))
	}
	a.Label("start")
	a.MOVQ(xBase, x)
	a.LEAQ(atIndex(x, xSpan, 1, 0), x2)
	a.LEAQ(atIndex(w, wSpan, 1, 0), w2)
	a.repeat(a.integer("blocks"), 1, func() {
		for i, p := range []reg.GPVirtual{w, w2} {
			a.amx(loadTile, atIndex(p, row, 1, 0), tile(columns+i))
		}
		for part := range parts {
			for i, p := range []reg.GPVirtual{x, x2} {
				a.amx(loadTile, atIndex(p, row, 1, 1024*part), tile(rows+i))
				for j := range 2 {
					a.amx(floatTiles, tile(rows+i), tile(columns+j), tile(2*i+j))
				}
			}
		}
		for _, p := range []reg.GPVirtual{x, x2} {
			a.ADDQ(operand.U32(1024*parts), p)
		}
		for _, p := range []reg.GPVirtual{w, w2} {
			a.ADDQ(operand.U32(1024), p)
		}
	})
	result(func(t operand.Op, m operand.Mem) { a.amx(storeTile, t, m) })
	a.MOVQ(w2, w)
	a.ADDQ(operand.U32(128), c)
	a.SUBQ(operand.U32(1), left)
	a.JNE(operand.LabelRef("weights"))
	a.MOVQ(x2, xBase)
	a.MOVQ(stride, c)
	a.SHLQ(operand.U8(5), c)
	a.ADDQ(c, cBase)
	a.SUBQ(operand.U32(1), xs)
	a.JNE(operand.LabelRef("activations"))
	a.amx(releaseTiles)
	a.RET()
}
