package cpu

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/orrery-ai/orrery/attention"
	"github.com/orrery-ai/orrery/device"
	"github.com/orrery-ai/orrery/device/cpu/simd"
	"github.com/orrery-ai/orrery/internal/offheap"
)

// benchBytes is what a benchmark of memory goes over: more than caches hold.
const benchBytes = 768 << 20

// besideReading runs op, which reads the bytes given, and a plain read of as many of memory, in turn, and reports
// what op reaches, and its share of what the read beside it reaches: the medians. op is told its turn, and goes over
// memory from its beginning; the plain read is half of it ahead, so that neither finds in a cache what the other read.
func besideReading(b *testing.B, memory []byte, bytes, threads int, op func(i int)) {
	var rates, shares []float64
	at, i := len(memory)/2, 0
	for b.Loop() {
		if at+bytes > len(memory) {
			at = 0
		}
		read := ReadOnce(memory[at:at+bytes], threads)
		at += bytes
		start := time.Now()
		op(i)
		took := time.Since(start)
		rates = append(rates, float64(bytes)/took.Seconds()/1e9)
		shares = append(shares, 100*read.Seconds()/took.Seconds())
		i++
	}
	slices.Sort(rates)
	slices.Sort(shares)
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(rates[len(rates)/2], "GB/s")
	b.ReportMetric(shares[len(shares)/2], "%-of-read")
}

// BenchmarkDecodeProduct is the product of few tokens with weights, over the matrices of Llama-3.2-1B and enough
// of them not to come from caches.
func BenchmarkDecodeProduct(b *testing.B) {
	memory, err := offheap.MapHuge(benchBytes)
	if err != nil {
		b.Fatal(err)
	}
	defer offheap.Unmap(memory)
	for i := range memory {
		memory[i] = 0x3c + byte(i%3) // with its neighbours a number near to 1 in every format
	}
	for _, size := range []struct{ rows, cols int }{{2048, 2048}, {8192, 2048}, {2048, 8192}, {128256, 2048}} {
		for _, f := range []device.Format{device.BF16, device.F16, device.F32, device.Q8_0, device.Q4_0, device.Q4_K, device.Q6_K, device.MLX4, device.MLX8} {
			for _, tokens := range []int{1, 2, 3, 4, 5, 6, 7, 8, 16} {
				if tokens > 1 && f != device.BF16 && f.Bytes() > 0 {
					continue
				}
				for _, threads := range []int{1, 2} {
					b.Run(fmt.Sprintf("%dx%d-%v/tokens=%d/threads=%d", size.rows, size.cols, f, tokens, threads), func(b *testing.B) {
						d := New(threads)
						defer d.Close()
						s := d.NewStream()
						x, dst := random(rand.New(rand.NewPCG(1, 1)), tokens, size.cols), device.NewTensor(tokens, size.rows)
						w := device.Matrix{Format: f, Rows: size.rows, Cols: size.cols}
						data := f.MatrixBytes(size.rows, size.cols)
						bytes, scales := data, 0
						if f.Affine() {
							w.Group, w.ScaleFormat = 64, device.BF16
							scales = w.GroupBytes()
							bytes += 2 * scales
						}
						if bytes > len(memory) {
							b.Skip("more than all memory here")
						}
						times := max(1, (16<<20)/bytes)
						at := 0
						besideReading(b, memory, times*bytes, threads, func(int) {
							for range times {
								if at+bytes > len(memory) {
									at = 0
								}
								w.Data, w.Scales, w.Biases = memory[at:at+data], memory[at+data:at+data+scales], memory[at+data+scales:at+bytes]
								s.MatMul(dst, x, w)
								at += bytes
							}
						})
					})
				}
			}
		}
	}
}

// BenchmarkPrefillProduct is the product of a chunk with the matrices of Llama-3.2-1B, and its share of what the
// multipliers reach in float32 when all operands lie in the first cache.
func BenchmarkPrefillProduct(b *testing.B) {
	const tokens, depth = 512, 128
	packA, packB, tile := make([]float32, 12*depth), make([]float32, 32*depth), make([]float32, 12*32)
	for _, size := range []struct{ rows, cols int }{{2048, 2048}, {8192, 2048}, {2048, 8192}} {
		for _, f := range []device.Format{device.BF16, device.Q8_0, device.Q4_0, device.Q4_K, device.Q6_K, device.MLX8, device.MLX4} {
			for _, threads := range []int{1, 2} {
				b.Run(fmt.Sprintf("%dx%d-%v/threads=%d", size.rows, size.cols, f, threads), func(b *testing.B) {
					d := New(threads)
					defer d.Close()
					s := d.NewStream()
					x, dst := random(rand.New(rand.NewPCG(1, 1)), tokens, size.cols), device.NewTensor(tokens, size.rows)
					w := device.Matrix{Format: f, Rows: size.rows, Cols: size.cols, Data: bytes.Repeat([]byte{0x3c}, f.MatrixBytes(size.rows, size.cols))}
					if f.Affine() {
						w.Group, w.ScaleFormat = 64, device.BF16
						w.Scales = bytes.Repeat([]byte{0x3c}, w.GroupBytes())
						w.Biases = w.Scales
					}
					var rates, shares []float64
					for b.Loop() {
						start := time.Now()
						s.MatMul(dst, x, w)
						rate := 2 * tokens * float64(size.rows) * float64(size.cols) / time.Since(start).Seconds() / 1e9
						const times = 2000
						start = time.Now()
						for range times {
							simd.GEMMTwice(tile, 32, packA, packB, depth, true)
						}
						peak := float64(threads) * times * 2 * 12 * 32 * depth / time.Since(start).Seconds() / 1e9
						rates, shares = append(rates, rate), append(shares, 100*rate/peak)
					}
					slices.Sort(rates)
					slices.Sort(shares)
					b.ReportMetric(0, "ns/op")
					b.ReportMetric(rates[len(rates)/2], "GFLOP/s")
					b.ReportMetric(shares[len(shares)/2], "%-of-peak")
				})
			}
		}
	}
}

// BenchmarkDecodeAttention is one token's attention over 200,000 keys, in layers enough not to come from caches. It
// goes over them in pieces of a few milliseconds, most of which nobody else on the machine disturbs.
func BenchmarkDecodeAttention(b *testing.B) {
	const keys, size, pieces = 200_000, 256, 16
	for _, c := range []struct {
		name  string
		shape attention.Shape
	}{
		{"recall", attention.Shape{Heads: 4, KVHeads: 2, HeadDim: 64, Scale: 0.125}},
		{"1B", attention.Shape{Heads: 32, KVHeads: 8, HeadDim: 64, Scale: 0.125}},
		{"8B", attention.Shape{Heads: 32, KVHeads: 8, HeadDim: 128, Scale: 0.088}},
		{"mha", attention.Shape{Heads: 8, KVHeads: 8, HeadDim: 64, Scale: 0.125}},
		{"group8", attention.Shape{Heads: 32, KVHeads: 4, HeadDim: 128, Scale: 0.088}},
	} {
		b.Run(c.name, func(b *testing.B) {
			token := c.shape.KVBytes(attention.F16)
			layers := max(1, benchBytes/(keys*token))
			memory, err := offheap.MapHuge(layers * keys * token)
			if err != nil {
				b.Fatal(err)
			}
			defer offheap.Unmap(memory)
			r := rand.New(rand.NewPCG(1, 1))
			some := random(r, 1, 4096).Data
			for at := 0; at < len(memory); at += 2 * len(some) {
				simd.ToF16(memory[at:], some[:min(len(some), (len(memory)-at)/2)])
			}
			kv := make([][]attention.KV, layers)
			at := 0
			for l := range kv {
				for first := 0; first < keys; first += size {
					n := min(size, keys-first)
					half := n * token / 2
					kv[l] = append(kv[l], attention.KV{Format: attention.F16, HeadDim: c.shape.HeadDim, First: first, Len: n, Cap: n,
						K: memory[at : at+half], V: memory[at+half : at+2*half]})
					at += 2 * half
				}
			}
			p, q := attention.NewPartial(1, c.shape), random(r, 1, c.shape.Heads*c.shape.HeadDim)
			for _, threads := range []int{1, 2} {
				b.Run(fmt.Sprintf("threads=%d", threads), func(b *testing.B) {
					d := New(threads)
					defer d.Close()
					s := d.NewStream()
					besideReading(b, memory, keys*token/pieces, threads, func(i int) {
						all, piece := kv[i/pieces%layers], i%pieces
						p.Reset()
						s.Attend(p, q, keys-1, c.shape, all[len(all)*piece/pieces:len(all)*(piece+1)/pieces])
					})
				})
			}
		})
	}
}
