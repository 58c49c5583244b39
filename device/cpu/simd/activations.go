package simd

import "github.com/orrery-ai/orrery/device/quant"

// Activations are rows of activations, ready for products with quantized weights of one layout. Where there are routines for it, they are whole numbers
// of 16 bits, with a scale for each 32: a row's error is 2⁻¹⁶ of the largest in each 32 elements at most. An element that is not finite makes NaN of the
// 32 it is among. The zero value is ready.
type Activations struct {
	tokens, cols int
	numbers      []byte // as the routines take them
	routines     *wholeRoutines
}

// Set takes x [tokens][cols] for products with weights of that layout, and reports whether there are routines for them here. If not, they are to be
// multiplied as they are.
func (a *Activations) Set(l quant.Layout, x []float32, tokens, cols int) bool {
	a.tokens, a.cols, a.routines = tokens, cols, wholeFor(l, cols)
	if a.routines == nil {
		return false
	}
	a.numbers = whole(a.numbers, x[:tokens*cols], a.routines)
	return true
}

// Product is [ProductF32] with these activations, after a Set that reported true, and w as blocks of the layout that they were set for. A token's result does not depend
// on the others. It may be called by several goroutines at a time.
func (a *Activations) Product(dst []float32, stride int, w []byte, rows int) {
	if a.tokens == 0 || rows == 0 {
		return
	}
	wholeProduct(a, dst[:(a.tokens-1)*stride+rows], stride, w, rows)
}
