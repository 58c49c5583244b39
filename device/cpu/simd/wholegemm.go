package simd

import (
	"unsafe"

	"github.com/orrery-ai/orrery/device/quant"
)

// WholeStep is how many columns a product of many tokens with whole numbers takes at a time at most: a multiple of all blocks.
const WholeStep = 256

// WholeGEMM is the product of many tokens with weights of one layout, for which activations are the whole numbers that [Activations] has for few. Numbers and weights are rows
// of words: for each step of columns those, two in the place of a float32, and then what belongs to each 32 of them, as float32: of activations their scale and their sum, of
// weights their scales and what each adds to its product. Such rows are packed as others are, by [PackRows] and [PackF32].
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
		words, scales, sums := wordsIn(dst[WholeRow(at):], n, 1)
		wordsOf(words, scales, sums, x[at:at+n])
	}
}

// wordsIn is where the parts of a row of n elements are, of which each 32 have so many scales.
func wordsIn(row []float32, n, perGroup int) (words []int16, scales, beside []float32) {
	groups := n / QuantizedGroup
	words = unsafe.Slice((*int16)(unsafe.Pointer(unsafe.SliceData(row[:n/2]))), n)
	scales, beside = row[n/2:][:groups*perGroup], row[n/2+groups*perGroup:]
	return words, scales, beside
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
		return n/2 + 2*groups
	}
	return n/2 + g.scales()*groups
}

// Weights makes words of n weights of a row, in blocks.
func (g WholeGEMM) Weights(dst []float32, src []byte, n int) {
	words, scales, least := wordsIn(dst[:g.W(n)], n, g.scales())
	g.words(words, scales, least, src)
}

// AffineWeights is Weights of affine groups.
func (g WholeGEMM) AffineWeights(dst []float32, src []byte, n, group int, scales, biases []float32) {
	words, to, least := wordsIn(dst[:g.W(n)], n, 1)
	g.affineWords(words, src)
	for i := range to {
		to[i], least[i] = scales[i*QuantizedGroup/group], biases[i*QuantizedGroup/group]
	}
}

// WholeGEMMCols is how many rows of weights [WholeGEMM.Multiply] takes, in packs of 16.
func WholeGEMMCols() int {
	if haveAVX512 {
		return 2 * GEMMCols
	}
	return GEMMCols
}

// Multiply is [GEMM] for WholeGEMMCols columns of c: with n columns of a pack of six rows of activations, and packs of weights, one after the other. A group's sum is
// exact; to c is added, group by group, that times the scales, and then what weights add.
func (g WholeGEMM) Multiply(c []float32, stride int, x, w []float32, n int, add bool) {
	cols := WholeGEMMCols()
	g.multiply(c[:5*stride+cols], stride, x[:GEMMRows*g.X(n)], w[:cols*g.W(n)], n/QuantizedGroup, add)
}
