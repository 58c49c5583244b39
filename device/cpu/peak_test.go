package cpu

import (
	"testing"
	"time"
)

func TestMeasurePeakIsPlausible(t *testing.T) {
	for _, threads := range []int{1, 2} {
		if got := MeasurePeak(threads, time.Millisecond); got < 1e7 || got > 1e14 {
			t.Errorf("%v operations/s on %d threads", got, threads)
		}
	}
}
