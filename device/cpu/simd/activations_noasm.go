//go:build !amd64 || noasm

package simd

import "github.com/orrery-ai/orrery/device/quant"

// wholeRoutines are none.
type wholeRoutines struct{}

func wholeFor(quant.Layout, int) *wholeRoutines { return nil }

func wholeForAffine(int, int, int) *wholeRoutines { return nil }

func whole(_ []byte, _ []float32, _ *wholeRoutines) []byte {
	panic("simd: nothing multiplies whole numbers")
}

func wholeProduct(*Activations, []float32, int, []byte, *AffineNumbers, int) {
	panic("simd: nothing multiplies whole numbers")
}
