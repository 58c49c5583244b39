package simd

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
)

// weightStep is twice by how much a weight times a scale may be off, as a share of the largest weight times the largest scale beside it: one of the whole numbers
// that it may be, and half as much for the rounding of what they are made of.
func weightStep(bits int, few bool) float64 {
	switch {
	case bits == 8 && few:
		return 1.5 / 0xfff0
	case bits == 8:
		return 1.5 / 0xfffff0
	case few:
		return 1.5 / 0x7f70
	}
	return 1.5 / 0x7f7f70
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

// Few bits are taken where what weights sum up to is large beside each.
func TestWeightedSumsOfValuesEqualFloat64(t *testing.T) {
	eachLevel(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(23, 24))
		var w Weights
		for _, bits := range []int{8, 4} {
			for _, heads := range []int{1, 2, 4, 7} {
				for _, n := range []int{0, 1, 4, 50, 256, 261} {
					for _, dim := range []int{16, 32, 96, 256} {
						for _, few := range []bool{false, true} {
							what := fmt.Sprintf("%d bits, %d heads, %d rows of %d, few bits %v", bits, heads, n, dim, few)
							stride := n + 3
							rows, scales, _ := quantizedRows(r, bits, n, dim)
							if bits == 8 {
								for i, v := range scales {
									scales[i] = float32(math.Abs(float64(v)))
								}
							}
							p, o, sums, most := softmaxed(r, heads, stride, n), floats(t, r, heads*dim), make([]float32, heads), make([]float64, heads)
							for h := range heads {
								for _, v := range p[h*stride : h*stride+n] {
									most[h] = max(most[h], float64(v))
									sums[h] += v
								}
								if few {
									sums[h] = weighedFew * float32(most[h])
								}
							}
							old := append([]float32(nil), o...)
							w.Values(bits, o, p, stride, rows, inHalves(scales), sums, rows[:min(len(rows), 64)], heads, n, dim)
							largest := make([]float64, groups(dim)) // scale of each group
							for i, v := range scales {
								largest[i%groups(dim)] = max(largest[i%groups(dim)], math.Abs(float64(v)))
							}
							for i := range o {
								h, d := i/dim, i%dim
								want, size, whole := float64(old[i]), math.Abs(float64(old[i])), 0.0
								for j := range n {
									weight := float64(p[h*stride+j]) * float64(scales[j*groups(dim)+d/QuantizedGroup])
									value := float64(element(bits, rows[j*dim*bits/8:], d))
									want, size, whole = want+weight*value, size+math.Abs(weight*value), whole+math.Abs(value)
								}
								off := 3e-6 * size
								if w.weighed != nil {
									off += weightStep(bits, few) * most[h] / 2 * largest[d/QuantizedGroup] * whole
								}
								if diff := math.Abs(float64(o[i]) - want); !(diff <= off) {
									t.Fatalf("%s: sum %d is %v, not %v: off by %g, more than %g", what, i, o[i], want, diff, off)
								}
							}
						}
					}
				}
			}
		}
	})
}

// Sums of whole numbers must fit, whatever the values are.
func TestWeightedSumsOfTheLargestValuesDoNotOverflow(t *testing.T) {
	eachLevel(t, func(t *testing.T) {
		const heads, dim = 4, 64
		for _, bits := range []int{8, 4} {
			for _, of := range []byte{0x80, 0x7f, 0x00, 0xff} { // values of 8 bits, and two of 4
				for _, sum := range []float32{0, 1000} {
					rows, scales, p := make([]byte, dealtKeys*dim*bits/8), make([]float32, dealtKeys*groups(dim)), make([]float32, heads*dealtKeys)
					for i := range rows {
						rows[i] = of
					}
					for i := range scales {
						scales[i] = 0.5
					}
					for i := range p {
						p[i] = 1
					}
					o := make([]float32, heads*dim)
					var w Weights
					w.Values(bits, o, p, dealtKeys, rows, inHalves(scales), []float32{sum, sum, sum, sum}, nil, heads, dealtKeys, dim)
					for i, v := range o {
						want := dealtKeys / 2 * float64(element(bits, rows, i%dim))
						near(t, fmt.Sprintf("%d bits, all %#x, weights up to %v: sum %d", bits, of, sum, i), v, want, math.Abs(want), 1e-5)
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
				for _, sum := range []float32{0, weighedFew} { // of all that is finite: 24 bits, 16
					got, want, sums := make([]float32, heads*dim), make([]float32, heads*dim), make([]float32, heads)
					for h := range sums {
						sums[h] = sum
					}
					var w Weights
					w.Values(bits, got, p, n, rows, inHalves(by), sums, nil, heads, n, dim)
					ValuesQuantized(bits, want, p, n, rows, by, nil, heads, n, dim)
					for i, v := range got {
						near(t, fmt.Sprintf("%d bits, %s, a sum of %v: sum %d", bits, c.what, sum, i), v, float64(want[i]), 1, map[float32]float64{0: 1e-5, weighedFew: 2e-3}[sum])
					}
				}
			}
		}
	})
}
