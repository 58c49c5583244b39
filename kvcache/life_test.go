package kvcache

import (
	"errors"
	"sync"
	"testing"
)

func TestABlocksLife(t *testing.T) {
	names := map[State]string{0: "unborn", Open: "open", Sealed: "sealed", Moving: "moving", Dropped: "dropped"}
	allowed := map[[2]State]bool{
		{Open, Sealed}: true, {Open, Dropped}: true, {Sealed, Moving}: true, {Sealed, Dropped}: true, {Moving, Sealed}: true, {Moving, Dropped}: true,
	}
	for from, name := range names {
		if from.String() != name {
			t.Errorf("%v should be %s", from, name)
		}
		for to := range names {
			got, err := from.To(to)
			if ok := allowed[[2]State{from, to}]; ok != (err == nil) || ok && got != to || !ok && got != from {
				t.Errorf("from %v to %v: %v, %v", from, to, got, err)
			}
		}
	}
}

func TestBudgetNeverExceedsItsLimit(t *testing.T) {
	b := NewBudget(1000)
	var takers sync.WaitGroup
	for range 8 {
		takers.Go(func() {
			for range 2000 {
				var full *FullError
				if err := b.Take(300); err == nil {
					b.Give(300)
				} else if !errors.As(err, &full) || full.Need != 300 || full.Limit != 1000 {
					t.Errorf("%v", err)
				}
			}
		})
	}
	takers.Wait()
	if b.Used() != 0 {
		t.Errorf("%d bytes used", b.Used())
	}
	if b.Take(1000) != nil || b.Take(1) == nil || b.Used() != 1000 {
		t.Errorf("%d bytes used of 1000", b.Used())
	}
}

func TestARaisedBudgetAllowsThatMuchMore(t *testing.T) {
	b := NewBudget(400)
	b.Raise(500)
	if b.Take(900) != nil || b.Take(1) == nil {
		t.Fatalf("%d bytes used of 900", b.Used())
	}
	b.Raise(-500)
	var full *FullError
	if err := b.Take(1); !errors.As(err, &full) || full.Free != -500 {
		t.Fatalf("after it was lowered: %v", err)
	}
	b.Give(501)
	if b.Take(1) != nil || b.Take(1) == nil {
		t.Errorf("%d bytes used of 400", b.Used())
	}
}
