package main

import (
	"github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// tileGEMMs are the matrix kernels of many rows of activations, as whole numbers, with quantized weights, for AMX: tiles of bytes, which are multiplied as whole numbers.
// Activations have two bytes, so a group of 32 columns is two products of tiles; then come, for each row of activations, what puts the two together, one conversion,
// and a multiplication with either scale. While tiles are multiplied, vectors do that for those before. (Weights that have a scale for sixteen columns would need as much
// of that for half the columns, and are faster without tiles.)
var tileGEMMs = []routine{
	{"pack_lines_avx512", packLines},
	{"tile_gemm_amx_avx512", func(a *asm) { writeTileGEMM(a, false) }},
	{"tile_gemm_sums_amx_avx512", func(a *asm) { writeTileGEMM(a, true) }},
}

const tileRows = 16 // of activations, and of weights

// packLines gathers sixteen rows of words as bytes.
func packLines(a *asm) {
	a.wide = true
	a.begin("packLinesAVX512", "func(dst, src []float32, stride, groups int)",
		"packLinesAVX512 turns the words of sixteen rows of src, stride float32 apart, into the bytes whose sum they are, both signed: of each 32 words the upper ones,",
		"which count 256 times, and then the lower. It writes those of the first 32 words of all rows, then of the next.")
	dst, src, stride, groups := a.ptr("dst"), a.ptr("src"), a.integer("stride"), a.integer("groups")
	a.SHLQ(operand.U8(2), stride)
	half, order, upper := a.vec(), a.vec(), a.byteMask(0x5555555555555555)
	a.VMOVDQU16(a.words16("half", func(int) uint16 { return 128 }), half)
	a.VMOVDQU8(a.constant("order", func() {
		for i := range 64 {
			a.AddDatum(i, operand.U8(i%32*2+i/32))
		}
	}), order)
	a.repeat(groups, 1, func() {
		from := a.copyOf(src)
		for r := range tileRows {
			v, low := a.vec(), a.vec()
			a.VMOVDQU16(at(from, 0), v)
			a.VPSLLW(operand.U8(8), v, low)
			a.VPADDW(half, v, v)
			a.VPSRAW(operand.U8(8), v, v)
			a.VMOVDQU8(v, upper, low)
			a.VPERMB(low, order, low)
			a.VMOVDQU16(low, at(dst, 64*r))
			if r < tileRows-1 {
				a.ADDQ(stride, from)
			}
		}
		a.ADDQ(operand.U32(64), src)
		a.ADDQ(operand.U32(64*tileRows), dst)
	})
	a.VZEROUPPER()
	a.RET()
}

// writeTileGEMM has a tile of float32 in sixteen vectors, a row of activations each. Products of tiles go by way of memory: while one half of it is filled, the other is
// read. With sums weights have minimums or biases, which the sums of groups are multiplied with.
func writeTileGEMM(a *asm, sums bool) {
	a.wide = true
	name, dot, add := "tileGEMM", signedTiles, ""
	xDoc, wDoc := "\tlines  [groups][16]struct{ upper, lower [32]int8 }\n\tscales [groups][16]float32\n", "\tbytes  [groups*8][16][4]int8\n\tscales [groups][16]float32\n"
	beside := 1 // float32 of a row's group beside its bytes
	if sums {
		name, dot, beside = "tileGEMMSums", unsignedTiles, 2
		add = "\t\t\t\t\t\tf += w.least[g][j] * x.sums[g][r]\n"
		xDoc, wDoc = xDoc+"\tsums   [groups][16]float32\n", "\tbytes  [groups*8][16][4]uint8\n\tscales [groups][16]float32\n\tleast  [groups][16]float32\n"
	}
	a.begin(name, "func(c []float32, stride int, x, w []float32, room *[1024]float32, groups, xs, ws int, add bool)",
		name+" is", "",
		"\tfor t := range xs { // the next x, 16 rows of c further on\n\t\tfor u := range ws { // the next w, 16 columns further on\n\t\t\tfor r := range 16 {\n\t\t\t\tfor j := range 16 {\n\t\t\t\t\tf := float32(0)\n"+
			"\t\t\t\t\tfor g := range groups {\n\t\t\t\t\t\tsum := int32(0)\n\t\t\t\t\t\tfor i := range 32 {\n\t\t\t\t\t\t\tsum += (256*x.upper[g][r][i] + x.lower[g][r][i]) * w.bytes[g*8+i/4][j][i%4]\n\t\t\t\t\t\t}\n"+
			"\t\t\t\t\t\tf += float32(sum) * w.scales[g][j] * x.scales[g][r]\n"+add+"\t\t\t\t\t}\n"+
			"\t\t\t\t\tif add {\n\t\t\t\t\t\tf += c[r*stride+j]\n\t\t\t\t\t}\n\t\t\t\t\tc[r*stride+j] = f\n\t\t\t\t}\n\t\t\t}\n\t\t}\n\t}",
		"", "for even groups > 0, xs > 0, ws > 0, and x made of", "", xDoc, "and w of", "", wDoc, "one behind the other. room is what it works in.")

	// Tiles: the products' upper and lower bytes for either half of room, the activations', and the weights.
	const upper, lower, xUpper, xLower, weights = 0, 1, 4, 5, 6
	result, half := shape{tileRows, 64}, shape{tileRows, group}
	a.setTiles(result, result, result, result, half, half, shape{group / 4, 64})

	stride, row, room, span := a.integer("stride"), a.GP64(), a.integer("room"), a.integer("groups")
	a.SHLQ(operand.U8(2), stride)
	a.MOVQ(operand.U32(64), row)
	a.SHLQ(operand.U8(6), span) // of scales in a pack
	x, w, xScales, wScales := a.GP64(), a.GP64(), a.GP64(), a.GP64()
	rows := func(p reg.GPVirtual, disp int) operand.Mem { return atIndex(p, row, 1, disp) }
	xBase, wBase, cBase := a.slot(a.Param("x").Base()), a.slot(a.Param("w").Base()), a.slot(a.Param("c").Base())
	xs, ws := a.slot(a.Param("xs")), a.slot(a.Param("ws"))

	multiply := func(half int) {
		fromX, fromW := half*64*tileRows, half*group*tileRows
		a.amx(loadTile, rows(w, fromW), tile(weights))
		a.amx(loadTile, rows(x, fromX), tile(xUpper))
		a.amx(zeroTile, tile(2*half+upper))
		a.amx(dot, tile(xUpper), tile(weights), tile(2*half+upper))
		a.amx(loadTile, rows(x, fromX+32), tile(xLower))
		a.amx(zeroTile, tile(2*half+lower))
		a.amx(dot, tile(xLower), tile(weights), tile(2*half+lower))
	}
	store := func(half int) {
		a.amx(storeTile, tile(2*half+upper), rows(room, 2048*half))
		a.amx(storeTile, tile(2*half+lower), rows(room, 2048*half+1024))
	}
	var sum []reg.VecVirtual
	accumulate := func(half int) {
		scale, least := a.vec(), a.vec()
		a.VMOVUPS(at(wScales, 64*half), scale)
		if sums {
			a.VMOVUPS(atIndex(wScales, span, 1, 64*half), least)
		}
		for r := range tileRows {
			v := a.vec()
			a.VPSLLD(operand.U8(8), at(room, 2048*half+64*r), v)
			a.VPADDD(at(room, 2048*half+1024+64*r), v, v)
			a.VCVTDQ2PS(v, v)
			a.VMULPS(scale, v, v)
			a.VFMADD231PS_BCST(at(xScales, 64*half+4*r), v, sum[r])
			if sums {
				a.VFMADD231PS_BCST(atIndex(xScales, span, 1, 64*half+4*r), least, sum[r])
			}
		}
	}
	// Three products of tiles are under way: one is multiplied, that before it goes to memory, and that before comes from there.
	both := func() {
		for half := range 2 {
			multiply(half)
			store(1 - half)
			accumulate(half)
		}
	}

	pack, c, left, t := a.GP64(), a.GP64(), a.GP64(), a.GP64()
	a.MOVQ(xBase, x)
	a.MOVQ(wBase, w)
	a.MOVQ(w, pack)
	a.MOVQ(cBase, c)
	a.MOVQ(ws, left)
	multiply(0)
	multiply(1)
	store(0)

	a.Label("tile")
	to := a.copyOf(c) // ask for it, as its rows may lie far apart
	for r := range tileRows {
		a.PREFETCHT0(at(to, 0))
		if r < tileRows-1 {
			a.ADDQ(stride, to)
		}
	}
	a.MOVQ(span, t)
	a.SHLQ(operand.U8(4), t)
	a.MOVQ(xBase, xScales)
	a.ADDQ(t, xScales)
	a.SHRQ(operand.U8(1), t)
	a.LEAQ(atIndex(pack, t, 1, 0), wScales)
	sum = a.zeroed(tileRows)
	more := a.copyOf(span) // pairs of products
	a.SHRQ(operand.U8(7), more)
	a.SUBQ(operand.U32(1), more)
	a.repeat(more, 1, func() {
		a.ADDQ(operand.U32(2*64*tileRows), x)
		a.ADDQ(operand.U32(2*group*tileRows), w)
		both()
		a.ADDQ(operand.U32(2*64), xScales)
		a.ADDQ(operand.U32(2*64), wScales)
	})
	// While the last are added the first of the next tile are multiplied, or, after the last tile, any.
	a.MOVQ(xBase, x)
	a.IMUL3Q(operand.U32(uint32(8+beside)), span, t)
	a.LEAQ(atIndex(pack, t, 1, 0), w)
	a.SUBQ(operand.U32(1), left)
	a.JNE(operand.LabelRef("next"))
	a.MOVQ(wBase, w)
	a.CMPQ(xs, operand.U8(1))
	a.JEQ(operand.LabelRef("next"))
	a.IMUL3Q(operand.U32(uint32(16+beside)), span, t)
	a.ADDQ(t, x)
	a.Label("next")
	both()

	adds := a.GP8()
	a.Load(a.Param("add"), adds)
	a.MOVQ(c, to)
	a.TESTB(adds, adds)
	a.JEQ(operand.LabelRef("set"))
	for r := range tileRows {
		a.VADDPS(at(to, 0), sum[r], sum[r])
		if r < tileRows-1 {
			a.ADDQ(stride, to)
		}
	}
	a.MOVQ(c, to)
	a.Label("set")
	for r := range tileRows {
		a.VMOVUPS(sum[r], at(to, 0))
		if r < tileRows-1 {
			a.ADDQ(stride, to)
		}
	}
	a.ADDQ(operand.U32(64), c)
	a.MOVQ(w, pack)
	a.TESTQ(left, left)
	a.JNE(operand.LabelRef("tile"))

	a.MOVQ(x, xBase)
	a.MOVQ(stride, c)
	a.SHLQ(operand.U8(4), c)
	a.ADDQ(cBase, c)
	a.MOVQ(c, cBase)
	a.MOVQ(ws, left)
	a.SUBQ(operand.U32(1), xs)
	a.JNE(operand.LabelRef("tile"))
	a.amx(releaseTiles)
	a.VZEROUPPER()
	a.RET()
}
