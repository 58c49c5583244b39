package cpu

import (
	"math"
	"runtime"
	"runtime/debug"
	"testing"
	"time"
)

func TestMeasureBandwidthIsPlausible(t *testing.T) {
	for _, limit := range []int64{math.MaxInt64, 64 << 20} {
		old := debug.SetMemoryLimit(limit)
		got, err := MeasureBandwidth(runtime.GOMAXPROCS(0), 20*time.Millisecond)
		debug.SetMemoryLimit(old)
		if err != nil || got < 1e7 || got > 1e14 {
			t.Errorf("%v bytes/s, %v", got, err)
		}
		t.Logf("%.1f GB/s", got/1e9)
	}
}

func TestAPlainReadTakesNoMoreThanAnEighthOfTheMemoryLimit(t *testing.T) {
	const limit = 64 << 20
	defer debug.SetMemoryLimit(debug.SetMemoryLimit(limit))
	for _, threads := range []int{1, 3} {
		p, err := NewPlainRead(threads, time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		if n := len(p.filled); n > limit/8 || n < limit/8-threads*readPiece || n%threads != 0 {
			t.Errorf("%d bytes for %d threads, of %d", n, threads, limit/8)
		}
		p.Close()
	}
}

func BenchmarkBandwidth(b *testing.B) {
	for b.Loop() {
		got, err := MeasureBandwidth(runtime.GOMAXPROCS(0), 150*time.Millisecond)
		if err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(got/1e9, "GB/s")
	}
}
