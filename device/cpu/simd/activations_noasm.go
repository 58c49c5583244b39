//go:build !amd64 || noasm

package simd

import "github.com/orrery-ai/orrery/device/quant"

const noWholeNumbers = "simd: nothing multiplies whole numbers"

// wholeRoutines are none.
type wholeRoutines struct{}

func wholeFor(quant.Layout, int) *wholeRoutines { return nil }

func wholeForAffine(int, int, int) *wholeRoutines { return nil }

func whole(_ []byte, _ []float32, _ *wholeRoutines) []byte {
	panic(noWholeNumbers)
}

func wholeProduct(*Activations, []float32, int, []byte, *AffineNumbers, int) {
	panic(noWholeNumbers)
}
