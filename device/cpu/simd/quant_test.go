package simd

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/orrery-ai/orrery/device/quant"
)

var blockTests = []struct {
	name    string
	layout  quant.Layout
	scales  []int // where a block has halves
	from    func(dst []float32, src []byte)
	twin    func(dst []float32, src []byte)
	product func(dst []float32, stride int, x []float32, w []byte, tokens, rows, cols int)
}{
	{"Q8_0", quant.Q8_0, []int{0}, FromQ8_0, quant.FromQ8_0, ProductQ8_0},
	{"Q4_0", quant.Q4_0, []int{0}, FromQ4_0, quant.FromQ4_0, ProductQ4_0},
	{"Q4_K", quant.Q4_K, []int{0, 2}, FromQ4_K, quant.FromQ4_K, ProductQ4_K},
	{"Q6_K", quant.Q6_K, []int{208}, FromQ6_K, quant.FromQ6_K, ProductQ6_K},
}

// blocks is random blocks at an odd address, with scales of ordinary size.
func blocks(r *rand.Rand, n int, l quant.Layout, scales []int) []byte {
	b := make([]byte, 1+n*l.Bytes)[1:]
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	for i := range n {
		for _, at := range scales {
			ToF16(b[i*l.Bytes+at:], []float32{float32(r.NormFloat64()) / 8})
		}
	}
	return b
}

func TestProductsOfBlocksEqualFloat64(t *testing.T) {
	eachLevel(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(8, 8))
		for _, c := range blockTests {
			for _, n := range []int{0, 1, 2, 3, 8} {
				cols := n * c.layout.Elements
				for _, rows := range []int{0, 1, 2, 5, 11} {
					for _, tokens := range []int{0, 1, 2, 3, 7, 8, 17} {
						w := blocks(r, rows*n, c.layout, c.scales)
						values, twin := make([]float32, rows*cols), make([]float32, rows*cols)
						c.from(values, w)
						c.twin(twin, w)
						if !slices.Equal(values, twin) {
							t.Fatalf("%s: %d blocks do not expand to what the twin says", c.name, rows*n)
						}
						stride := rows + r.IntN(3)
						x, dst := floats(t, r, tokens*cols), floats(t, r, tokens*stride)
						old := append([]float32(nil), dst...)
						c.product(dst, stride, x, w, tokens, rows, cols)
						for i, got := range dst {
							token, row := i/max(1, stride), i%max(1, stride)
							if row >= rows {
								near(t, "past the rows", got, float64(old[i]), 0, 0)
								continue
							}
							var want, size float64
							for k, v := range values[row*cols : (row+1)*cols] {
								want += float64(x[token*cols+k]) * float64(v)
								size += math.Abs(float64(x[token*cols+k]) * float64(v))
							}
							near(t, c.name, got, want, size, 1e-6)
						}
						for token := range tokens { // the same bits alone
							alone := make([]float32, rows)
							c.product(alone, rows, x[token*cols:], w, 1, rows, cols)
							if !slices.Equal(alone, dst[token*stride:][:rows]) {
								t.Fatalf("%s: token %d of %d gives %v, alone %v", c.name, token, tokens, dst[token*stride:][:rows], alone)
							}
						}
					}
				}
			}
		}
	})
}

func TestProductsOfBlocksPropagateNaNAndInf(t *testing.T) {
	eachLevel(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(9, 9))
		for _, c := range blockTests {
			for _, special := range []float32{nan, float32(math.Inf(1))} {
				w := blocks(r, 3, c.layout, c.scales)
				for _, at := range c.scales {
					ToF16(w[c.layout.Bytes+at:], []float32{special})
				}
				cols := 3 * c.layout.Elements
				x := make([]float32, cols)
				for i := range x {
					x[i] = 1
				}
				values := make([]float32, cols)
				c.twin(values, w)
				var want float32
				for _, v := range values {
					want += v
				}
				dst := make([]float32, 1)
				c.product(dst, 1, x, w, 1, 1, cols)
				near(t, c.name, dst[0], float64(want), 0, 0)
			}
		}
	})
}

func TestAffineGroupsExpandAsTheTwinSays(t *testing.T) {
	eachLevel(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(10, 10))
		for _, bits := range []int{4, 8} {
			for _, group := range []int{32, 64, 128} {
				for _, groups := range []int{0, 1, 2, 5} {
					n := group * groups
					q := make([]byte, 1+n*bits/8)[1:]
					for i := range q {
						q[i] = byte(r.Uint32())
					}
					scales, biases, dst, want := floats(t, r, groups), floats(t, r, groups), floats(t, r, n), make([]float32, n)
					if groups == 5 {
						scales[1], biases[2] = nan, float32(math.Inf(-1))
					}
					FromAffine(dst, q, bits, group, scales, biases)
					quant.FromAffine(want, q, bits, group, scales, biases)
					for i := range dst {
						near(t, "element", dst[i], float64(want[i]), 1+math.Abs(float64(want[i])), 1e-6) // the twin may multiply and add at once
					}
				}
			}
		}
	})
}

func TestProductsOfAffineGroupsEqualFloat64(t *testing.T) {
	if AffineRows(1, false) == 0 {
		t.Skip("there is no such routine on this machine")
	}
	r := rand.New(rand.NewPCG(11, 11))
	for _, bits := range []int{4, 8} {
		for _, group := range []int{32, 64, 128} {
			for _, cols := range []int{group, 3 * group} {
				for _, rows := range []int{0, 1, 2, 5, 11} {
					for _, tokens := range []int{0, 1, 2, 3, 7, 8, 17} {
						groups := rows * cols / group
						q := make([]byte, 1+rows*cols*bits/8)[1:]
						for i := range q {
							q[i] = byte(r.Uint32())
						}
						var numbers AffineNumbers
						for i := range groups {
							numbers[0][i], numbers[1][i] = float32(r.NormFloat64()), float32(r.NormFloat64())
						}
						special := groups > 4 && tokens == 3
						if special {
							numbers[0][1], numbers[1][2] = nan, float32(math.Inf(1))
						}
						values := make([]float32, rows*cols)
						quant.FromAffine(values, q, bits, group, numbers[0][:groups], numbers[1][:groups])
						stride := rows + r.IntN(3)
						x, dst := floats(t, r, tokens*cols), floats(t, r, tokens*stride)
						old := append([]float32(nil), dst...)
						ProductAffine(dst, stride, x, q, bits, group, &numbers, tokens, rows, cols)
						for i, got := range dst {
							token, row := i/max(1, stride), i%max(1, stride)
							if row >= rows {
								near(t, "past the rows", got, float64(old[i]), 0, 0)
								continue
							}
							var want, size float64
							for k, v := range values[row*cols : (row+1)*cols] {
								want += float64(x[token*cols+k]) * float64(v)
								size += math.Abs(float64(x[token*cols+k])) * (math.Abs(float64(v)) + 255)
							}
							near(t, "product", got, want, size, 1e-6)
						}
						for token := range tokens { // the same bits alone
							if special {
								break // NaN equals nothing
							}
							alone := make([]float32, rows)
							ProductAffine(alone, rows, x[token*cols:], q, bits, group, &numbers, 1, rows, cols)
							if !slices.Equal(alone, dst[token*stride:][:rows]) {
								t.Fatalf("%d bits: token %d of %d gives %v, alone %v", bits, token, tokens, dst[token*stride:][:rows], alone)
							}
						}
					}
				}
			}
		}
	}
}
