package calibrate

import (
	"testing"
	"time"
)

func TestOtherProcessesAreSeen(t *testing.T) {
	at := func(stat string, own time.Duration) work {
		w, err := parseStat(stat)
		if err != nil {
			t.Fatal(err)
		}
		w.own = own
		return w
	}
	before := at("cpu  100 0 0 100 0 0 0 0 0 0\ncpu0 1 2\n", time.Second)
	for _, k := range []struct {
		stat string
		own  time.Duration
		want float64
	}{
		{"cpu  100 0 0 100 0 0 0 0 0 0", time.Second, 0},                      // no time has passed
		{"cpu  200 0 0 200 0 0 0 0 0 0", 2 * time.Second, 0},                  // one of two processors, and that is us
		{"cpu  250 10 10 200 5 5 5 15 0 0", 2 * time.Second, 0.95 / 3},        // nearly one more that is not
		{"cpu  300 0 0 100 0 0 0 0 0 0", 3*time.Second + time.Millisecond, 0}, // all are ours, but for rounding
		{"cpu  300 0 0 100 0 0 0 0 0 0", time.Second, 1},                      // none is
	} {
		if got := others(before, at(k.stat, k.own)); got < k.want-0.03 || got > k.want+0.03 {
			t.Errorf("%q with %v of ours: %v, want %v", k.stat, k.own, got, k.want)
		}
	}
	if _, err := parseStat("intr 5"); err == nil {
		t.Error("no cpu line, and no error")
	}
	if w, err := workNow(); err != nil || w.all <= 0 || w.own <= 0 {
		t.Errorf("%+v, %v", w, err)
	}
}
