package simd

import (
	"fmt"
	"math/rand/v2"
	"testing"
)

// BenchmarkStoredRows is scores and values over a tile's rows in a near cache, in float32 and as attention takes them, where there are whole numbers for that, of 16 bits for weights: what the formats take of the
// processor, memory aside.
func BenchmarkStoredRows(b *testing.B) {
	const n = dealtKeys
	r := rand.New(rand.NewPCG(1, 1))
	for _, dim := range []int{64, 128} {
		for _, heads := range []int{1, 2, 4, 8} {
			for _, bits := range []int{16, 8, 4} {
				rows, scales := make([]byte, n*dim*2), make([]float32, n*groups(dim))
				for i := range rows {
					rows[i] = byte(r.Uint32()) & 0xbb // finite halves
				}
				q, s, p, o := make([]float32, heads*dim), make([]float32, heads*n), softmaxed(r, heads, n, n), make([]float32, heads*dim)
				for i := range q {
					q[i] = float32(r.NormFloat64())
				}
				sums := make([]float32, heads)
				for h := range sums {
					sums[h] = 2 * weighedFew
				}
				run := func(name string, op func()) {
					b.Run(fmt.Sprintf("%s/%dx%d/%d", name, heads, dim, bits), func(b *testing.B) {
						for b.Loop() {
							op()
						}
						b.ReportMetric(float64(n)*float64(dim)*float64(b.N)/b.Elapsed().Seconds()/1e9, "Gelements/s")
					})
				}
				if bits == 16 {
					run("scores", func() { Scores(s, n, q, rows, nil, heads, n, dim) })
					run("values", func() { Values(o, p, n, rows, nil, heads, n, dim) })
					continue
				}
				run("scores", func() { ScoresQuantized(bits, s, n, q, rows, scales, nil, heads, n, dim) })
				run("values", func() { ValuesQuantized(bits, o, p, n, rows, scales, nil, heads, n, dim) })
				var queries Queries
				var weights Weights
				stored := inHalves(scales)
				queries.Set(bits, q, 1, heads, dim)
				run("queries", func() { queries.Scores(0, s, n, rows, stored, nil, n) })
				run("weights", func() { weights.Values(bits, o, p, n, rows, stored, sums, nil, heads, n, dim) })
			}
		}
	}
}
