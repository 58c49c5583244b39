//go:build amd64 && !noasm

package simd

import (
	"slices"
	"unsafe"

	"github.com/orrery-ai/orrery/device/quant"
)

// wholeAlign is what numbers had best begin at a multiple of.
const wholeAlign = 64

// wholeRoutines are the products with one layout.
type wholeRoutines struct {
	quant.Layout
	elements, bytes int    // of activations that the routines take together, and what they are then
	times           uint32 // what stands for zero among unsigned weights, with AVX-512 as four bytes, or 1 where sums are needed as they are
	numbers         func(dst []byte, x []float32, times uint32)

	// Products of 1, 2 and so on tokens: of blocks, or of affine groups.
	product       []wholeProductOf
	affineProduct []affineProductOf

	// Those of one token for AVX-VNNI, if they are faster than for AVX2.
	vnniProduct       wholeProductOf
	vnniAffineProduct affineProductOf

	// Those of one token for AVX-512 that are direct.
	directProduct       wholeProductOf
	directAffineProduct affineProductOf

	// For many tokens, see [WholeGEMM].
	kernel      *wholeKernel
	words       func(dst []int16, scales, least []float32, src []byte, halves *[65536]float32)
	affineWords func(dst []int16, src []byte)

	// The same for AMX, where tiles are used.
	inBytes       func(dst []int8, scales, least []float32, src []byte, halves *[65536]float32)
	affineInBytes func(dst []int8, src []byte)
}

type (
	wholeProductOf  func(s []float32, stride int, q, k, next []byte, n, dim int)
	affineProductOf func(s []float32, stride int, q, k, next []byte, n, dim, per int, numbers *[2][4096]float32)
)

// The layouts of affine weights.
var (
	affine8 = quant.Layout{Elements: 1, Bytes: 1}
	affine4 = quant.Layout{Elements: 2, Bytes: 1}
)

// wideWholes are for AVX-512 with VNNI, GFNI and VBMI2.
var wideWholes = []wholeRoutines{
	{
		Layout: quant.Q8_0, elements: 128, bytes: 384, times: 0x80808080, numbers: wholeAVX512,
		product: []wholeProductOf{product1Q8_0Whole, product2Q8_0Whole, product3Q8_0Whole, product4Q8_0Whole}, directProduct: product1Q8_0WholeDirect,
		kernel: &wholeScaled, words: wordsQ8_0AVX2, inBytes: bytesQ8_0AVX512,
	}, {
		Layout: quant.Q4_0, elements: 128, bytes: 384, times: 0x08080808, numbers: wholeAVX512,
		product: []wholeProductOf{product1Q4_0Whole, product2Q4_0Whole, product3Q4_0Whole, product4Q4_0Whole}, directProduct: product1Q4_0WholeDirect,
		kernel: &wholeScaled, words: wordsQ4_0AVX2, inBytes: bytesQ4_0AVX512,
	}, {
		Layout: quant.Q4_K, elements: 256, bytes: 768, times: 0x01010101, numbers: wholeQ4_KAVX512,
		product: []wholeProductOf{product1Q4_KWhole, product2Q4_KWhole, product3Q4_KWhole, product4Q4_KWhole}, directProduct: product1Q4_KWholeDirect,
		kernel: &wholeAdding, words: wordsQ4_KAVX2, inBytes: bytesQ4_KAVX512,
	}, {
		Layout: quant.Q6_K, elements: 256, bytes: 1024, times: 0x20202020, numbers: wholeQ6_KAVX512,
		product: []wholeProductOf{product1Q6_KWhole, product2Q6_KWhole, product3Q6_KWhole, product4Q6_KWhole}, directProduct: product1Q6_KWholeDirect,
		kernel: &wholeHalves, words: wordsQ6_KAVX2,
	}, {
		Layout: affine8, elements: 128, bytes: 384, times: 0x01010101, numbers: wholeAffine8AVX512,
		affineProduct: []affineProductOf{product1Affine8Whole, product2Affine8Whole, product3Affine8Whole, product4Affine8Whole}, directAffineProduct: product1Affine8WholeDirect,
		kernel: &wholeAdding, affineWords: wordsAffine8AVX2, affineInBytes: bytesAffine8AVX512,
	}, {
		Layout: affine4, elements: 128, bytes: 384, times: 0x01010101, numbers: wholeAffine4AVX512,
		affineProduct: []affineProductOf{product1Affine4Whole, product2Affine4Whole, product3Affine4Whole, product4Affine4Whole}, directAffineProduct: product1Affine4WholeDirect,
		kernel: &wholeAdding, affineWords: wordsAffine4AVX2, affineInBytes: bytesAffine4AVX512,
	},
}

// narrowWholes are for AVX2, and for AVX-VNNI. Their results have the same bits.
var narrowWholes = []wholeRoutines{
	{
		Layout: quant.Q8_0, elements: 128, bytes: 384, times: 0, numbers: wholePairsAVX2,
		product: []wholeProductOf{product1Q8_0WholeAVX2, product2Q8_0WholeAVX2, product3Q8_0WholeAVX2, product4Q8_0WholeAVX2},
		kernel:  &wholeScaled, words: wordsQ8_0AVX2,
	}, {
		Layout: quant.Q4_0, elements: 128, bytes: 384, times: 8, numbers: wholeAVX2,
		product: []wholeProductOf{product1Q4_0WholeAVX2, product2Q4_0WholeAVX2, product3Q4_0WholeAVX2, product4Q4_0WholeAVX2}, vnniProduct: product1Q4_0WholeAVXVNNI,
		kernel: &wholeScaled, words: wordsQ4_0AVX2,
	}, {
		Layout: quant.Q4_K, elements: 256, bytes: 768, times: 1, numbers: wholeQ4_KAVX2,
		product: []wholeProductOf{product1Q4_KWholeAVX2, product2Q4_KWholeAVX2, product3Q4_KWholeAVX2, product4Q4_KWholeAVX2}, vnniProduct: product1Q4_KWholeAVXVNNI,
		kernel: &wholeAdding, words: wordsQ4_KAVX2,
	}, {
		Layout: quant.Q6_K, elements: 256, bytes: 1024, times: 32, numbers: wholeQ6_KAVX2,
		product: []wholeProductOf{product1Q6_KWholeAVX2, product2Q6_KWholeAVX2, product3Q6_KWholeAVX2, product4Q6_KWholeAVX2}, vnniProduct: product1Q6_KWholeAVXVNNI,
		kernel: &wholeHalves, words: wordsQ6_KAVX2,
	}, {
		Layout: affine8, elements: 128, bytes: 384, times: 1, numbers: wholeAffine8PairsAVX2,
		affineProduct: []affineProductOf{product1Affine8WholeAVX2, product2Affine8WholeAVX2, product3Affine8WholeAVX2, product4Affine8WholeAVX2},
		kernel:        &wholeAdding, affineWords: wordsAffine8AVX2,
	}, {
		Layout: affine4, elements: 128, bytes: 384, times: 1, numbers: wholeAffine4AVX2,
		affineProduct: []affineProductOf{product1Affine4WholeAVX2, product2Affine4WholeAVX2, product3Affine4WholeAVX2, product4Affine4WholeAVX2}, vnniAffineProduct: product1Affine4WholeAVXVNNI,
		kernel: &wholeAdding, affineWords: wordsAffine4AVX2,
	},
}

// wholes are those for this processor.
func wholes() []wholeRoutines {
	switch {
	case haveGFNI:
		return wideWholes
	case haveAVX512: // which is faster in float32, but with one token
		return nil
	case haveAVX2:
		return narrowWholes
	}
	return nil
}

// wholeFor is the routines for rows of so many elements, or nil.
func wholeFor(l quant.Layout, cols int) *wholeRoutines {
	for i := range wholes() {
		if of := &wholes()[i]; of.Layout == l && of.product != nil && cols > 0 && cols%of.elements == 0 {
			return of
		}
	}
	return nil
}

// wholeForAffine is the routines for rows of so many elements, of 4 or 8 bits, in groups, or nil.
func wholeForAffine(width, group, cols int) *wholeRoutines {
	l := affine8
	if width == 4 {
		l = affine4
	}
	for i := range wholes() {
		if of := &wholes()[i]; of.Layout == l && group >= QuantizedGroup && of.elements%group == 0 && cols > 0 && cols%of.elements == 0 {
			return of
		}
	}
	return nil
}

// productOf is the product of so many tokens.
func (of *wholeRoutines) productOf(tokens int) wholeProductOf {
	switch {
	case tokens == 1 && haveAVXVNNI && of.vnniProduct != nil:
		return of.vnniProduct
	case tokens == 1 && direct && of.directProduct != nil:
		return of.directProduct
	}
	return of.product[tokens-1]
}

// affineProductOf is the same for affine groups.
func (of *wholeRoutines) affineProductOf(tokens int) affineProductOf {
	switch {
	case tokens == 1 && haveAVXVNNI && of.vnniAffineProduct != nil:
		return of.vnniAffineProduct
	case tokens == 1 && direct && of.directAffineProduct != nil:
		return of.directAffineProduct
	}
	return of.affineProduct[tokens-1]
}

// whole is the whole numbers of x, in the memory of dst if they fit in.
func whole(dst []byte, x []float32, of *wholeRoutines) []byte {
	size := len(x) / of.elements * of.bytes
	if cap(dst) < size {
		dst = slices.Grow(dst[:0], size+wholeAlign)
		dst = dst[:cap(dst)]
		dst = dst[-uintptr(unsafe.Pointer(unsafe.SliceData(dst)))%wholeAlign:]
	}
	dst = dst[:size]
	of.numbers(dst, x, of.times)
	return dst
}

// wholeProduct is the product with some rows, whose scales and biases are numbers if they are affine.
func wholeProduct(a *Activations, dst []float32, stride int, w []byte, numbers *AffineNumbers, rows int) {
	of := a.routines
	most := max(len(of.product), len(of.affineProduct)) // tokens that a routine takes
	row, size := a.cols/of.Elements*of.Bytes, a.cols/of.elements*of.bytes
	step := rows
	if numbers == nil {
		step = rowsAtOnce(rows, row, a.tokens, min(a.tokens, most))
	}
	for r := 0; r < rows; r += step {
		n := min(step, rows-r)
		part, next := w[r*row:(r+n)*row], w[min(len(w), r*row+ahead(n*row, row)):]
		for t := 0; t < a.tokens; {
			take := min(a.tokens-t, most)
			if numbers == nil {
				of.productOf(take)(dst[t*stride+r:], stride, a.numbers[t*size:], part, next, n, a.cols)
			} else {
				of.affineProductOf(take)(dst[t*stride+r:], stride, a.numbers[t*size:], part, next, n, a.cols, of.elements/a.group, (*[2][4096]float32)(numbers))
			}
			next = part[:0] // it is on its way
			t += take
		}
	}
}
