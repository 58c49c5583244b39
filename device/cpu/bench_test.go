package cpu

import (
	"fmt"
	"math/rand/v2"
	"syscall"
	"testing"

	"github.com/orrery-ai/orrery/attention"
	"github.com/orrery-ai/orrery/device"
)

// cpuSeconds is the processor time that the program has used: unlike the time on the clock, it tells
// how good the code is when other programs run too.
func cpuSeconds() float64 {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return float64(u.Utime.Nano()+u.Stime.Nano()) / 1e9
}

// report gives the rate of an operation that does some amount of work, by the clock and by processor time.
func report(b *testing.B, amount float64, unit string, cpu float64) {
	n := float64(b.N) * amount / 1e9
	b.ReportMetric(n/b.Elapsed().Seconds(), "G"+unit+"/s")
	b.ReportMetric(n/cpu, "G"+unit+"/cpu-s")
}

func BenchmarkMatMul(b *testing.B) {
	for _, c := range []struct {
		tokens, rows, cols int
		f                  device.Format
	}{
		{1024, 256, 768, device.BF16}, {1024, 768, 256, device.BF16},
		{1024, 2048, 8192, device.BF16}, {1024, 8192, 2048, device.F16}, {512, 2048, 2048, device.F32},
		{16, 8192, 2048, device.BF16}, {8, 8192, 2048, device.BF16}, {4, 8192, 2048, device.BF16},
		{1, 4096, 256, device.BF16}, {1, 8192, 2048, device.BF16}, {1, 65536, 2048, device.BF16},
	} {
		for _, threads := range []int{1, 2} {
			b.Run(fmt.Sprintf("%dx%dx%d-%v/threads=%d", c.tokens, c.rows, c.cols, c.f, threads), func(b *testing.B) {
				d := New(threads)
				defer d.Close()
				s := d.NewStream()
				x, dst := device.NewTensor(c.tokens, c.cols), device.NewTensor(c.tokens, c.rows)
				w := device.Matrix{Format: c.f, Rows: c.rows, Cols: c.cols, Data: make([]byte, c.rows*c.cols*c.f.Bytes())}
				for i := range w.Data {
					w.Data[i] = 0x3c
				}
				cpu := cpuSeconds()
				for b.Loop() {
					s.MatMul(dst, x, w)
				}
				cpu = cpuSeconds() - cpu
				if c.tokens > 1 {
					report(b, 2*float64(c.tokens)*float64(c.rows)*float64(c.cols), "FLOP", cpu)
				} else {
					report(b, float64(len(w.Data)), "B", cpu)
				}
			})
		}
	}
}

func BenchmarkAttend(b *testing.B) {
	tiny := attention.Shape{Heads: 4, KVHeads: 2, HeadDim: 64, Scale: 0.125}
	large := attention.Shape{Heads: 32, KVHeads: 8, HeadDim: 128, Scale: 0.088}
	for _, c := range []struct {
		name       string
		shape      attention.Shape
		rows, keys int
	}{
		{"decode32K-tiny", tiny, 1, 32 << 10}, {"decode32K-large", large, 1, 32 << 10},
		{"prefill8K-tiny", tiny, 1024, 8 << 10}, {"prefill8K-large", large, 1024, 8 << 10}, {"prefill1K-tiny", tiny, 1024, 1024},
	} {
		for _, threads := range []int{1, 2} {
			b.Run(fmt.Sprintf("%s/threads=%d", c.name, threads), func(b *testing.B) {
				d := New(threads)
				defer d.Close()
				s, r := d.NewStream(), rand.New(rand.NewPCG(1, 1))
				var kv []attention.KV
				bytes, width := 1024*c.shape.KVBytes(attention.F16)/2, c.shape.KVHeads*c.shape.HeadDim
				k := random(r, 1024, width)
				for at := 0; at < c.keys; at += 1024 {
					block := attention.KV{Format: attention.F16, HeadDim: c.shape.HeadDim, First: at, Len: 1024, Cap: 1024,
						K: make([]byte, bytes), V: make([]byte, bytes)}
					s.Append(&block, 0, k, k)
					kv = append(kv, block)
				}
				p, q := attention.NewPartial(c.rows, c.shape), random(r, c.rows, c.shape.Heads*c.shape.HeadDim)
				first := c.keys - c.rows
				cpu := cpuSeconds()
				for b.Loop() {
					p.Reset()
					s.Attend(p, q, first, c.shape, kv)
				}
				cpu = cpuSeconds() - cpu
				if c.rows == 1 {
					report(b, float64(c.keys*c.shape.KVBytes(attention.F16)), "B", cpu)
					return
				}
				seen := float64(c.rows) * (float64(first) + float64(c.rows+1)/2)
				report(b, 4*seen*float64(c.shape.Heads*c.shape.HeadDim), "FLOP", cpu)
			})
		}
	}
}

func BenchmarkStep(b *testing.B) {
	for _, tokens := range []int{1, 256} {
		for _, threads := range []int{1, 2} {
			b.Run(fmt.Sprintf("tokens=%d/threads=%d", tokens, threads), func(b *testing.B) {
				d := New(threads)
				defer d.Close()
				s := d.NewStream()
				l := newStep(rand.New(rand.NewPCG(1, 1)), s, tokens, 1024)
				for b.Loop() {
					l.run(s)
				}
			})
		}
	}
}
