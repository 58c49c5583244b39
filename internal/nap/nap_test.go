package nap

import (
	"testing"
	"time"
)

func TestAWatchNapsButAboutTheExpectedEnd(t *testing.T) {
	const us = time.Microsecond
	var w Watch
	runs := func(times ...time.Duration) (naps []bool) {
		for _, r := range times {
			naps = append(naps, w.Naps(r))
		}
		w.Ended()
		return naps
	}
	for _, c := range []struct {
		what  string
		times []time.Duration
		want  []bool
	}{
		{"nothing is expected", []time.Duration{0, 299 * us, 350 * us, 3000 * us}, []bool{false, false, true, true}},
		{"the last took 3 ms", []time.Duration{100 * us, 500 * us, 2600 * us, 2900 * us, 3100 * us, 3500 * us, 150 * us}, []bool{false, true, true, false, false, true, false}},
		{"the last took 150 µs", []time.Duration{100 * us, 400 * us, 500 * us}, []bool{false, false, true}},
		{"the last was seen at 500 µs", []time.Duration{350 * us, 700 * us, 900 * us}, []bool{false, false, true}},
	} {
		got := runs(c.times...)
		for i := range got {
			if got[i] != c.want[i] {
				t.Errorf("%s: at %v napping is %v, not %v", c.what, c.times[i], got[i], c.want[i])
			}
		}
	}
}

func TestANapTakesItsTime(t *testing.T) {
	start := time.Now()
	for range 10 {
		For(200 * time.Microsecond)
	}
	if took := time.Since(start); took < time.Millisecond { // a signal may have cut some short
		t.Errorf("ten naps of 200 µs took %v", took)
	}
}
