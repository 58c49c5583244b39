package simd

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
)

// floatTiles is the product of some tokens with rows of weights in bfloat16, n columns of either in two steps.
func floatTiles(x []float32, w []byte, tokens, rows, n int) []float32 {
	up := func(v int) int { return (v + FloatTileRows - 1) / FloatTileRows * FloatTileRows }
	xs, ws, stride := up(tokens)/FloatTileRows, up(rows)/FloatTileRows, up(rows)+5
	c := make([]float32, up(tokens)*stride)
	for i := range c {
		c[i] = 7 // which is not to be added
	}
	for at, step := 0, n/2/FloatTileCols*FloatTileCols; at < n; at += step {
		if at > 0 {
			step = n - at
		}
		packX, packW := make([]float32, up(tokens)*FloatTileX(step)), make([]float32, up(rows)*step/2)
		for first := 0; first < tokens; first += FloatTileRows {
			PackFloatTiles(packX[first*FloatTileX(step):], x[first*n+at:], n, min(FloatTileRows, tokens-first), step)
		}
		for first := 0; first < rows; first += GEMMCols {
			PackFloatTileW(packW[first*step/2:], w[2*(first*n+at):], n, min(GEMMCols, rows-first), step)
		}
		MultiplyFloatTiles(c, stride, packX, packW, step, xs, ws, at > 0)
	}
	dst := make([]float32, 0, tokens*rows)
	for t := range tokens {
		dst = append(dst, c[t*stride:t*stride+rows]...)
	}
	return dst
}

func TestTilesOfBFloat16EqualFloat64(t *testing.T) {
	if !HaveFloatTiles() {
		t.Skip("there are no tiles")
	}
	r := rand.New(rand.NewPCG(61, 62))
	for _, c := range []struct{ tokens, rows, n int }{{1, 1, 64}, {16, 16, 64}, {17, 33, 96}, {32, 32, 192}, {40, 65, 256}, {70, 32, 416}} {
		x := ofSizes(t, r, c.tokens*c.n)
		w, values := stored(floats(t, r, c.rows*c.n), "BF16")
		for i, got := range floatTiles(x, w, c.tokens, c.rows, c.n) {
			want, size := 0.0, 0.0
			for k := range c.n {
				product := float64(x[i/c.rows*c.n+k]) * float64(values[i%c.rows*c.n+k])
				want += product
				size += math.Abs(product)
			}
			near(t, fmt.Sprintf("%+v: token %d, row %d", c, i/c.rows, i%c.rows), got, want, size, 1e-6)
		}
	}
}

// What is not finite gives what it gives in float32, in its token or row alone, but for weights, with which products are NaN.
func TestWhatIsNotFiniteStaysInItsTokenAndRowOfTiles(t *testing.T) {
	if !HaveFloatTiles() {
		t.Skip("there are no tiles")
	}
	const tokens, rows, n = 35, 20, 64
	r := rand.New(rand.NewPCG(63, 64))
	for _, special := range []float32{nan, float32(math.Inf(1)), float32(math.Inf(-1)), math.Float32frombits(0x7f800001)} {
		x, weights := floats(t, r, tokens*n), floats(t, r, rows*n)
		x[33*n+37], weights[5*n+50] = special, float32(math.Inf(1))
		w, values := stored(weights, "BF16")
		for i, got := range floatTiles(x, w, tokens, rows, n) {
			token, row := i/rows, i%rows
			switch {
			case row == 5:
				if got-got == 0 {
					t.Errorf("%v: row %d of token %d is %v", special, row, token, got)
				}
			case token == 33 && special == special:
				if want := special * values[row*n+37]; got != want {
					t.Errorf("%v: row %d of token %d is %v, not %v", special, row, token, got, want)
				}
			case token == 33 && got == got, token != 33 && got-got != 0:
				t.Errorf("%v: row %d of token %d is %v", special, row, token, got)
			}
		}
	}
}

func TestPackFloatTilesSplitsAsItsTwin(t *testing.T) {
	if !HaveFloatTiles() {
		t.Skip("there are no tiles")
	}
	r := rand.New(rand.NewPCG(65, 66))
	const n, stride = 96, 101
	x := ofSizes(t, r, FloatTileRows*stride)
	x[3], x[stride+40], x[17*stride+95], x[20*stride] = nan, float32(math.Inf(-1)), math.Float32frombits(0x7f800001), 0x1p-140
	got, want := floats(t, r, FloatTileRows*FloatTileX(n)), make([]float32, FloatTileRows*FloatTileX(n))
	PackFloatTiles(got, x, stride, FloatTileRows, n)
	for row := range FloatTileRows {
		partsGo(want[row/GEMMCols*GEMMCols*FloatTileX(n)+row%GEMMCols*GEMMCols:], x[row*stride:][:n])
	}
	for i := range got {
		if math.Float32bits(got[i]) != math.Float32bits(want[i]) {
			t.Fatalf("element %d is %#x, with the twin %#x", i, math.Float32bits(got[i]), math.Float32bits(want[i]))
		}
	}
}
