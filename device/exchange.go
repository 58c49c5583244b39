package device

import (
	"fmt"
	"sync"
	"sync/atomic"
	"unsafe"

	"github.com/orrery-ai/orrery/attention"
)

// An Exchanger is a Stream that takes part in exchanges with other nodes by itself: a whole step, its
// exchanges included, can be recorded ahead, and the host's compute thread stays out of it. With a Stream
// that is none, as the CPU's, the host waits for what it has recorded, and exchanges.
type Exchanger interface {
	Stream
	// NewLane makes one end of a lane. Close frees it.
	NewLane(end LaneEnd) (*Lane, error)
	// Slot is where message seq of a lane lies for operations: in the device's memory, as tensors are.
	Slot(l *Lane, seq uint32) []byte
	// Signal ends the stream's use of message seq of the lane when everything recorded before has run. On
	// a lane that goes out, n bytes of its slot are then sent; on one that comes in, its slot may be
	// filled again, and n does not matter.
	Signal(l *Lane, seq uint32, n int)
	// Await lets nothing recorded after run before message seq of the lane may be used: on a lane that
	// comes in, when it is in its slot; on one that goes out, when its slot is free. If the lane fails
	// first nothing recorded after runs at all, and the stream's Wait gives the lane's error; so it is, with
	// a [LengthError], if n is not 0 and the message has not n bytes.
	Await(l *Lane, seq uint32, n int)
	// Receive is Await of a message as long as dst together, copies of it to each of dst, up to three, one after the other, and Signal. Send copies src
	// to the slot of message seq, and signals it. All lie in the device's memory, and have a multiple of 4 bytes.
	Receive(l *Lane, seq uint32, dst ...[]byte)
	Send(l *Lane, seq uint32, src []byte)
	// FinishAll is Finish of parts of a partial that are merged first, in their order: part i is its rows [i·T, (i+1)·T), of dst.Rows = T.
	FinishAll(dst Tensor, p attention.Partial, parts int)
}

// LaneEnd says which end of a lane a device is to make.
type LaneEnd struct {
	Size int  // of the largest message, in bytes
	Out  bool // messages go out from here
	// Spin says that the device may keep trying for what it waits for; otherwise it leaves its units to others
	// meanwhile, which takes longer.
	Spin bool
	// Memory is where the lane is to lie, [LaneBytes] of Size, zero from the begin of a page on, because the
	// device at the other end uses the same; nil: the device takes memory of its own. Once the device has made the lane it calls
	// Free when it needs Memory no more, unless Free is nil.
	Memory []byte
	Free   func()
}

// Where things lie in a lane's memory.
const (
	laneSlots = 16 << 10 // the first slot, and a multiple of which each has: a page of Apple's, which networking may want to register
	laneTaken = 64       // what the receiving end writes: a cache line of its own
)

// laneHead is what a lane's memory begins with.
type laneHead struct {
	sent  atomic.Uint32
	bytes [2]atomic.Uint32
	_     [laneTaken - 12]byte
	taken atomic.Uint32
}

// Where the words of a lane's memory are, for kernels: in units of 4 bytes from its begin.
const (
	WordSent  = 0             // messages that have been filled
	WordBytes = 1             // of the message in slot 0, and behind it of that in slot 1
	WordTaken = laneTaken / 4 // messages that are needed no more
	HeadBytes = 2 * laneTaken // which all of them are within
)

// LaneBytes is the size of a lane's memory for messages of size bytes.
func LaneBytes(size int) int { return laneSlots + 2*slotRoom(size) }

func slotRoom(size int) int { return (size + laneSlots - 1) / laneSlots * laneSlots }

// SlotAt is where the slot of message seq begins in a lane's memory, in bytes.
func SlotAt(size int, seq uint32) int { return laneSlots + int(seq%2)*slotRoom(size) }

// LaneWords are the words that the two ends of a lane tell each other about it with, as one of them sees it. Each lies in memory that the device and the host reach.
// Counts go round at 2³²: one has reached another if their difference, as an int32, is not negative.
//
// At the end where messages come in Ready counts those that are in their slots, and Done those that the device needs no more. Where they go
// out Done counts those that the device has filled, and Ready those whose slots are free again. Ready and Done are the other end's Done and Ready
// if both use the same memory; else transport carries them.
type LaneWords struct {
	Ready, Done *atomic.Uint32
	Bytes       [2]*atomic.Uint32 // of the message in each slot; who fills it writes it
	Failed      *atomic.Uint32    // not 0 once Ready will not grow any more; this end's host writes it
}

// WordsIn are the words in a lane's memory, or in a head of its like, of HeadBytes.
func WordsIn(memory []byte, out bool, failed *atomic.Uint32) LaneWords {
	h := (*laneHead)(unsafe.Pointer(&memory[:HeadBytes][0]))
	w := LaneWords{Ready: &h.sent, Done: &h.taken, Failed: failed, Bytes: [2]*atomic.Uint32{&h.bytes[0], &h.bytes[1]}}
	if out {
		w.Ready, w.Done = w.Done, w.Ready
	}
	return w
}

// Lane is one end of a lane of package transport as a device sees it: room for two messages. Message seq,
// counted from 0, lies in slot seq%2.
type Lane struct {
	Slots [2][]byte
	Out   bool // messages go out from here
	Words LaneWords

	ready   func()
	signals chan struct{}
	mu      sync.Mutex
	cause   error
}

// NewLane is a lane's end in memory of [LaneBytes] of its size, which must be zero, as failed must. ready, if it is not nil, is
// called whenever the host has changed Ready or Failed, for devices that do not look at memory of the host's.
func NewLane(memory []byte, end LaneEnd, failed *atomic.Uint32, ready func()) *Lane {
	l := &Lane{Out: end.Out, Words: WordsIn(memory, end.Out, failed), ready: ready, signals: make(chan struct{}, 1)}
	for i := range l.Slots {
		l.Slots[i] = memory[SlotAt(end.Size, uint32(i)):][:end.Size:end.Size]
	}
	return l
}

// Needs is the count that Ready must reach before the device may use message seq.
func (l *Lane) Needs(seq uint32) uint32 {
	if l.Out {
		return seq + 1 - uint32(len(l.Slots)) // the one before in its slot is gone
	}
	return seq + 1
}

// SetReady is the host's: it sets the count of Ready.
func (l *Lane) SetReady(count uint32) {
	l.Words.Ready.Store(count)
	if l.ready != nil {
		l.ready()
	}
}

// Fail is the host's: the lane has failed. The first cause stays.
func (l *Lane) Fail(cause error) {
	l.mu.Lock()
	if l.cause == nil {
		l.cause = cause
	}
	l.mu.Unlock()
	l.Words.Failed.Store(1)
	if l.ready != nil {
		l.ready()
	}
}

// Err is why the lane has failed; nil while it has not.
func (l *Lane) Err() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.cause
}

// Signalled is called by the part of a device that runs on the host, when Done has grown, and by whoever knows that it
// will soon. It may be called once for several.
func (l *Lane) Signalled() {
	select {
	case l.signals <- struct{}{}:
	default:
	}
}

// Signals has an element after Done has grown, or will soon, for the host to wait for.
func (l *Lane) Signals() <-chan struct{} { return l.signals }

// LengthError says that a message is not as long as what would be computed from it.
type LengthError struct {
	Seq        uint32 // of the lane, from 0
	Have, Want int    // bytes
}

func (e *LengthError) Error() string {
	return fmt.Sprintf("message %d has %d bytes, not %d", e.Seq, e.Have, e.Want)
}

// Reached says that count, which may have gone round, is at n or beyond it.
func Reached(count, n uint32) bool { return int32(count-n) >= 0 }
