package simd

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/orrery-ai/orrery/device/quant"
)

// wholeTests are the layouts that activations as whole numbers are multiplied with.
var wholeTests = []struct {
	name   string
	layout quant.Layout
	scales []int // where a block has halves
	cols   []int
	most   float32 // activations with which no product is too large
	twin   func(dst []float32, src []byte)
}{
	{"Q8_0", quant.Q8_0, []int{0}, []int{128, 256, 640}, 0x1p118, quant.FromQ8_0},
	{"Q4_0", quant.Q4_0, []int{0}, []int{128, 256, 640}, 0x1p118, quant.FromQ4_0},
	{"Q4_K", quant.Q4_K, []int{0, 2}, []int{256, 512, 1280}, 0x1p112, quant.FromQ4_K},
	{"Q6_K", quant.Q6_K, []int{208}, []int{256, 512, 1280}, 0x1p112, quant.FromQ6_K},
}

// wholeOf is x as the routines have it: whole numbers in groups of 32, and their scales.
func wholeOf(x []float32) (numbers []int, scales []float32) {
	for i := 0; i < len(x); i += 32 {
		largest := float32(0)
		for _, v := range x[i : i+32] {
			largest = max(largest, float32(math.Abs(float64(v))))
		}
		factor := min(float32(32639)/largest, math.MaxFloat32)
		for _, v := range x[i : i+32] {
			numbers = append(numbers, int(math.RoundToEven(float64(v*factor))))
		}
		scales = append(scales, largest*float32(1.0/32639))
	}
	return numbers, scales
}

func TestProductsOfWholeNumbersAreExactButForAddingUp(t *testing.T) {
	if !haveGFNI {
		t.Skip("there are no routines for whole numbers on this machine")
	}
	r := rand.New(rand.NewPCG(31, 32))
	var a Activations
	for _, c := range wholeTests {
		for _, cols := range c.cols {
			for _, rows := range []int{0, 1, 2, 3, 4, 5, 11} {
				for _, tokens := range []int{0, 1, 2, 3, 4, 7, 8, 17} {
					w := blocks(r, rows*cols/c.layout.Elements, c.layout, c.scales)
					values := make([]float32, rows*cols)
					c.twin(values, w)
					stride := rows + r.IntN(3)
					x, dst := floats(t, r, tokens*cols), floats(t, r, tokens*stride)
					for i := range x { // groups of very different sizes
						x[i] *= float32(math.Pow(2, float64(i/32*7%23-11)))
					}
					old := slices.Clone(dst)
					if !a.Set(c.layout, x, tokens, cols) {
						t.Fatalf("%s: no routines for %d columns", c.name, cols)
					}
					a.Product(dst, stride, w, rows)
					numbers, scales := wholeOf(x)
					for i, got := range dst {
						token, row := i/max(1, stride), i%max(1, stride)
						if row >= rows {
							near(t, "past the rows", got, float64(old[i]), 0, 0)
							continue
						}
						var want, size, exact, step float64
						for k, v := range values[row*cols : (row+1)*cols] {
							at := token*cols + k
							whole := float64(numbers[at]) * float64(scales[at/32]) * float64(v)
							want += whole
							size += math.Abs(whole)
							exact += float64(x[at]) * float64(v)
							step += float64(scales[at/32]) * math.Abs(float64(v))
						}
						what := fmt.Sprintf("%s, %d columns, token %d of %d, row %d of %d", c.name, cols, token, tokens, row, rows)
						near(t, what, got, want, size, 1e-6)
						near(t, what+", of what was given", got, exact, step/2+1e-6*size, 1)
					}
					for token := range tokens { // the same bits alone
						alone := make([]float32, rows)
						var one Activations
						one.Set(c.layout, x[token*cols:], 1, cols)
						one.Product(alone, rows, w, rows)
						if !slices.Equal(alone, dst[token*stride:][:rows]) {
							t.Fatalf("%s: token %d of %d gives %v, alone %v", c.name, token, tokens, dst[token*stride:][:rows], alone)
						}
					}
				}
			}
		}
	}
}

func TestWholeNumbersOfAnySizeAndWhatIsNotFinite(t *testing.T) {
	if !haveGFNI {
		t.Skip("there are no routines for whole numbers on this machine")
	}
	r := rand.New(rand.NewPCG(33, 34))
	const cols, rows = 256, 5
	inf := float32(math.Inf(1))
	var a Activations
	for _, c := range wholeTests {
		w := blocks(r, rows*cols/c.layout.Elements, c.layout, c.scales)
		values := make([]float32, rows*cols)
		c.twin(values, w)
		for _, size := range []float32{0, 0x1p-149, 0x1p-126, 0x1p-112, 1e-30, 1, 1e30, c.most} {
			x, dst := make([]float32, cols), make([]float32, rows)
			for i := range x {
				x[i] = size * (1 - float32(r.IntN(5))/2)
			}
			a.Set(c.layout, x, 1, cols)
			a.Product(dst, rows, w, rows)
			for row, got := range dst {
				var want, sum float64
				for k, v := range values[row*cols : (row+1)*cols] {
					want += float64(x[k]) * float64(v)
					sum += math.Abs(float64(v))
				}
				near(t, fmt.Sprintf("%s: product with activations of %v", c.name, size), got, want, sum*(float64(size)*0x1p-15+1e-35), 1)
			}
		}
		for _, special := range []float32{nan, inf, -inf} {
			x, dst := make([]float32, 2*cols), make([]float32, 2*rows)
			for i := range x {
				x[i] = float32(r.NormFloat64())
			}
			x[cols+77] = special
			a.Set(c.layout, x, 2, cols)
			a.Product(dst, rows, w, rows)
			for i, v := range dst {
				if isNaN := v != v; isNaN != (i >= rows) {
					t.Fatalf("%s: with %v in the second token, element %d is %v", c.name, special, i, v)
				}
			}
			for _, at := range c.scales {
				spoiled := slices.Clone(w)
				ToF16(spoiled[(2*cols+cols/2)/c.layout.Elements*c.layout.Bytes+at:], []float32{special})
				a.Set(c.layout, x, 1, cols)
				a.Product(dst, rows, spoiled, rows)
				for i, v := range dst[:rows] {
					if finite := v-v == 0; finite != (i != 2) {
						t.Fatalf("%s: with a scale of %v in row 2, element %d is %v", c.name, special, i, v)
					}
				}
			}
		}
	}
}

func TestOnlyWhatRoutinesTakeIsSet(t *testing.T) {
	eachLevel(t, func(t *testing.T) {
		var a Activations
		for _, c := range []struct {
			layout quant.Layout
			cols   int
			want   bool
		}{{quant.Q8_0, 128, true}, {quant.Q4_0, 256, true}, {quant.Q8_0, 160, false}, {quant.Q4_0, 0, false}, {quant.Q4_K, 256, true}, {quant.Q4_K, 128, false}, {quant.Q6_K, 512, true}, {quant.Q6_K, 384, false}, {quant.Layout{}, 128, false}} {
			if got := a.Set(c.layout, make([]float32, c.cols), 1, c.cols); got != (c.want && haveGFNI) {
				t.Errorf("%+v, %d columns: %v", c.layout, c.cols, got)
			}
		}
	})
}
