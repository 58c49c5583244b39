package main

import (
	"fmt"

	"github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// tileGEMMs are the matrix kernels of many rows of activations, as whole numbers, with quantized weights, for AMX: tiles of bytes, which are multiplied as whole numbers.
// Activations have two bytes, so a group of 32 columns is two products of tiles; then come, for each row of activations, what puts the two together, one conversion,
// and a multiplication with either scale. While tiles are multiplied, vectors do that for those before.
var tileGEMMs = func() []routine {
	rs := []routine{{"split_avx512", splitWords}, {"pack_lines_avx512", packLines}}
	for _, k := range []tileGEMM{{}, {sums: true}, {halves: true}} {
		rs = append(rs, routine{"tile_" + wholeGEMM(k).file(false) + "_amx_avx512", k.write})
	}
	return rs
}()

// splitWords makes bytes of words: of each 32 the upper and then the lower ones.
func splitWords(a *asm) {
	a.wide = true
	a.begin("splitAVX512", "func(words []int16)",
		"splitAVX512 turns each 32 words, of which there are a multiple of that, into the bytes whose sum they are, both signed: the upper ones, which count 256 times, and then the lower.")
	p, n := a.ptr("words"), a.length("words")
	half := a.vec()
	a.VMOVDQU16(a.words16("half", func(int) uint16 { return 128 }), half)
	a.repeat(n, group, func() {
		v, upper := a.vec(), a.vec()
		a.VMOVDQU16(at(p, 0), v)
		a.VPADDW(half, v, upper)
		a.VPSRAW(operand.U8(8), upper, upper)
		a.VPMOVWB(upper, at(p, 0))
		a.VPMOVWB(v, at(p, 32))
		a.ADDQ(operand.U32(64), p)
	})
	a.VZEROUPPER()
	a.RET()
}

// packLines gathers sixteen rows.
func packLines(a *asm) {
	a.wide = true
	a.begin("packLinesAVX512", "func(dst, src []float32, stride, groups int)",
		"packLinesAVX512 is", "", "\tfor g := range groups {\n\t\tfor r := range 16 {\n\t\t\tcopy(dst[(16*g+r)*16:], src[r*stride+16*g:][:16])\n\t\t}\n\t}")
	dst, src, stride, groups := a.ptr("dst"), a.ptr("src"), a.integer("stride"), a.integer("groups")
	a.SHLQ(operand.U8(2), stride)
	a.repeat(groups, 1, func() {
		from := a.copyOf(src)
		for r := range tileRows {
			v := a.vec()
			a.VMOVUPS(at(from, 0), v)
			a.VMOVUPS(v, at(dst, 64*r))
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

// tileGEMM is one of the kernels.
type tileGEMM wholeGEMM

const tileRows = 16 // of activations, and of weights

// write has a tile of float32 in sixteen vectors, a row of activations each. Products of tiles go by way of memory: while one half of it is filled, the other is read.
func (k tileGEMM) write(a *asm) {
	a.wide = true
	whole := wholeGEMM(k)
	columns, scales, dot := 32, 1, signedTiles // of a product of tiles; of a row's group
	loop := "\t\t\t\tfor g := range groups {\n\t\t\t\t\tsum := int32(0)\n\t\t\t\t\tfor i := range 32 {\n\t\t\t\t\t\tsum += (256*x.upper[g][r][i] + x.lower[g][r][i]) * w.bytes[g*8+i/4][j][i%4]\n\t\t\t\t\t}\n\t\t\t\t\tf += float32(sum) * w.scales[g][j] * x.scales[g][r]\n"
	xDoc, wDoc := "\tlines  [groups][16]struct{ upper, lower [32]int8 }\n\tscales [groups][16]float32\n", "\tbytes  [groups*8][16][4]int8\n\tscales [groups][16]float32\n"
	beside, xBeside := 1, 1 // float32 of a row's group beside its bytes
	switch {
	case k.sums:
		dot, beside, xBeside = unsignedTiles, 2, 2
		loop += "\t\t\t\t\tf += w.least[g][j] * x.sums[g][r]\n"
		xDoc, wDoc = xDoc+"\tsums   [groups][16]float32\n", "\tbytes  [groups*8][16][4]uint8\n\tscales [groups][16]float32\n\tleast  [groups][16]float32\n"
	case k.halves:
		columns, scales, beside = 16, 2, 2
		loop = "\t\t\t\tfor h := range 2 * groups {\n\t\t\t\t\tsum := int32(0)\n\t\t\t\t\tfor i := 16 * h % 32; i < 16*h%32+16; i++ {\n\t\t\t\t\t\tsum += (256*x.upper[h/2][r][i] + x.lower[h/2][r][i]) * w.bytes[h/2*8+i/4][j][i%4]\n\t\t\t\t\t}\n\t\t\t\t\tf += float32(sum) * w.scales[h][j] * x.scales[h/2][r]\n"
		wDoc = "\tbytes  [groups*8][16][4]int8\n\tscales [groups*2][16]float32\n"
	}
	name := "tileGEMM" + whole.kind()
	a.begin(name, "func(c []float32, stride int, x, w []float32, room *[1024]float32, groups, xs, ws int, add bool)",
		name+" is", "",
		fmt.Sprintf("\tfor t := range xs { // the next x, 16 rows of c further on\n\t\tfor u := range ws { // the next w, 16 columns further on\n\t\tfor r := range 16 {\n\t\t\tfor j := range 16 {\n\t\t\t\tf := float32(0)\n%s\t\t\t\t}\n\t\t\t\tif add {\n\t\t\t\t\tf += c[r*stride+j]\n\t\t\t\t}\n\t\t\t\tc[r*stride+j] = f\n\t\t\t}\n\t\t}\n\t\t}\n\t}", loop),
		"", "for even groups > 0, xs > 0, ws > 0, and x made of", "", xDoc, "and w of", "", wDoc, "one behind the other. room is what it works in.")

	// Tiles: the products' upper and lower bytes for either half of room, the activations', and the weights.
	const upper, lower, xUpper, xLower, weights = 0, 1, 4, 5, 6
	sums := shape{tileRows, 64}
	a.setTiles(sums, sums, sums, sums, shape{tileRows, columns}, shape{tileRows, columns}, shape{columns / 4, 64})

	stride, row, room, span := a.integer("stride"), a.GP64(), a.integer("room"), a.integer("groups")
	a.SHLQ(operand.U8(2), stride)
	a.MOVQ(operand.U32(64), row)
	a.SHLQ(operand.U8(6), span) // of scales in a pack
	x, w, xScales, wScales := a.GP64(), a.GP64(), a.GP64(), a.GP64()
	rows := func(p reg.GPVirtual, disp int) operand.Mem { return atIndex(p, row, 1, disp) }
	xBase, wBase, cBase := a.slot(a.Param("x").Base()), a.slot(a.Param("w").Base()), a.slot(a.Param("c").Base())
	xs, ws := a.slot(a.Param("xs")), a.slot(a.Param("ws"))

	multiply := func(half int) {
		fromX, fromW := half*64*tileRows, half*columns*tileRows
		if k.halves {
			fromX = columns * half
		}
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
	add := func(half int) { // to the sums, a row of activations at a time
		xAt := 64 * half
		if k.halves {
			xAt = 0
		}
		scale, least := a.vec(), a.vec()
		a.VMOVUPS(at(wScales, 64*half), scale)
		if k.sums {
			a.VMOVUPS(atIndex(wScales, span, 1, 64*half), least)
		}
		for r := range tileRows {
			v := a.vec()
			a.VPSLLD(operand.U8(8), at(room, 2048*half+64*r), v)
			a.VPADDD(at(room, 2048*half+1024+64*r), v, v)
			a.VCVTDQ2PS(v, v)
			a.VMULPS(scale, v, v)
			a.VFMADD231PS_BCST(at(xScales, xAt+4*r), v, sum[r])
			if k.sums {
				a.VFMADD231PS_BCST(atIndex(xScales, span, 1, xAt+4*r), least, sum[r])
			}
		}
	}
	// Three products of tiles are under way: one is multiplied, that before it goes to memory, and that before comes from there.
	both := func() {
		for half := range 2 {
			multiply(half)
			store(1 - half)
			add(half)
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
	if k.halves {
		a.SHRQ(operand.U8(6), more)
	} else {
		a.SHRQ(operand.U8(7), more)
	}
	a.SUBQ(operand.U32(1), more)
	a.repeat(more, 1, func() {
		a.ADDQ(operand.U32(2*columns*2*tileRows), x)
		a.ADDQ(operand.U32(2*columns*tileRows), w)
		both()
		a.ADDQ(operand.U32(2*64/scales), xScales)
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
	a.IMUL3Q(operand.U32(uint32(16+xBeside)), span, t)
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
