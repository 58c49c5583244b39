package cpu

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/orrery-ai/orrery/device"
	"github.com/orrery-ai/orrery/internal/offheap"
)

// BenchmarkDecodeExperts is what a token's experts compute, of the widths of Qwen3-30B-A3B and of a smaller model, over enough weights not to
// come from caches.
func BenchmarkDecodeExperts(b *testing.B) {
	memory, err := offheap.MapHuge(benchBytes)
	if err != nil {
		b.Fatal(err)
	}
	defer offheap.Unmap(memory)
	for i := range memory {
		memory[i] = 0x3c + byte(i%3) // with its neighbours a number near to 1 in every format
	}
	for _, size := range []struct{ width, hidden, active int }{{768, 2048, 8}, {768, 1024, 4}} {
		for _, f := range []device.Format{device.BF16, device.Q8_0, device.Q4_0} {
			for _, threads := range []int{1, 2} {
				b.Run(fmt.Sprintf("%d-of-%dx%d-%v/threads=%d", size.active, size.width, size.hidden, f, threads), func(b *testing.B) {
					d := New(threads)
					defer d.Close()
					s, r := d.NewStream(), rand.New(rand.NewPCG(1, 1))
					x, dst := random(r, 1, size.hidden), device.NewTensor(1, size.hidden)
					to, room := routing(1, size.active), make([]float32, device.ExpertsRoom(size.active, size.width, size.hidden))
					up := device.Matrix{Format: f, Rows: size.width, Cols: size.hidden}
					down := device.Matrix{Format: f, Rows: size.hidden, Cols: size.width}
					one := f.MatrixBytes(size.width, size.hidden)
					e := device.Experts{Gate: make([]device.Matrix, size.active), Up: make([]device.Matrix, size.active), Down: make([]device.Matrix, size.active)}
					for i := range to.Experts {
						to.Experts[i] = int32(i)
					}
					bytes := 3 * size.active * one
					times := max(1, (16<<20)/bytes)
					at := 0
					besideReading(b, memory, times*bytes, threads, func(int) {
						for range times {
							if at+bytes > len(memory) {
								at = 0
							}
							for i := range size.active {
								for k, m := range []*device.Matrix{&e.Gate[i], &e.Up[i], &e.Down[i]} {
									*m = up
									if k == 2 {
										*m = down
									}
									m.Data = memory[at+(3*i+k)*one:][:one]
								}
							}
							s.Experts(dst, x, to, &e, room)
							at += bytes
						}
					})
				})
			}
		}
	}
}
