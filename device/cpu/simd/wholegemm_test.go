package simd

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/orrery-ai/orrery/device/quant"
)

// wholeRows and wholeTokens are how many rows of weights and of activations the tests multiply with: more than every kernel takes at once.
const (
	wholeRows   = 4 * GEMMCols
	wholeTokens = 2*GEMMCols + 3
)

// wholeGEMM is the product of some tokens with rows of weights, packed in steps; row makes words of a part of one.
func wholeGEMM(g WholeGEMM, x []float32, cols int, row func(dst []float32, r, at, n int)) []float32 {
	together, across := g.Tile()
	packs := (wholeTokens + together - 1) / together
	dst := make([]float32, packs*together*wholeRows)
	numbers := make([]float32, wholeTokens*WholeRow(cols))
	for t := range wholeTokens {
		WholeNumbers(numbers[t*WholeRow(cols):(t+1)*WholeRow(cols)], x[t*cols:(t+1)*cols])
	}
	for at := 0; at < cols; at += WholeStep {
		n := min(WholeStep, cols-at)
		packX, packW := make([]float32, packs*together*g.X(n)), make([]float32, wholeRows*g.W(n))
		for first := 0; first < wholeTokens; first += together {
			g.PackX(packX[first*g.X(n):], numbers[first*WholeRow(cols)+WholeRow(at):], WholeRow(cols), min(together, wholeTokens-first), n)
		}
		for first := 0; first < wholeRows; first += GEMMCols {
			words := make([]float32, GEMMCols*g.W(n))
			for r := range GEMMCols {
				row(words[r*g.W(n):(r+1)*g.W(n)], first+r, at, n)
			}
			PackF32(packW[first*g.W(n):], bytesOf(words), g.W(n), GEMMCols, g.W(n))
		}
		g.Multiply(dst, wholeRows, packX, packW, n, packs, wholeRows/across, at > 0, new(TileRoom))
	}
	return dst[:wholeTokens*wholeRows]
}

// wholeGEMMCase is weights that products of many tokens take as whole numbers.
type wholeGEMMCase struct {
	name   string
	cols   int
	g      WholeGEMM
	values []float32 // what they stand for
	sizes  []float64 // of the terms of that
	row    func(dst []float32, r, at, n int)
}

// wholeGEMMCases are some of every layout; change may change their bytes.
func wholeGEMMCases(t *testing.T, r *rand.Rand, change func(w []byte)) []wholeGEMMCase {
	const rows = wholeRows
	var cases []wholeGEMMCase
	for _, c := range wholeTests {
		for _, cols := range c.cols {
			w := blocks(r, rows*cols/c.layout.Elements, c.layout, nil)
			change(w)
			for i := range rows * cols / c.layout.Elements {
				for _, at := range c.scales {
					ToF16(w[i*c.layout.Bytes+at:], []float32{float32(r.NormFloat64()) / 8})
				}
			}
			values, sizes := make([]float32, rows*cols), make([]float64, rows*cols)
			c.twin(values, w)
			for i, v := range values {
				sizes[i] = math.Abs(float64(v))
			}
			if c.layout == quant.Q4_K {
				for i := range sizes { // a weight and its minimum
					sizes[i] += 16 * math.Abs(float64(quant.NumbersQ4_K(w[i/256*144:])[8+i%256/32]))
				}
			}
			g, ok := WholeGEMMFor(c.layout, cols)
			if !ok {
				t.Fatalf("%s: no product for %d columns", c.name, cols)
			}
			cases = append(cases, wholeGEMMCase{fmt.Sprintf("%s, %d columns", c.name, cols), cols, g, values, sizes, func(dst []float32, r, at, n int) {
				g.Weights(dst, w[(r*cols+at)/c.layout.Elements*c.layout.Bytes:], n)
			}})
		}
	}
	for _, bits := range []int{4, 8} {
		for _, group := range []int{32, 64, 128} {
			for _, cols := range []int{128, 640} {
				w, values, sizes := make([]byte, rows*cols*bits/8), make([]float32, rows*cols), make([]float64, rows*cols)
				scales, biases := floats(t, r, rows*cols/group), floats(t, r, rows*cols/group)
				for i := range w {
					w[i] = byte(r.Uint32())
				}
				change(w)
				quant.FromAffine(values, w, bits, group, scales, biases)
				for i, v := range values {
					bias := float64(biases[i/group])
					sizes[i] = math.Abs(float64(v)-bias) + math.Abs(bias)
				}
				g, ok := WholeGEMMForAffine(bits, group, cols)
				if !ok {
					t.Fatalf("%d bits in groups of %d: no product for %d columns", bits, group, cols)
				}
				cases = append(cases, wholeGEMMCase{fmt.Sprintf("%d bits in groups of %d, %d columns", bits, group, cols), cols, g, values, sizes, func(dst []float32, r, at, n int) {
					first := (r*cols + at) / group
					g.AffineWeights(dst, w[(r*cols+at)*bits/8:], n, group, scales[first:], biases[first:])
				}})
			}
		}
	}
	return cases
}

func TestProductsOfManyTokensWithWholeNumbersAreExactButForAddingUp(t *testing.T) {
	withWholeNumbers(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(51, 52))
		for _, c := range wholeGEMMCases(t, r, func([]byte) {}) {
			x := ofSizes(t, r, wholeTokens*c.cols)
			checkWhole(t, c.name, wholeGEMM(c.g, x, c.cols, c.row), nil, wholeRows, x, c.values, c.sizes, wholeRows, c.cols)
		}
	})
}

// Numbers and weights that are as large as they may be.
func TestSumsOfTheLargestWholeNumbersFit(t *testing.T) {
	withWholeNumbers(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(53, 54))
		for _, of := range []byte{0xff, 0x80, 0x7f, 0} {
			all := func(w []byte) {
				for i := range w {
					w[i] = of
				}
			}
			for _, c := range wholeGEMMCases(t, r, all) {
				x := make([]float32, wholeTokens*c.cols)
				for i := range x {
					x[i] = float32(32639 * (1 - 2*(i/c.cols%2)))
				}
				checkWhole(t, fmt.Sprintf("%s, bytes %#x", c.name, of), wholeGEMM(c.g, x, c.cols, c.row), nil, wholeRows, x, c.values, c.sizes, wholeRows, c.cols)
			}
		}
	})
}

func TestProductsOfManyTokensWithWholeNumbersHaveTheSameBitsWithAnyInstructions(t *testing.T) {
	first := map[string][]float32{}
	withWholeNumbers(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(55, 56))
		for _, c := range wholeGEMMCases(t, r, func([]byte) {}) {
			dst := wholeGEMM(c.g, ofSizes(t, r, wholeTokens*c.cols), c.cols, c.row)
			if first[c.name] == nil {
				first[c.name] = dst
			}
			if !slices.Equal(dst, first[c.name]) {
				t.Errorf("%s: %v, with other instructions %v", c.name, dst, first[c.name])
			}
		}
	})
}

func TestWhatIsNotFiniteStaysInItsTokenAndRowOfMany(t *testing.T) {
	withWholeNumbers(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(57, 58))
		for _, special := range []float32{nan, float32(math.Inf(1)), float32(math.Inf(-1))} {
			for _, c := range wholeGEMMCases(t, r, func([]byte) {}) {
				x := floats(t, r, wholeTokens*c.cols)
				x[3*c.cols+77] = special
				dst := wholeGEMM(c.g, x, c.cols, func(dst []float32, row, at, n int) {
					c.row(dst, row, at, n)
					if row == 5 {
						dst[c.g.numbers(n)] = special // the first scale
					}
				})
				for i, v := range dst {
					token, row := i/wholeRows, i%wholeRows
					if finite := v-v == 0; finite == (token == 3 || row == 5) || token == 3 && v == v {
						t.Fatalf("%s, %v: row %d of token %d is %v", c.name, special, row, token, v)
					}
				}
			}
		}
	})
}
