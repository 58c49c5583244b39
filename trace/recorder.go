package trace

import (
	"fmt"
	"math/bits"
	"sync/atomic"
)

// Limits of a Recorder.
const (
	SlotBytes = 64
	MaxSpans  = 1 << 22
)

// Recorder is a ring of spans: any goroutine may Add, one at a time reads. A full ring keeps what it has, until that
// was read, and counts what it cannot take. A nil *Recorder records nothing.
type Recorder struct {
	slots   []slot
	lapBits int
	next    atomic.Uint64 // number of the next span
	dropped atomic.Uint64

	// Of the reader.
	freed     uint64 // spans before it have been read, and confirmed
	delivered uint64 // spans before it have been read
}

// slot holds the spans whose numbers are the same but for the lap. In lap n it may be written while turn is 2n, and
// read while turn is 2n+1. So a ring that nobody has written to is all zero, and takes no memory yet.
type slot struct {
	turn atomic.Uint64
	span Span
}

// NewRecorder makes room for n spans, rounded up to a power of two, of SlotBytes each.
func NewRecorder(n int) (*Recorder, error) {
	if n < 1 || n > MaxSpans {
		return nil, fmt.Errorf("a trace of %d spans is not between 1 and %d", n, MaxSpans)
	}
	r := &Recorder{lapBits: bits.Len(uint(n - 1))}
	r.slots = make([]slot, 1<<r.lapBits)
	return r, nil
}

// RecorderBytes is the memory that a recorder for n spans takes.
func RecorderBytes(n int) int64 { return SlotBytes << bits.Len(uint(max(n, 1)-1)) }

// Now is the time, or 0 if nothing is recorded.
func (r *Recorder) Now() int64 {
	if r == nil {
		return 0
	}
	return Now()
}

// Add records a span that ends now. Without a beginning, because recording began later, it is none.
func (r *Recorder) Add(s Span) {
	if r != nil && s.Begin != 0 {
		s.End = Now()
		r.add(s)
	}
}

// Put records a span as it is.
func (r *Recorder) Put(s Span) {
	if r != nil {
		r.add(s)
	}
}

// add is a bounded queue's, after Vyukov: a slot is claimed by moving next, and handed over by its turn.
func (r *Recorder) add(s Span) {
	for {
		at := r.next.Load()
		slot, lap := &r.slots[at&uint64(len(r.slots)-1)], at>>r.lapBits
		switch turn := slot.turn.Load(); {
		case turn < 2*lap: // not read yet since the lap before
			r.dropped.Add(1)
			return
		case turn == 2*lap && r.next.CompareAndSwap(at, at+1):
			slot.span = s
			slot.turn.Store(2*lap + 1)
			return
		}
		// Another goroutine has taken the slot.
	}
}

// Page reads spans from number from on into to, as many as there are and fit, and frees those before from, which
// must have been read: so a page whose answer was lost can be asked for again. Numbers begin with 0.
func (r *Recorder) Page(from uint64, to []Span) (n int, err error) {
	if from < r.freed || from > r.delivered {
		return 0, fmt.Errorf("spans from %d on cannot be read: those before %d are gone, and those from %d on were not read", from, r.freed, r.delivered)
	}
	for ; r.freed < from; r.freed++ {
		slot, lap := r.slot(r.freed)
		slot.turn.Store(2 * (lap + 1))
	}
	for ; n < len(to) && n < len(r.slots); n++ {
		slot, lap := r.slot(from + uint64(n))
		if slot.turn.Load() != 2*lap+1 {
			break
		}
		to[n] = slot.span
	}
	r.delivered = max(r.delivered, from+uint64(n))
	return n, nil
}

func (r *Recorder) slot(number uint64) (s *slot, lap uint64) {
	return &r.slots[number&uint64(len(r.slots)-1)], number >> r.lapBits
}

// Dropped is how many spans there was no room for.
func (r *Recorder) Dropped() uint64 { return r.dropped.Load() }
