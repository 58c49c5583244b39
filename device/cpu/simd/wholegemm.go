package simd

import (
	"unsafe"

	"github.com/orrery-ai/orrery/device/quant"
)

// WholeStep is how many columns a product of many tokens with whole numbers takes at a time at most: a multiple of all blocks.
const WholeStep = 256

// WholeGEMM is the product of many tokens with weights of one layout, for which activations are the whole numbers that [Activations] has for few. Numbers and weights are rows
// of words: for each step of columns those, two in the place of a float32, and then what belongs to each 32 of them, as float32: of activations their scale and their sum, of
// weights their scales and what each adds to its product. With tiles weights are bytes. Rows are packed by [WholeGEMM.PackX] and [PackF32].
type WholeGEMM struct{ of *wholeRoutines }

// WholeGEMMFor is the product for rows of so many columns; ok says whether they are multiplied so here. It is what [Activations.Set] reports.
func WholeGEMMFor(l quant.Layout, cols int) (g WholeGEMM, ok bool) {
	g.of = wholeFor(l, cols)
	return g, g.of != nil
}

// WholeGEMMForAffine is WholeGEMMFor for weights of 4 or 8 bits in affine groups.
func WholeGEMMForAffine(bits, group, cols int) (g WholeGEMM, ok bool) {
	g.of = wholeForAffine(bits, group, cols)
	return g, g.of != nil
}

// WholeRow is how many float32 a row of so many activations takes as words, or a part of one.
func WholeRow(cols int) int { return cols/2 + 2*(cols/QuantizedGroup) }

// WholeNumbers makes words of a row of activations, whose length is a multiple of 32.
func WholeNumbers(dst, x []float32) {
	dst = dst[:WholeRow(len(x))]
	for at := 0; at < len(x); at += WholeStep {
		n := min(WholeStep, len(x)-at)
		row := dst[WholeRow(at):]
		wordsOf(wordsIn(row, n), row[n/2:][:n/QuantizedGroup], row[n/2+n/QuantizedGroup:], x[at:at+n])
	}
}

// wordsIn is the memory of a row as n words.
func wordsIn(row []float32, n int) []int16 {
	return unsafe.Slice((*int16)(unsafe.Pointer(unsafe.SliceData(row[:n/2]))), n)
}

// bytesIn is the memory of a row as n bytes.
func bytesIn(row []float32, n int) []int8 {
	return unsafe.Slice((*int8)(unsafe.Pointer(unsafe.SliceData(row[:n/4]))), n)
}

// X is how many float32 of a row of n activations the product takes.
func (g WholeGEMM) X(n int) int {
	if g.adds() {
		return WholeRow(n)
	}
	return n/2 + n/QuantizedGroup
}

// W is how many float32 a row of n weights takes.
func (g WholeGEMM) W(n int) int {
	groups := n / QuantizedGroup
	if g.adds() {
		return g.numbers(n) + 2*groups
	}
	return g.numbers(n) + g.scales()*groups
}

// numbers is how many of these are the weights without their scales.
func (g WholeGEMM) numbers(n int) int {
	if g.tiles() {
		return n / 4
	}
	return n / 2
}

// Weights makes words, or bytes, of n weights of a row, in blocks.
func (g WholeGEMM) Weights(dst []float32, src []byte, n int) {
	scales := dst[g.numbers(n):g.W(n)]
	least := scales[g.scales()*n/QuantizedGroup:]
	if g.tiles() {
		g.bytes(bytesIn(dst, n), scales, least, src)
	} else {
		g.words(wordsIn(dst, n), scales, least, src)
	}
}

// AffineWeights is Weights of affine groups.
func (g WholeGEMM) AffineWeights(dst []float32, src []byte, n, group int, scales, biases []float32) {
	if g.tiles() {
		g.affineBytes(bytesIn(dst, n), src)
	} else {
		g.affineWords(wordsIn(dst, n), src)
	}
	groups := n / QuantizedGroup
	to, least := dst[g.numbers(n):][:groups], dst[g.numbers(n)+groups:]
	for i := range to {
		to[i], least[i] = scales[i*QuantizedGroup/group], biases[i*QuantizedGroup/group]
	}
}

// Tile is how many rows of activations lie together, and with how many of weights, in packs of 16, Multiply multiplies them at once.
func (g WholeGEMM) Tile() (rows, cols int) {
	switch {
	case g.tiles():
		return GEMMCols, GEMMCols
	case haveAVX512:
		return GEMMRows, 2 * GEMMCols
	}
	return GEMMRows, GEMMCols
}

// PackX lays n columns of some rows of words out for Multiply, at most as many as a tile has; those that are missing are zeros.
func (g WholeGEMM) PackX(dst, src []float32, stride, rows, n int) {
	if !g.tiles() {
		PackRows(dst, src, stride, rows, g.X(n))
		return
	}
	lines, size := n/2, g.X(n)
	dst = dst[:GEMMCols*size]
	if rows == GEMMCols {
		packLines(dst, src[:(GEMMCols-1)*stride+size], stride, n/QuantizedGroup)
	} else {
		clear(dst)
		for r := range rows {
			splitGo(dst[r*GEMMCols:], wordsIn(src[r*stride:], n))
		}
	}
	PackF32(dst[GEMMCols*lines:], bytesOf(src[lines:]), stride, rows, size-lines)
}

// splitGo is the twin of packLines for one row.
func splitGo(dst []float32, words []int16) {
	for at := 0; at < len(words); at += QuantizedGroup {
		to := bytesIn(dst[at/QuantizedGroup*GEMMCols*GEMMCols:], 2*QuantizedGroup)
		for i, word := range words[at : at+QuantizedGroup] {
			lower := int8(word)
			to[i], to[i+QuantizedGroup] = int8((word-int16(lower))>>8), lower
		}
	}
}

// TileRoom is memory that Multiply works in.
type TileRoom [1024 + 64/4]float32

// Multiply is [GEMM] with n columns of so many tiles' rows of activations, as PackX leaves them, one pack behind the other, and so many tiles' packs of weights. A group's sum is
// exact; to c is added, group by group, that times the scales, and then what weights add.
func (g WholeGEMM) Multiply(c []float32, stride int, x, w []float32, n, xs, ws int, add bool, room *TileRoom) {
	if xs == 0 || ws == 0 {
		return
	}
	rows, cols := g.Tile()
	c, x, w = c[:(xs*rows-1)*stride+ws*cols], x[:xs*rows*g.X(n)], w[:ws*cols*g.W(n)]
	if g.tiles() {
		g.multiplyTiles(c, stride, x, w, room.aligned(), n/QuantizedGroup, xs, ws, add)
		return
	}
	for j := range ws {
		for i := range xs {
			g.multiply(c[i*rows*stride+j*cols:], stride, x[i*rows*g.X(n):], w[j*cols*g.W(n):], n/QuantizedGroup, add)
		}
	}
}

// aligned is room that begins where a line of the cache does: a tile's row that crosses lines is written in two.
func (r *TileRoom) aligned() *[1024]float32 {
	past := uintptr(unsafe.Pointer(r)) % 64 / 4
	return (*[1024]float32)(r[(16-past)%16:])
}
