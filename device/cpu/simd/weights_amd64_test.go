//go:build amd64 && !noasm

package simd

import (
	"math"
	"math/rand/v2"
	"testing"
)

func TestLargestAndNormalizedScalesEqualTheirLoops(t *testing.T) {
	t.Run("AVX2", func(t *testing.T) {
		if !haveAVX2 {
			t.Skip("this processor has no AVX2")
		}
		largestAndNormalizedEqualTheirLoops(t, largestAVX2, normalizeAVX2)
	})
	t.Run("AVX-512", func(t *testing.T) {
		if !haveVNNI {
			t.Skip("this processor has no VNNI")
		}
		largestAndNormalizedEqualTheirLoops(t, largestAVX512, normalizeAVX512)
	})
}

func largestAndNormalizedEqualTheirLoops(t *testing.T, largest func(most, x []float32, stride int), normalize func(most, x []float32, bits uint32)) {
	r := rand.New(rand.NewPCG(29, 30))
	inf := float32(math.Inf(1))
	for range 200 {
		rows, stride := 1+r.IntN(8), dealtKeys+r.IntN(3)
		x := floats(t, r, rows*stride)
		for i := range x {
			if r.IntN(4) > 0 { // of both signs in a few rows only
				x[i] = float32(math.Abs(float64(x[i])))
			}
		}
		x[r.IntN(len(x))] = []float32{0, 1, 100, -100, nan, inf, -inf, 0x1p-149}[r.IntN(8)]
		if r.IntN(8) == 0 {
			clear(x)
		}
		got := make([]float32, rows)
		largest(got, x[:(rows-1)*stride+dealtKeys], stride)
		for i, v := range got {
			if want := largestByBits(x[i*stride:][:dealtKeys], math.MaxUint32); math.Float32bits(v) != want {
				t.Fatalf("the largest of row %d is %v, not %v", i, v, math.Float32frombits(want))
			}
		}
		for _, mask := range []uint32{math.MaxUint32, math.MaxInt32} {
			scales := append([]float32(nil), x[:rows*dealtKeys]...)
			normalize(got, scales, mask)
			for i, v := range got {
				row := x[i*dealtKeys:][:dealtKeys]
				want := largestByBits(row, mask)
				if math.Float32bits(v) != want {
					t.Fatalf("the largest of row %d is %v, not %v", i, v, math.Float32frombits(want))
				}
				if want >= math.Float32bits(inf) {
					continue // they are not used
				}
				factor := 1 / max(v, 0x1p-100)
				for j, s := range scales[i*dealtKeys:][:dealtKeys] {
					if s != row[j]*factor {
						t.Fatalf("scale %d of row %d, %v, is %v rather than %v", j, i, row[j], s, row[j]*factor)
					}
				}
			}
		}
	}
}

// largestByBits is the largest of x with these bits, as whole numbers without a sign.
func largestByBits(x []float32, mask uint32) (most uint32) {
	for _, v := range x {
		most = max(most, math.Float32bits(v)&mask)
	}
	return most
}
