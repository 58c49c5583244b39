package kvcache

import (
	"errors"
	"math"
	"testing"
)

func TestABudgetRefusesWhatNoMemoryHas(t *testing.T) {
	b := NewBudget(100)
	if err := b.Take(60); err != nil {
		t.Fatal(err)
	}
	for _, n := range []int64{41, math.MaxInt64, -1, math.MinInt64} {
		var full *FullError
		if err := b.Take(n); !errors.As(err, &full) || full.Need != n || full.Free != 40 {
			t.Errorf("%d bytes of 40: %v", n, err)
		}
	}
	if err := b.Take(40); err != nil || b.Used() != 100 {
		t.Errorf("%v; %d bytes are taken", err, b.Used())
	}
}
