package simd

import (
	"fmt"
	"math/rand/v2"
	"testing"
)

// BenchmarkProductOfWholeNumbers is products with weights in the second cache, beside those in float32: what they take of the processor, memory aside.
func BenchmarkProductOfWholeNumbers(b *testing.B) {
	const rows, cols = 256, 2048
	r := rand.New(rand.NewPCG(1, 1))
	for _, c := range blockTests {
		w := blocks(r, rows*cols/c.layout.Elements, c.layout, c.scales)
		for _, tokens := range []int{1, 2, 4, 8} {
			x, dst := make([]float32, tokens*cols), make([]float32, tokens*rows)
			for i := range x {
				x[i] = float32(r.NormFloat64())
			}
			run := func(name string, op func()) {
				b.Run(fmt.Sprintf("%s/tokens=%d/%s", c.name, tokens, name), func(b *testing.B) {
					for b.Loop() {
						op()
					}
					b.ReportMetric(float64(len(w))*float64(b.N)/b.Elapsed().Seconds()/1e9, "GB/s")
				})
			}
			run("float32", func() { c.product(dst, rows, x, w, tokens, rows, cols) })
			var a Activations
			if a.Set(c.layout, x, tokens, cols) {
				run("whole", func() { a.Product(dst, rows, w, rows) })
				run("set", func() { a.Set(c.layout, x, tokens, cols) })
			}
		}
	}
}
