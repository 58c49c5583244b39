//go:build amd64 && !noasm

package simd

import (
	"slices"
	"unsafe"

	"github.com/orrery-ai/orrery/device/quant"
)

const (
	wholeElements = 128 // that the routines take together
	wholeBytes    = 448 // and what they are then
	wholeAlign    = 64  // what numbers had best begin at a multiple of
)

// wholeRoutines are the products with one layout, of 1, 2, 4 or 8 tokens.
type wholeRoutines struct {
	quant.Layout
	zero    uint32 // the byte that stands for zero among unsigned weights, four times
	product [4]func(s []float32, stride int, q, k, next []byte, n, dim int)
}

var (
	wholeQ8_0 = wholeRoutines{quant.Q8_0, 0x80808080, [...]func(s []float32, stride int, q, k, next []byte, n, dim int){
		product1Q8_0Whole, product2Q8_0Whole, product4Q8_0Whole, product8Q8_0Whole}}
	wholeQ4_0 = wholeRoutines{quant.Q4_0, 0x08080808, [...]func(s []float32, stride int, q, k, next []byte, n, dim int){
		product1Q4_0Whole, product2Q4_0Whole, product4Q4_0Whole, product8Q4_0Whole}}
)

// wholeFor is the routines for rows of so many elements, or nil.
func wholeFor(l quant.Layout, cols int) *wholeRoutines {
	switch {
	case !haveGFNI || cols == 0 || cols%wholeElements != 0:
	case l == quant.Q8_0:
		return &wholeQ8_0
	case l == quant.Q4_0:
		return &wholeQ4_0
	}
	return nil
}

// whole is the whole numbers of x, in the memory of dst if they fit in.
func whole(dst []byte, x []float32, of *wholeRoutines) []byte {
	size := len(x) / wholeElements * wholeBytes
	if cap(dst) < size {
		dst = slices.Grow(dst[:0], size+wholeAlign)
		dst = dst[:cap(dst)]
		dst = dst[-uintptr(unsafe.Pointer(unsafe.SliceData(dst)))%wholeAlign:]
	}
	dst = dst[:size]
	wholeAVX512(dst, x, of.zero)
	return dst
}

func wholeProduct(a *Activations, dst []float32, stride int, w []byte, rows int) {
	row, size := a.cols/a.routines.Elements*a.routines.Bytes, a.cols/wholeElements*wholeBytes
	step := rows
	if a.tokens > 8 {
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
			a.routines.product[at](dst[t*stride+r:], stride, a.numbers[t*size:], part, next, n, a.cols)
			next = part[:0] // it is on its way
			t += take
		}
	}
}
