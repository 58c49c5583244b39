package rdma

import (
	"fmt"
	"io"
	"sync"
	"testing"
	"time"

	"github.com/orrery-ai/orrery/internal/standin"
)

// The stand-in moves bytes through memory: these say what the code costs, and nothing of a network.

// modes are how long a waiting call polls.
var modes = []struct {
	name string
	spin time.Duration
}{{"safe", 0}, {"fast", time.Second}}

// BenchmarkExchange is a message and its echo between two goroutines.
func BenchmarkExchange(b *testing.B) {
	for _, mode := range modes {
		for _, n := range []int{64, 4 << 10, 32 << 10} {
			b.Run(fmt.Sprintf("%s/%d", mode.name, n), func(b *testing.B) {
				p := provider(b, standin.Start(b))
				x, y := connect(b, p, p)
				x.SetSpin(mode.spin, freely{})
				y.SetSpin(mode.spin, freely{})
				var wg sync.WaitGroup
				wg.Go(func() {
					buf := make([]byte, n)
					for {
						if _, err := io.ReadFull(y, buf); err != nil {
							return
						}
						if _, err := y.Write(buf); err != nil {
							b.Error(err)
						}
					}
				})
				buf := make([]byte, n)
				b.ReportAllocs()
				for b.Loop() {
					if _, err := x.Write(buf); err != nil {
						b.Fatal(err)
					}
					if _, err := io.ReadFull(x, buf); err != nil {
						b.Fatal(err)
					}
				}
				x.Close()
				wg.Wait()
			})
		}
	}
}

// BenchmarkStream writes 4 MiB at a time, one way.
func BenchmarkStream(b *testing.B) {
	for _, mode := range modes {
		b.Run(mode.name, func(b *testing.B) {
			const n = 4 << 20
			p := provider(b, standin.Start(b))
			x, y := connect(b, p, p)
			x.SetSpin(mode.spin, freely{})
			y.SetSpin(mode.spin, freely{})
			var wg sync.WaitGroup
			wg.Go(func() {
				buf := make([]byte, 1<<20)
				for {
					if _, err := y.Read(buf); err != nil {
						return
					}
				}
			})
			buf := make([]byte, n)
			b.SetBytes(n)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := x.Write(buf); err != nil {
					b.Fatal(err)
				}
			}
			x.Close()
			wg.Wait()
		})
	}
}
