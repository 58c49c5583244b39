package cpu

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/orrery-ai/orrery/attention"
	"github.com/orrery-ai/orrery/internal/offheap"
)

// BenchmarkDecodeAttentionByFormat is one token's attention over 200,000 keys of a layer in each storage format in turn, a plain read of the same
// bytes beside each, so that what disturbs one disturbs all. It reports medians: keys/s, bytes/s as a share of the read's, and how
// many times f16's keys/s a format reaches.
func BenchmarkDecodeAttentionByFormat(b *testing.B) {
	const keys, size = 200_000, 256
	formats := []attention.Format{attention.F16, attention.Q8, attention.Q4}
	for _, c := range []struct {
		name  string
		shape attention.Shape
	}{
		{"recall", attention.Shape{Heads: 4, KVHeads: 2, HeadDim: 64, Scale: 0.125}},
		{"1B", attention.Shape{Heads: 32, KVHeads: 8, HeadDim: 64, Scale: 0.125}},
		{"8B", attention.Shape{Heads: 32, KVHeads: 8, HeadDim: 128, Scale: 0.088}},
	} {
		b.Run(c.name, func(b *testing.B) {
			r := rand.New(rand.NewPCG(1, 1))
			memory, kv := make([][]byte, len(formats)), make([][]attention.KV, len(formats))
			for i, f := range formats {
				block := c.shape.BlockBytes(f, size)
				var err error
				if memory[i], err = offheap.MapHuge((keys + size - 1) / size * block); err != nil {
					b.Fatal(err)
				}
				defer offheap.Unmap(memory[i])
				some := attention.KV{Format: f, HeadDim: c.shape.HeadDim, Cap: size, K: memory[i][:block/2], V: memory[i][block/2 : block]}
				for head := range c.shape.KVHeads {
					for token := range size {
						x := random(r, 2, c.shape.HeadDim)
						some.Put(some.K, head, token, x.Row(0))
						some.Put(some.V, head, token, x.Row(1))
					}
				}
				for first := 0; first < keys; first += size {
					data := memory[i][first/size*block:][:block]
					copy(data, memory[i][:block])
					kv[i] = append(kv[i], attention.KV{Format: f, First: first, Len: min(size, keys-first), Cap: size, K: data[:block/2], V: data[block/2:]})
				}
			}
			p, q := attention.NewPartial(1, c.shape), random(r, 1, c.shape.Heads*c.shape.HeadDim)
			for _, threads := range []int{1, 2} {
				b.Run(fmt.Sprintf("threads=%d", threads), func(b *testing.B) {
					d := New(threads)
					defer d.Close()
					s := d.NewStream()
					took, share, gain := make([][]float64, len(formats)), make([][]float64, len(formats)), make([][]float64, len(formats))
					for b.Loop() {
						for i := range formats {
							read := ReadOnce(memory[i], threads).Seconds()
							start := time.Now()
							p.Reset()
							s.Attend(p, q, keys-1, c.shape, kv[i])
							seconds := time.Since(start).Seconds()
							took[i] = append(took[i], seconds)
							share[i] = append(share[i], 100*read/seconds)
							gain[i] = append(gain[i], took[0][len(took[0])-1]/seconds)
						}
					}
					b.ReportMetric(0, "ns/op")
					for i, f := range formats {
						b.ReportMetric(keys/median(took[i])/1e6, fmt.Sprintf("Mkeys/s-%v", f))
						b.ReportMetric(median(share[i]), fmt.Sprintf("%%-of-read-%v", f))
						if i > 0 {
							b.ReportMetric(median(gain[i]), fmt.Sprintf("x-f16-%v", f))
						}
					}
				})
			}
		})
	}
}

func median(x []float64) float64 {
	slices.Sort(x)
	return x[len(x)/2]
}
