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
	times           uint32 // what stands for zero among unsigned weights, four times, or 1 where sums are needed as they are
	numbers         func(dst []byte, x []float32, times uint32)

	// Products of 1, 2, 4 or 8 tokens.
	product       [4]func(s []float32, stride int, q, k, next []byte, n, dim int)
	affineProduct [4]func(s []float32, stride int, q, k, next []byte, n, dim, per int, numbers *[2][4096]float32)
}

var (
	wholeQ8_0 = wholeRoutines{
		Layout: quant.Q8_0, elements: 128, bytes: 448, times: 0x80808080, numbers: wholeAVX512,
		product: [...]func(s []float32, stride int, q, k, next []byte, n, dim int){product1Q8_0Whole, product2Q8_0Whole, product4Q8_0Whole, product8Q8_0Whole},
	}
	wholeQ4_0 = wholeRoutines{
		Layout: quant.Q4_0, elements: 128, bytes: 448, times: 0x08080808, numbers: wholeAVX512,
		product: [...]func(s []float32, stride int, q, k, next []byte, n, dim int){product1Q4_0Whole, product2Q4_0Whole, product4Q4_0Whole, product8Q4_0Whole},
	}
	wholeQ4_K = wholeRoutines{
		Layout: quant.Q4_K, elements: 256, bytes: 768, times: 0x01010101, numbers: wholeQ4_KAVX512,
		product: [...]func(s []float32, stride int, q, k, next []byte, n, dim int){product1Q4_KWhole, product2Q4_KWhole, product4Q4_KWhole, product8Q4_KWhole},
	}
	wholeQ6_K = wholeRoutines{
		Layout: quant.Q6_K, elements: 256, bytes: 1024, times: 0x20202020, numbers: wholeQ6_KAVX512,
		product: [...]func(s []float32, stride int, q, k, next []byte, n, dim int){product1Q6_KWhole, product2Q6_KWhole, product4Q6_KWhole, product8Q6_KWhole},
	}
	wholeAffine8 = wholeRoutines{
		Layout: quant.Layout{Elements: 1, Bytes: 1}, elements: 128, bytes: 384, times: 0x01010101, numbers: wholeAffine8AVX512,
		affineProduct: [...]func(s []float32, stride int, q, k, next []byte, n, dim, per int, numbers *[2][4096]float32){
			product1Affine8Whole, product2Affine8Whole, product4Affine8Whole, product8Affine8Whole},
	}
	wholeAffine4 = wholeRoutines{
		Layout: quant.Layout{Elements: 2, Bytes: 1}, elements: 128, bytes: 384, times: 0x01010101, numbers: wholeAffine4AVX512,
		affineProduct: [...]func(s []float32, stride int, q, k, next []byte, n, dim, per int, numbers *[2][4096]float32){
			product1Affine4Whole, product2Affine4Whole, product4Affine4Whole, product8Affine4Whole},
	}
)

// wholes are those for blocks.
var wholes = []*wholeRoutines{&wholeQ8_0, &wholeQ4_0, &wholeQ4_K, &wholeQ6_K}

// wholeFor is the routines for rows of so many elements, or nil.
func wholeFor(l quant.Layout, cols int) *wholeRoutines {
	for _, of := range wholes {
		if haveGFNI && of.Layout == l && cols > 0 && cols%of.elements == 0 {
			return of
		}
	}
	return nil
}

// wholeForAffine is the routines for rows of so many elements in groups, or nil.
func wholeForAffine(bits, group, cols int) *wholeRoutines {
	of := &wholeAffine8
	if bits == 4 {
		of = &wholeAffine4
	}
	if haveGFNI && group >= QuantizedGroup && of.elements%group == 0 && cols > 0 && cols%of.elements == 0 {
		return of
	}
	return nil
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
	row, size := a.cols/of.Elements*of.Bytes, a.cols/of.elements*of.bytes
	step := rows
	if a.tokens > 8 && numbers == nil {
		step = max(4, productBytes/row&^3)
	}
	for r := 0; r < rows; r += step {
		n := min(step, rows-r)
		part, next := w[r*row:(r+n)*row], w[min(len(w), r*row+ahead(n*row, row)):]
		for t := 0; t < a.tokens; {
			take, at := 1, 0
			for take < 8 && t+2*take <= a.tokens {
				take, at = 2*take, at+1
			}
			if numbers == nil {
				of.product[at](dst[t*stride+r:], stride, a.numbers[t*size:], part, next, n, a.cols)
			} else {
				of.affineProduct[at](dst[t*stride+r:], stride, a.numbers[t*size:], part, next, n, a.cols, of.elements/a.group, (*[2][4096]float32)(numbers))
			}
			next = part[:0] // it is on its way
			t += take
		}
	}
}
