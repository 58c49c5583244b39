package lograte

import (
	"testing"
	"time"
)

func TestLinesThatWereNotWrittenAreCountedInTheNextPeriod(t *testing.T) {
	var l Limit
	const period, most = 10 * time.Second, 5
	start := time.Unix(1e9, 0)
	for i := range most + 7 {
		if ok, before := l.Allow(start.Add(time.Duration(i)*time.Millisecond), period, most); ok != (i < most) || before != 0 {
			t.Errorf("line %d: written %t, %d before", i, ok, before)
		}
	}
	for i, want := range []int{7, 0} {
		if ok, before := l.Allow(start.Add(period+time.Duration(i)), period, most); !ok || before != want {
			t.Errorf("a new period's line %d: written %t, %d before, not %d", i, ok, before, want)
		}
	}
}
