package cpu

import (
	"runtime/debug"
	"testing"
	"time"
)

func TestMeasureBandwidthIsPlausible(t *testing.T) {
	for _, limit := range []int64{debug.SetMemoryLimit(-1), 64 << 20} {
		old := debug.SetMemoryLimit(limit)
		got := MeasureBandwidth(20 * time.Millisecond)
		debug.SetMemoryLimit(old)
		if got < 1e7 || got > 1e14 {
			t.Errorf("%v bytes/s", got)
		}
		t.Logf("%.1f GB/s", got/1e9)
	}
}

func BenchmarkBandwidth(b *testing.B) {
	for b.Loop() {
		b.ReportMetric(MeasureBandwidth(150*time.Millisecond)/1e9, "GB/s")
	}
}
