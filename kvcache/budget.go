package kvcache

import (
	"fmt"
	"sync"
)

// Budget is memory that may be taken, in bytes. It may be used from any goroutine.
type Budget struct {
	mu    sync.Mutex
	limit int64
	used  int64
}

// NewBudget allows limit bytes.
func NewBudget(limit int64) *Budget { return &Budget{limit: limit} }

// FullError says that the budget does not hold what was asked for.
type FullError struct{ Need, Free, Limit int64 }

func (e *FullError) Error() string {
	return fmt.Sprintf("memory is full: %d bytes needed, %d of %d free", e.Need, e.Free, e.Limit)
}

// Take reserves n bytes, or returns a *FullError and reserves nothing.
func (b *Budget) Take(n int64) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if n < 0 || n > b.limit-b.used { // n may be whatever a peer says
		return &FullError{Need: n, Free: b.limit - b.used, Limit: b.limit}
	}
	b.used += n
	return nil
}

// Give returns n bytes.
func (b *Budget) Give(n int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.used -= n
}

// Raise allows n bytes more, or fewer if n is negative. What is taken already stays.
func (b *Budget) Raise(n int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.limit += n
}

// Used is what is taken now, in bytes.
func (b *Budget) Used() int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.used
}
