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

// ofSizes is x for products of whole numbers: groups of very different sizes.
func ofSizes(t *testing.T, r *rand.Rand, n int) []float32 {
	x := floats(t, r, n)
	for i := range x {
		x[i] *= float32(math.Pow(2, float64(i/32*7%23-11)))
	}
	return x
}

// checkWhole checks the products dst [tokens][stride] of x [tokens][cols] with weights [rows][cols], each the sum of terms not larger than sizes. What is
// behind the rows is as old has it.
func checkWhole(t *testing.T, what string, dst, old []float32, stride int, x, weights []float32, sizes []float64, rows, cols int) {
	t.Helper()
	numbers, scales := wholeOf(x)
	for i, got := range dst {
		token, row := i/max(1, stride), i%max(1, stride)
		if row >= rows {
			near(t, what+": past the rows", got, float64(old[i]), 0, 0)
			continue
		}
		var want, size, exact, step float64
		for k, v := range weights[row*cols : (row+1)*cols] {
			at := token*cols + k
			whole := float64(numbers[at]) * float64(scales[at/32])
			want += whole * float64(v)
			size += math.Abs(whole) * sizes[row*cols+k]
			exact += float64(x[at]) * float64(v)
			step += float64(scales[at/32]) * math.Abs(float64(v))
		}
		near(t, fmt.Sprintf("%s: token %d, row %d", what, token, row), got, want, size, 1e-6)
		near(t, fmt.Sprintf("%s: of what was given, token %d, row %d", what, token, row), got, exact, step/2+1e-6*size, 1)
	}
}

// withWholeNumbers runs a test with each of the instruction sets here that multiply whole numbers.
func withWholeNumbers(t *testing.T, test func(t *testing.T)) {
	eachLevel(t, func(t *testing.T) {
		if wholeFor(quant.Q8_0, 128) == nil {
			t.Skip("nothing multiplies whole numbers")
		}
		test(t)
	})
}

func TestProductsOfWholeNumbersAreExactButForAddingUp(t *testing.T) {
	withWholeNumbers(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(31, 32))
		var a Activations
		for _, c := range wholeTests {
			for _, cols := range c.cols {
				for _, rows := range []int{0, 1, 2, 3, 4, 5, 11} {
					for _, tokens := range []int{0, 1, 2, 3, 4, 7, 8, 17} {
						w := blocks(r, rows*cols/c.layout.Elements, c.layout, c.scales)
						values, sizes := make([]float32, rows*cols), make([]float64, rows*cols)
						c.twin(values, w)
						for i, v := range values {
							sizes[i] = math.Abs(float64(v))
						}
						stride := rows + r.IntN(3)
						x, dst := ofSizes(t, r, tokens*cols), floats(t, r, tokens*stride)
						old := slices.Clone(dst)
						if !a.Set(c.layout, x, tokens, cols) {
							t.Fatalf("%s: no routines for %d columns", c.name, cols)
						}
						a.Product(dst, stride, w, rows)
						checkWhole(t, fmt.Sprintf("%s, %d columns, %d tokens, %d rows", c.name, cols, tokens, rows), dst, old, stride, x, values, sizes, rows, cols)
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
	})
}

// affine is random weights in groups, their scales and biases, what they stand for, and the sizes of the terms of that.
func affine(r *rand.Rand, bits, group, n int) (w []byte, numbers AffineNumbers, values []float32, sizes []float64) {
	w, values, sizes = make([]byte, 1+n*bits/8)[1:], make([]float32, n), make([]float64, n)
	for i := range w {
		w[i] = byte(r.Uint32())
	}
	for i := range numbers[0] { // behind those of the weights, too
		numbers[0][i], numbers[1][i] = float32(r.NormFloat64()), float32(r.NormFloat64())
	}
	quant.FromAffine(values, w, bits, group, numbers[0][:n/group], numbers[1][:n/group])
	for i, v := range values {
		bias := float64(numbers[1][i/group])
		sizes[i] = math.Abs(float64(v)-bias) + math.Abs(bias)
	}
	return w, numbers, values, sizes
}

func TestProductsOfWholeNumbersWithAffineGroupsAreExactButForAddingUp(t *testing.T) {
	withWholeNumbers(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(35, 36))
		var a Activations
		for _, bits := range []int{4, 8} {
			for _, group := range []int{32, 64, 128} {
				for _, cols := range []int{128, 256, 640} {
					for _, rows := range []int{0, 1, 2, 3, 4, 5, 11} {
						for _, tokens := range []int{0, 1, 2, 3, 4, 7, 8, 17} {
							w, numbers, values, sizes := affine(r, bits, group, rows*cols)
							stride := rows + r.IntN(3)
							x, dst := ofSizes(t, r, tokens*cols), floats(t, r, tokens*stride)
							old := slices.Clone(dst)
							if !a.SetAffine(bits, group, x, tokens, cols) {
								t.Fatalf("no routines for %d columns", cols)
							}
							a.ProductAffine(dst, stride, w, &numbers, rows)
							what := fmt.Sprintf("%d bits, groups of %d, %d columns, %d tokens, %d rows", bits, group, cols, tokens, rows)
							checkWhole(t, what, dst, old, stride, x, values, sizes, rows, cols)
							for token := range tokens { // the same bits alone
								alone := make([]float32, rows)
								var one Activations
								one.SetAffine(bits, group, x[token*cols:], 1, cols)
								one.ProductAffine(alone, rows, w, &numbers, rows)
								if !slices.Equal(alone, dst[token*stride:][:rows]) {
									t.Fatalf("%s: token %d gives %v, alone %v", what, token, dst[token*stride:][:rows], alone)
								}
							}
						}
					}
				}
			}
		}
	})
}

func TestWhatIsNotFiniteStaysInItsTokenAndRowOfAffineGroups(t *testing.T) {
	withWholeNumbers(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(37, 38))
		const cols, rows, tokens, group = 256, 6, 2, 64
		inf := float32(math.Inf(1))
		var a Activations
		for _, bits := range []int{4, 8} {
			w, numbers, _, _ := affine(r, bits, group, rows*cols)
			check := func(what string, x []float32, wrong func(token, row int) bool) {
				t.Helper()
				dst := make([]float32, tokens*rows)
				a.SetAffine(bits, group, x, tokens, cols)
				a.ProductAffine(dst, rows, w, &numbers, rows)
				for i, v := range dst {
					if finite := v-v == 0; finite == wrong(i/rows, i%rows) {
						t.Fatalf("%d bits, %s: row %d of token %d is %v", bits, what, i%rows, i/rows, v)
					}
				}
			}
			for _, special := range []float32{nan, inf, -inf} {
				x := floats(t, r, tokens*cols)
				check("nothing", x, func(int, int) bool { return false })
				for kind := range numbers {
					for row := range rows {
						at := &numbers[kind][row*cols/group+3]
						old := *at
						*at = special
						check(fmt.Sprintf("%v as number %d of row %d", special, kind, row), x, func(_, r int) bool { return r == row })
						*at = old
					}
				}
				x[cols+77] = special
				check(fmt.Sprintf("%v in the second token", special), x, func(token, _ int) bool { return token == 1 })
			}
		}
	})
}

func TestWholeNumbersOfAnySizeAndWhatIsNotFinite(t *testing.T) {
	withWholeNumbers(t, func(t *testing.T) {
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
	})
}

func TestOnlyWhatRoutinesTakeIsSet(t *testing.T) {
	eachLevel(t, func(t *testing.T) {
		var a Activations
		for _, c := range []struct {
			layout quant.Layout
			cols   int
			want   bool
		}{{quant.Q8_0, 128, true}, {quant.Q4_0, 256, true}, {quant.Q8_0, 160, false}, {quant.Q4_0, 0, false}, {quant.Q4_K, 256, true}, {quant.Q4_K, 128, false}, {quant.Q6_K, 512, true}, {quant.Q6_K, 384, false}, {quant.Layout{}, 128, false}} {
			if got := a.Set(c.layout, make([]float32, c.cols), 1, c.cols); got != (c.want && wholeFor(quant.Q8_0, 128) != nil) {
				t.Errorf("%+v, %d columns: %v", c.layout, c.cols, got)
			}
		}
		for _, c := range []struct {
			bits, group, cols int
			want              bool
		}{{4, 32, 128, true}, {8, 64, 256, true}, {4, 128, 384, true}, {8, 32, 160, false}, {4, 256, 256, false}, {4, 16, 128, false}, {8, 64, 0, false}} {
			if got := a.SetAffine(c.bits, c.group, make([]float32, c.cols), 1, c.cols); got != (c.want && wholeFor(quant.Q8_0, 128) != nil) {
				t.Errorf("%d bits in groups of %d, %d columns: %v", c.bits, c.group, c.cols, got)
			}
		}
	})
}

// Bytes whose products do not fit into a word, and numbers of which a byte is the largest or the smallest.
func TestWholeNumbersAtTheirLargest(t *testing.T) {
	withWholeNumbers(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(39, 40))
		const cols, rows, tokens = 512, 5, 7
		numbers := []float32{32639, -32639, 32512, -32512, 32384, -32384, 128, -128, 127, 255, 0}
		var a Activations
		for of, most := range [][]byte{{0xff, 0x80, 0x7f}, {0xff}, {0x80}, {0x7f}, {0}} {
			x := make([]float32, tokens*cols)
			for i := range x {
				if x[i] = numbers[r.IntN(len(numbers))]; i%32 == 0 || of > 0 && i/cols > 0 {
					x[i] = numbers[i/cols%2]
				}
			}
			for _, c := range wholeTests {
				w := blocks(r, rows*cols/c.layout.Elements, c.layout, nil)
				for i := range w {
					w[i] = most[r.IntN(len(most))]
				}
				for i := range rows * cols / c.layout.Elements {
					for _, at := range c.scales {
						ToF16(w[i*c.layout.Bytes+at:], []float32{float32(r.NormFloat64())})
					}
				}
				values, sizes, dst := make([]float32, rows*cols), make([]float64, rows*cols), make([]float32, tokens*rows)
				c.twin(values, w)
				for i, v := range values {
					sizes[i] = math.Abs(float64(v))
				}
				a.Set(c.layout, x, tokens, cols)
				a.Product(dst, rows, w, rows)
				checkWhole(t, fmt.Sprintf("%s of %x", c.name, most), dst, nil, rows, x, values, sizes, rows, cols)
			}
			for _, bits := range []int{4, 8} {
				w, scales, values, sizes := affine(r, bits, 64, rows*cols)
				for i := range w {
					w[i] = most[r.IntN(len(most))]
				}
				quant.FromAffine(values, w, bits, 64, scales[0][:rows*cols/64], scales[1][:rows*cols/64])
				for i, v := range values {
					bias := float64(scales[1][i/64])
					sizes[i] = math.Abs(float64(v)-bias) + math.Abs(bias)
				}
				dst := make([]float32, tokens*rows)
				a.SetAffine(bits, 64, x, tokens, cols)
				a.ProductAffine(dst, rows, w, &scales, rows)
				checkWhole(t, fmt.Sprintf("%d bits of %x", bits, most), dst, nil, rows, x, values, sizes, rows, cols)
			}
		}
	})
}

// So machines of different kinds in a cluster agree.
func TestProductsOfWholeNumbersHaveTheSameBitsWithAnyInstructions(t *testing.T) {
	r := rand.New(rand.NewPCG(41, 42))
	const cols, rows, tokens = 1280, 7, 7
	x := ofSizes(t, r, tokens*cols)
	first := map[string][]float32{}
	check := func(t *testing.T, what string, dst []float32) {
		if first[what] == nil {
			first[what] = dst
		}
		if !slices.Equal(dst, first[what]) {
			t.Errorf("%s: %v, with other instructions %v", what, dst, first[what])
		}
	}
	type rowsOf struct {
		w       []byte
		numbers AffineNumbers
	}
	stored := map[string]rowsOf{}
	for _, c := range wholeTests {
		stored[c.name] = rowsOf{w: blocks(r, rows*cols/c.layout.Elements, c.layout, c.scales)}
	}
	kinds := []struct{ bits, group int }{{4, 32}, {4, 64}, {4, 128}, {8, 32}, {8, 64}, {8, 128}}
	for _, k := range kinds {
		w, numbers, _, _ := affine(r, k.bits, k.group, rows*cols)
		stored[fmt.Sprint(k)] = rowsOf{w, numbers}
	}
	withWholeNumbers(t, func(t *testing.T) {
		var a Activations
		for _, c := range wholeTests {
			dst := make([]float32, tokens*rows)
			a.Set(c.layout, x, tokens, cols)
			a.Product(dst, rows, stored[c.name].w, rows)
			check(t, c.name, dst)
		}
		for _, k := range kinds {
			of, dst := stored[fmt.Sprint(k)], make([]float32, tokens*rows)
			a.SetAffine(k.bits, k.group, x, tokens, cols)
			a.ProductAffine(dst, rows, of.w, &of.numbers, rows)
			check(t, fmt.Sprintf("%d bits in groups of %d", k.bits, k.group), dst)
		}
	})
}

// Routines of several tokens have frames that a goroutine's first stack may have no room for.
func TestProductsRunAtAnyDepthOfTheStack(t *testing.T) {
	withWholeNumbers(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(43, 44))
		const cols, rows, tokens = 256, 4, 7
		w, x := blocks(r, rows*cols/quant.Q6_K.Elements, quant.Q6_K, []int{208}), floats(t, r, tokens*cols)
		var a Activations
		a.Set(quant.Q6_K, x, tokens, cols)
		want := make([]float32, tokens*rows)
		a.Product(want, rows, w, rows)
		for depth := range 200 {
			done := make(chan []float32)
			go func() {
				got := make([]float32, tokens*rows)
				deeper(depth, func() { a.Product(got, rows, w, rows) })
				done <- got
			}()
			if got := <-done; !slices.Equal(got, want) {
				t.Fatalf("%d calls deep: %v, not %v", depth, got, want)
			}
		}
	})
}

// deeper calls f so many calls further down, of some dozens of bytes each.
//
//go:noinline
func deeper(calls int, f func()) {
	if calls > 0 {
		deeper(calls-1, f)
		return
	}
	f()
}
