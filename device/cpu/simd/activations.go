package simd

import "github.com/orrery-ai/orrery/device/quant"

// Activations are rows of activations, ready for products with quantized weights of one layout. Where there are routines for it, they are whole numbers
// of 16 bits, with a scale for each 32: a row's error is 2⁻¹⁶ of the largest in each 32 elements at most. An element that is not finite makes NaN of the
// 32 it is among. The zero value is ready.
type Activations struct {
	tokens, cols int
	group        int    // of the weights, if they are affine
	numbers      []byte // as the routines take them
	routines     *wholeRoutines
}

// Set takes x [tokens][cols] for products with weights of that layout, and reports whether there are routines for them here. If not, they are to be
// multiplied as they are.
func (a *Activations) Set(l quant.Layout, x []float32, tokens, cols int) bool {
	return a.set(wholeFor(l, cols), x, tokens, cols)
}

// SetAffine is Set for weights of 4 or 8 bits in affine groups.
func (a *Activations) SetAffine(bits, group int, x []float32, tokens, cols int) bool {
	a.group = group
	return a.set(wholeForAffine(bits, group, cols), x, tokens, cols)
}

func (a *Activations) set(of *wholeRoutines, x []float32, tokens, cols int) bool {
	a.tokens, a.cols, a.routines = tokens, cols, of
	if of == nil {
		return false
	}
	a.numbers = whole(a.numbers, x[:tokens*cols], of)
	return true
}

// Product is [ProductF32] with these activations, after a Set that reported true, and w as blocks of the layout that they were set for. A token's result does not depend
// on the others. It may be called by several goroutines at a time.
func (a *Activations) Product(dst []float32, stride int, w []byte, rows int) {
	if a.tokens == 0 || rows == 0 {
		return
	}
	wholeProduct(a, dst[:(a.tokens-1)*stride+rows], stride, w, nil, rows)
}

// ProductAffine is [ProductAffine] with these activations, after a SetAffine that reported true.
func (a *Activations) ProductAffine(dst []float32, stride int, w []byte, numbers *AffineNumbers, rows int) {
	if a.tokens == 0 || rows == 0 {
		return
	}
	wholeProduct(a, dst[:(a.tokens-1)*stride+rows], stride, w, numbers, rows)
}
