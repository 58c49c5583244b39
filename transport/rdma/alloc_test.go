//go:build !race

package rdma

import (
	"io"
	"testing"
	"time"

	"github.com/orrery-ai/orrery/internal/standin"
)

func TestSteadyStateAllocatesNothing(t *testing.T) {
	f := standin.Start(t)
	p := provider(t, f)
	for mode, spin := range map[string]time.Duration{"safe": 0, "fast": time.Second} {
		a, b := connect(t, p, p)
		a.SetSpin(spin, freely{})
		b.SetSpin(spin, freely{})
		for _, n := range []int{64, 4 << 10, 64 << 10, 300_000} {
			out, in := make([]byte, n), make([]byte, n)
			done := make(chan struct{})
			start := make(chan struct{})
			go func() {
				for range start {
					if _, err := io.ReadFull(b, in); err != nil {
						t.Error(err)
					}
					done <- struct{}{}
				}
			}()
			exchange := func() {
				start <- struct{}{}
				if _, err := a.Write(out); err != nil {
					t.Fatal(err)
				}
				<-done
			}
			for range 20 {
				exchange()
			}
			if got := testing.AllocsPerRun(200, exchange); got > 0 {
				t.Errorf("%s, %d bytes: %v allocations to write and read", mode, n, got)
			}
			close(start)
		}
	}
}
