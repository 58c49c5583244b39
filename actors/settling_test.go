package actors

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

func TestAMeasurementWaitsForAllWeightsThatMove(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s settling
		waited := func() time.Duration {
			start := time.Now()
			s.wait(t.Context(), SettleWait)
			return time.Since(start)
		}
		if got := waited(); got != 0 {
			t.Errorf("it waits for %v although nothing moves", got)
		}
		first, second := s.begin(), s.begin()
		time.AfterFunc(2*time.Second, first)
		time.AfterFunc(3*time.Second, second)
		if got := waited(); got != 3*time.Second {
			t.Errorf("it waits for %v, want for the later of two, 3 s", got)
		}
		third := s.begin()
		if got := waited(); got != SettleWait {
			t.Errorf("it waits for %v for what does not end, want %v", got, SettleWait)
		}
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, cancel)
		start := time.Now()
		if s.wait(ctx, SettleWait); time.Since(start) != time.Second {
			t.Errorf("it waits for %v, a node that leaves after a second", time.Since(start))
		}
		third()
		if got := waited(); got != 0 {
			t.Errorf("it waits for %v when all has moved", got)
		}
	})
}
