package shm

import (
	"errors"
	"sync/atomic"
	"unsafe"
)

// ringHead is what the two ends of a ring tell each other, in the memory that they share. Each word has a cache line of its own.
type ringHead struct {
	put    atomic.Uint64 // bytes that the writer has put in, since the beginning
	_      [56]byte
	taken  atomic.Uint64 // bytes that the reader has taken out
	_      [56]byte
	idle   atomic.Uint32 // how the reader wants to be woken; who wakes it sets this to 0
	_      [60]byte
	full   atomic.Uint32 // 1: the writer waits for room; who makes some sets this to 0
	_      [60]byte
	closed atomic.Uint32 // 1: the writer has closed its end
	_      [60]byte
}

// Bits of ringHead.idle.
const (
	idleAsleep  = 1 << iota // a thread rests
	idleWatched             // the reader's bell is watched
)

const (
	ringHeadBytes = int(unsafe.Sizeof(ringHead{}))
	// publishBytes is after how many bytes a writer tells the reader of them, so that the reader takes them while the writer goes on.
	publishBytes = 16 << 10
)

// errBroken says that the other process has written into the memory what cannot be.
var errBroken = errors.New("the shared memory holds counts that cannot be")

// ring is a stream of bytes in one direction, as one of its two ends sees it. It trusts its own count, and the other end's no further than it can be.
type ring struct {
	head *ringHead
	data []byte
	pos  uint64 // this end's count
	seen uint64 // the other end's, when it was last looked at
}

// newRing is an end of the ring whose head and data these are.
func newRing(head, data []byte) ring {
	return ring{head: (*ringHead)(unsafe.Pointer(&head[:ringHeadBytes][0])), data: data}
}

// readable says that there is something to take, or something wrong. Unlike the others it is for any goroutine, and so looks at the reader's count where that is shared.
func (r *ring) readable() bool { return r.head.put.Load() != r.head.taken.Load() }

// take is the reader's: it moves what is there to b, and says how much that was.
func (r *ring) take(b []byte) (int, error) {
	there := r.seen - r.pos
	if there < uint64(len(b)) {
		r.seen = r.head.put.Load()
		if there = r.seen - r.pos; there > uint64(len(r.data)) {
			return 0, errBroken
		}
	}
	b = b[:min(uint64(len(b)), there)]
	if len(b) == 0 {
		return 0, nil
	}
	n := copy(b, r.data[r.pos%uint64(len(r.data)):])
	copy(b[n:], r.data)
	r.pos += uint64(len(b))
	r.head.taken.Store(r.pos)
	return len(b), nil
}

// put is the writer's: it moves as much of b as there is room for into the ring, and says how much that was. The reader does not know of it before publish.
func (r *ring) put(b []byte) (int, error) {
	room := uint64(len(r.data)) - (r.pos - r.seen)
	if room < uint64(len(b)) {
		r.seen = r.head.taken.Load()
		if r.pos-r.seen > uint64(len(r.data)) {
			return 0, errBroken
		}
		room = uint64(len(r.data)) - (r.pos - r.seen)
	}
	b = b[:min(uint64(len(b)), room)]
	n := copy(r.data[r.pos%uint64(len(r.data)):], b)
	copy(r.data, b[n:])
	r.pos += uint64(len(b))
	return len(b), nil
}

// publish tells the reader of all that was put in, and says how it wants to be woken.
func (r *ring) publish() (idle uint32) {
	r.head.put.Store(r.pos)
	if r.head.idle.Load() == 0 {
		return 0
	}
	return r.head.idle.Swap(0)
}
