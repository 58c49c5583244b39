package cpu

import (
	"sync"
	"sync/atomic"
)

// A batch is one operation in progress. It is divided into as many parts as workers may be at it, each of items that lie together: memory that is
// read in a row is read faster than ranges of it that threads take in turn. Who has done its part takes half of what is left of another, so
// that all end together, whoever is late, slow or missing. Its stream reuses it.
type batch struct {
	job   job
	step  int    // items to take at a time
	parts []part // the caller's first; what is behind them has been used by larger batches

	joined atomic.Int32 // workers at it now; it changes under the pool's mutex

	// Guarded by the pool's mutex.
	open int       // workers that may still join: the next gets the part of that number
	left sync.Cond // joined became 0
}

// A part is the items [first, end) that nobody has taken yet, as first<<32 | end, on cache lines of its own. Once it is empty only its owner puts
// items into it again.
type part struct {
	items atomic.Uint64
	_     [120]byte
}

func items(first, end int) uint64 { return uint64(first)<<32 | uint64(end) }

func rangeOf(items uint64) (first, end int) { return int(items >> 32), int(items & (1<<32 - 1)) }

// divide makes parts of the n items of a job, of as many steps each.
func (b *batch) divide(j job, n, step, parts int) {
	b.job, b.step = j, step
	if cap(b.parts) < parts {
		b.parts = make([]part, parts)
	}
	b.parts = b.parts[:parts]
	steps, first := (n+step-1)/step, 0
	for i := range b.parts {
		end := min(steps*(i+1)/parts*step, n)
		b.parts[i].items.Store(items(first, end))
		first = end
	}
}

// work does a part, and then what it can take from others, until there is nothing left to take.
func (b *batch) work(part int, w *worker) {
	for {
		for {
			first, end := b.take(part)
			if first == end {
				break
			}
			b.job.run(first, end, w)
		}
		if !b.steal(part) {
			return
		}
	}
}

// take takes the next step of a part, which is empty if nothing is left of it.
func (b *batch) take(part int) (first, end int) {
	p := &b.parts[part].items
	for {
		old := p.Load()
		first, end = rangeOf(old)
		next := min(first+b.step, end)
		if first == end || p.CompareAndSwap(old, items(next, end)) {
			return first, next
		}
	}
}

// steal moves the second half of what is left of another part, or its last step, into this one, which is empty. It reports whether it found any.
func (b *batch) steal(part int) bool {
	for i := 1; i < len(b.parts); i++ {
		p := &b.parts[(part+i)%len(b.parts)].items
		for {
			old := p.Load()
			first, end := rangeOf(old)
			if first == end {
				break
			}
			middle := first + (end-first)/b.step/2*b.step
			if p.CompareAndSwap(old, items(first, middle)) {
				b.parts[part].items.Store(items(middle, end))
				return true
			}
		}
	}
	return false
}
