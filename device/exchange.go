package device

import (
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/orrery-ai/orrery/attention"
)

// An Exchanger is a Stream that takes part in exchanges with other nodes by itself: a whole step, its
// exchanges included, can be recorded ahead, and the host's compute thread stays out of it. With a Stream
// that is none, as the CPU's, the host waits for what it has recorded, and exchanges.
type Exchanger interface {
	Stream
	// NewLane makes the memory of one end of a lane, for messages of at most size bytes. spin says that the device may keep
	// trying for what it waits for; otherwise it leaves its units to others meanwhile, which takes longer. Close frees it.
	NewLane(size int, spin bool) (*Lane, error)
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

// LaneWords are the words that a device and the host tell each other about a lane with. They lie in memory
// that both reach. Counts go round at 2³²: one has reached another if their difference, as an int32, is not
// negative.
type LaneWords struct {
	Ready  atomic.Uint32    // messages that the device may use; the host writes it
	Failed atomic.Uint32    // not 0 once Ready will not grow any more; the host writes it
	Done   atomic.Uint32    // messages that the device has signalled; the device writes it
	Bytes  [2]atomic.Uint32 // of the message in each slot; who fills it writes it
}

// Lane is one end of a lane of package transport as a device sees it: room for two messages. Message seq,
// counted from 0, lies in slot seq%2.
type Lane struct {
	Slots [2][]byte
	Words *LaneWords

	ready   func()
	signals chan struct{}
	mu      sync.Mutex
	cause   error
}

// NewLane is a lane's end with the slots and words given, which must be zero. ready, if it is not nil, is
// called whenever the host has changed Ready or Failed, for devices that do not look at memory of the host's.
func NewLane(slots [2][]byte, words *LaneWords, ready func()) *Lane {
	return &Lane{Slots: slots, Words: words, ready: ready, signals: make(chan struct{}, 1)}
}

// SetReady is the host's: the device may use the messages before count.
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
