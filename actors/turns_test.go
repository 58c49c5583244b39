package actors

import (
	"testing"
	"time"
)

func TestATurnIsTheMedianOfTheLastOnes(t *testing.T) {
	var u turns
	if got := u.median(); got != 0 {
		t.Errorf("of none it is %v", got)
	}
	for _, d := range []time.Duration{9, 1, 5} {
		u.add(d)
	}
	if got := u.median(); got != 5 {
		t.Errorf("of 9, 1 and 5 it is %d", got)
	}
	for range u.last {
		u.add(7)
	}
	if got := u.median(); got != 7 {
		t.Errorf("after as many of 7 as are kept it is %d", got)
	}
}
