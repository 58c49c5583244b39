package kernels

import (
	"math"
	"testing"
)

func TestProductsOfDigitsAreAsExactAsFloat(t *testing.T) {
	onHosts(t, nil, func(t *testing.T, b *bench) {
		if !b.set.digitsFor(Weights{Format: Q4, Rows: 1, Cols: digitsSpan}, 1) {
			t.Skip("no GPU with matrix units for integers that this is for")
		}
		for _, c := range []struct{ rows, cols int }{{1, 64}, {37, 128}, {16, 1024}, {9000, 192}, {45, 4096}, {130, 14336}} {
			t.Run(title("[%d][%d]", c.rows, c.cols), func(t *testing.T) {
				b := b.sub(t)
				w, values := matrix(b, Q4, 5, c.rows, c.cols)
				x := randoms(6, c.cols, 1)
				x[3], x[c.cols-1] = 300, 0
				clear(x[32:64])
				xs, want := buffer(b, x), product(x, values, 1, c.rows, c.cols)
				got := b.inOrders(func() []float32 {
					out := room(b, c.rows)
					must(b, b.set.Matvec(b.queue, out, xs, w, 1, false))
					return floats(b, out, c.rows)
				})
				near(b, "product", got, want, 2e-6)
			})
		}
	})
}

func TestProductsOfDigitsKeepWhatIsNoNumber(t *testing.T) {
	onHosts(t, nil, func(t *testing.T, b *bench) {
		w, _ := matrix(b, Q4, 5, 20, 128)
		if !b.set.digitsFor(w, 1) {
			t.Skip("no GPU with matrix units for integers that this is for")
		}
		for _, bad := range []float64{math.NaN(), math.Inf(1)} {
			x := randoms(6, 128, 1)
			x[70] = float32(bad)
			out := room(b, 20)
			must(b, b.set.Matvec(b.queue, out, buffer(b, x), w, 1, false))
			for i, v := range floats(b, out, 20) {
				if v == v && !math.IsInf(float64(v), 0) {
					t.Errorf("row %d of a product with %v is %v", i, bad, v)
				}
			}
		}
	})
}
