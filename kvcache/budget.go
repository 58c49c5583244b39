package kvcache

import (
	"fmt"
	"sync/atomic"
)

// Budget is the memory that a node's KV cache may take. It may be used from any goroutine.
type Budget struct {
	limit int64
	used  atomic.Int64
}

// NewBudget allows limit bytes.
func NewBudget(limit int64) *Budget { return &Budget{limit: limit} }

// FullError says that the budget does not hold what was asked for.
type FullError struct{ Need, Free, Limit int64 }

func (e *FullError) Error() string {
	return fmt.Sprintf("KV cache is full: %d bytes needed, %d of %d free; use a smaller context, or a node with more memory", e.Need, e.Free, e.Limit)
}

// Take reserves n bytes, or returns a *FullError and reserves nothing.
func (b *Budget) Take(n int64) error {
	if used := b.used.Add(n); used > b.limit {
		b.used.Add(-n)
		return &FullError{Need: n, Free: b.limit - used + n, Limit: b.limit}
	}
	return nil
}

// Give returns n bytes.
func (b *Budget) Give(n int64) { b.used.Add(-n) }

// Used is what is taken now, in bytes.
func (b *Budget) Used() int64 { return b.used.Load() }
