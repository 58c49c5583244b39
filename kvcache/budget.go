package kvcache

import (
	"fmt"
	"sync"
)

// Budget is memory that may be taken, in bytes. It may be used from any goroutine.
type Budget struct {
	limit  int64
	own    int64   // already taken from the lender; what goes beyond is borrowed as it is needed
	lender *Budget // nil: there is nothing but the limit

	mu   sync.Mutex
	used int64
}

// NewBudget allows limit bytes.
func NewBudget(limit int64) *Budget { return &Budget{limit: limit} }

// Part is a budget of limit bytes, own of which the caller has taken from b for it. The others are taken
// from b when they are needed, if it has them then.
func (b *Budget) Part(own, limit int64) *Budget {
	return &Budget{limit: limit, own: min(own, limit), lender: b}
}

// FullError says that the budget does not hold what was asked for.
type FullError struct{ Need, Free, Limit int64 }

func (e *FullError) Error() string {
	return fmt.Sprintf("KV cache is full: %d bytes needed, %d of %d free; use a smaller context, or a node with more memory", e.Need, e.Free, e.Limit)
}

// Take reserves n bytes, or returns a *FullError and reserves nothing.
func (b *Budget) Take(n int64) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	after := b.used + n
	if after > b.limit {
		return &FullError{Need: n, Free: b.limit - b.used, Limit: b.limit}
	}
	if more := b.borrowed(after) - b.borrowed(b.used); more > 0 {
		if err := b.lender.Take(more); err != nil {
			return err
		}
	}
	b.used = after
	return nil
}

// Give returns n bytes.
func (b *Budget) Give(n int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	after := b.used - n
	if less := b.borrowed(b.used) - b.borrowed(after); less > 0 {
		b.lender.Give(less)
	}
	b.used = after
}

// borrowed is what of used bytes comes from the lender.
func (b *Budget) borrowed(used int64) int64 {
	if b.lender == nil {
		return 0
	}
	return max(0, used-b.own)
}

// Used is what is taken now, in bytes.
func (b *Budget) Used() int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.used
}
