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

func TestAPartBorrowsOnlyBeyondItsOwn(t *testing.T) {
	node := NewBudget(1000)
	if err := node.Take(400); err != nil { // kept for the part
		t.Fatal(err)
	}
	part := node.Part(400, 900)
	for _, c := range []struct{ take, node int64 }{{300, 400}, {200, 500}, {400, 900}} {
		if err := part.Take(c.take); err != nil || node.Used() != c.node {
			t.Fatalf("took %d: the node has given %d, want %d: %v", c.take, node.Used(), c.node, err)
		}
	}
	var full *FullError
	if err := part.Take(1); !errors.As(err, &full) || part.Used() != 900 {
		t.Fatalf("beyond the limit: %v", err)
	}
	part.Give(700)
	if node.Used() != 400 || part.Used() != 200 {
		t.Fatalf("given back: the node has given %d, the part %d", node.Used(), part.Used())
	}
	if err := node.Take(600); err != nil {
		t.Fatal(err)
	}
	if err := part.Take(201); !errors.As(err, &full) || part.Used() != 200 {
		t.Fatalf("borrowed what the node does not have: %v", err)
	}
}
