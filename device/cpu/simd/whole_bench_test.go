package simd

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
	"time"
)

// BenchmarkProductOfWholeNumbers is products with weights in the second cache, beside those in float32: what they take of the processor, memory aside.
func BenchmarkProductOfWholeNumbers(b *testing.B) {
	const rows, cols, group = 256, 2048, 64
	r := rand.New(rand.NewPCG(1, 1))
	var a Activations
	for _, tokens := range []int{1, 2, 4, 8} {
		x, dst := make([]float32, tokens*cols), make([]float32, tokens*rows)
		for i := range x {
			x[i] = float32(r.NormFloat64())
		}
		run := func(format, name string, bytes int, op func()) {
			b.Run(fmt.Sprintf("%s/tokens=%d/%s", format, tokens, name), func(b *testing.B) {
				for b.Loop() {
					op()
				}
				b.ReportMetric(float64(bytes)*float64(b.N)/b.Elapsed().Seconds()/1e9, "GB/s")
			})
		}
		for _, c := range blockTests {
			w := blocks(r, rows*cols/c.layout.Elements, c.layout, c.scales)
			run(c.name, "float32", len(w), func() { c.product(dst, rows, x, w, tokens, rows, cols) })
			if a.Set(c.layout, x, tokens, cols) {
				run(c.name, "whole", len(w), func() { a.Product(dst, rows, w, rows) })
				run(c.name, "set", len(w), func() { a.Set(c.layout, x, tokens, cols) })
			}
		}
		for _, bits := range []int{8, 4} {
			format, most := fmt.Sprintf("affine%d", bits), AffineRows(cols/group, true)
			w, numbers, _, _ := affine(r, bits, group, most*cols) // of so many rows, as the scales are
			if AffineRows(cols/group, false) > 0 {
				run(format, "float32", len(w), func() { ProductAffine(dst, rows, x, w, bits, group, &numbers, tokens, most, cols) })
			}
			if a.SetAffine(bits, group, x, tokens, cols) {
				run(format, "whole", len(w), func() { a.ProductAffine(dst, rows, w, &numbers, most) })
				run(format, "set", len(w), func() { a.SetAffine(bits, group, x, tokens, cols) })
			}
		}
	}
}

// BenchmarkWholeGEMM is the kernels of products of many tokens, with packs in the first cache, beside that in float32: the fastest of the runs.
func BenchmarkWholeGEMM(b *testing.B) {
	const n = WholeStep
	run := func(name string, products int, op func()) {
		b.Run(name, func(b *testing.B) {
			const times = 100
			best := time.Duration(math.MaxInt64)
			for b.Loop() {
				start := time.Now()
				for range times {
					op()
				}
				best = min(best, time.Since(start))
			}
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(2*float64(products)*times/best.Seconds()/1e9, "GFLOP/s")
		})
	}
	const tokens = 48 // some tiles of each kernel
	x, w, c := make([]float32, tokens*n), make([]float32, 2*GEMMCols*n), make([]float32, tokens*2*GEMMCols)
	run("float32", 4*GEMMRows*GEMMCols*n, func() { GEMMTwice(c, 2*GEMMCols, x, w, n, true) })
	var room TileRoom
	for _, f := range wholeTests {
		if g, ok := WholeGEMMFor(f.layout, n); ok {
			rows, cols := g.Tile()
			run(f.name, tokens*2*GEMMCols*n, func() { g.Multiply(c, 2*GEMMCols, x, w, n, tokens/rows, 2*GEMMCols/cols, true, &room) })
		}
	}
}
