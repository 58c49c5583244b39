package simd

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
)

// weightError is by how much a sum of values may be off for each value, as a share of the largest product of weight and scale in its
// group times the value's magnitude without its scale: a little more than half a step of whole numbers of 24 bits, one bit a sign in 4 bits.
func weightError(bits int) float64 {
	if bits == 4 {
		return 0.75 / 0x7f7f70
	}
	return 0.75 / 0xfffff0
}

// softmaxed is n weights for each of heads, as a softmax leaves them: the largest anything up to 1, and most much smaller.
func softmaxed(r *rand.Rand, heads, stride, n int) []float32 {
	p := make([]float32, heads*stride)
	for h := range heads {
		most := -20 * r.Float64() * r.Float64()
		for j := range n {
			p[h*stride+j] = float32(math.Exp(most - 8*r.ExpFloat64()))
		}
	}
	return p
}

func TestWeightedSumsOfValuesEqualFloat64(t *testing.T) {
	eachLevel(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(23, 24))
		var w Weights
		for _, bits := range []int{8, 4} {
			for _, heads := range []int{1, 2, 4, 7} {
				for _, n := range []int{0, 1, 4, 50, 128, 161} {
					for _, dim := range []int{16, 32, 96, 128, 256} {
						what := fmt.Sprintf("%d bits, %d heads, %d rows of %d", bits, heads, n, dim)
						stride := n + 3
						rows, scales, _ := quantizedRows(r, bits, n, dim)
						if bits == 8 {
							for i, v := range scales {
								scales[i] = float32(math.Abs(float64(v)))
							}
						}
						p, o := softmaxed(r, heads, stride, n), floats(t, r, heads*dim)
						old := append([]float32(nil), o...)
						w.Values(bits, o, p, stride, rows, inHalves(scales), rows[:min(len(rows), 64)], heads, n, dim)
						for i := range o {
							h, d := i/dim, i%dim
							want, size, largest, whole := float64(old[i]), math.Abs(float64(old[i])), 0.0, 0.0
							for j := range n {
								weight := float64(p[h*stride+j]) * float64(scales[j*groups(dim)+d/QuantizedGroup])
								value := float64(element(bits, rows[j*dim*bits/8:], d))
								want, size = want+weight*value, size+math.Abs(weight*value)
								largest, whole = max(largest, math.Abs(weight)), whole+math.Abs(value)
							}
							off := 3e-6 * size
							if w.weighed != nil {
								off += weightError(bits) * largest * whole
							}
							near(t, what+": sum "+fmt.Sprint(i), o[i], want, off, 1)
						}
					}
				}
			}
		}
	})
}

func TestWeightsOfAnySizeAndWhatIsNotFinite(t *testing.T) {
	eachLevel(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(27, 28))
		const heads, n, dim = 4, 128, 64
		for _, bits := range []int{8, 4} {
			rows, scales, _ := quantizedRows(r, bits, n, dim)
			for i, v := range scales {
				scales[i] = float32(math.Abs(float64(v)))
			}
			for _, c := range []struct {
				what          string
				weight, scale float32 // one of each, unless 0
				all           float32 // all weights times this
			}{
				{"nothing", 0, 0, 0},
				{"tiny weights", 0, 0, 1e-37},
				{"a weight that is NaN", nan, 0, 1},
				{"an infinite weight", float32(math.Inf(1)), 0, 1},
				{"a negative weight", -1, 0, 1},
				{"a scale that is NaN", 0, nan, 1},
				{"an infinite scale", 0, float32(math.Inf(-1)), 1},
				{"a negative scale", 0, -0.5, 1},
			} {
				p, by := softmaxed(r, heads, n, n), append([]float32(nil), scales...)
				for i := range p {
					p[i] *= c.all
				}
				if c.weight != 0 {
					p[n+77] = c.weight
				}
				if c.scale != 0 {
					by[2*50+1] = c.scale
				}
				got, want := make([]float32, heads*dim), make([]float32, heads*dim)
				var w Weights
				w.Values(bits, got, p, n, rows, inHalves(by), nil, heads, n, dim)
				ValuesQuantized(bits, want, p, n, rows, by, nil, heads, n, dim)
				for i, v := range got {
					near(t, fmt.Sprintf("%d bits, %s: sum %d", bits, c.what, i), v, float64(want[i]), 1, 1e-5)
				}
			}
		}
	})
}
