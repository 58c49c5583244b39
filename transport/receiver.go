package transport

import (
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// messagesPerLane is how many messages a receiver holds: one with its consumer, one arriving. See [Receiver.Single].
const messagesPerLane = 2

// Receiver is the receiving end of a lane. One goroutine at a time may wait on it.
//
// Messages that were complete when the connection broke, or when the sender closed the lane, can still
// be received. After that every call gives the same error: [ErrPeerLost], [ErrTimeout], io.EOF after the
// sender's Close, or ErrClosed after this end's.
type Receiver struct {
	e     *Endpoint
	from  string
	key   LaneKey
	max   int
	local bool
	share *shared // of the lane of an Inbox; nil if its memory is this process's alone

	ready chan *Message // complete; never more than there are messages
	dead  chan struct{} // closed when the lane fails
	freed chan struct{} // tells a sender on this node that a message was released

	link   atomic.Pointer[inlink] // on which the sender has opened the lane; nil if it is on this node
	parked atomic.Bool            // somebody waits who does not attend

	mu       sync.Mutex
	bound    bool   // the sender has opened the lane
	lane     uint32 // its number on link
	cause    error
	finished bool   // the sender has closed the lane
	cut      bool   // in the middle of a message
	next     uint64 // the message after those handed out
	in       arrival
	spare    []*Message // never used, or released, in that order
	inOrder  bool       // messages are used in turns, not the one that was released last, and is still in a cache
	filling  *Message   // arriving, from the front of queue or straight from the link
	filled   int        // its bytes that are there
	queue    []piece    // frames that wait for a spare message
	idle     [][]byte   // buffers for queue
	arriving piece      // the frame that the link's reader is reading
	owed     int        // frames consumed but not credited yet
}

// Message is a message received. Its bytes belong to the receiver and are valid until Release.
type Message struct {
	Bytes []byte
	Seq   uint64 // counts the messages of the lane, from 0

	// Arrived is when it was complete, of a lane that carries KV blocks: its reader may come to it later.
	Arrived time.Time

	r    *Receiver
	buf  []byte
	held bool
}

// Release gives the message back, so that another can take its place: a lane has room for two. A second
// Release of the same message does nothing, as long as it was not received again meanwhile.
func (m *Message) Release() { m.r.release(m) }

// Receiver registers this node as the receiver of a lane, for messages of at most maxMessage bytes. It
// must be registered before the peer opens its [Endpoint.Sender], and stays until Close.
func (e *Endpoint) Receiver(from string, key LaneKey, maxMessage int) (*Receiver, error) {
	r, err := e.newReceiver(from, key, maxMessage)
	if err == nil {
		err = e.register(r)
	}
	if err != nil {
		return nil, err
	}
	return r, nil
}

// Single has the lane hold one message instead of two. It is for lanes of which a message is released before the next is waited for:
// what comes meanwhile waits as frames. It must be called before the peer opens the other end.
func (r *Receiver) Single() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.spare = r.spare[:1]
}

func (e *Endpoint) newReceiver(from string, key LaneKey, maxMessage int) (*Receiver, error) {
	if err := checkLane(from, key, maxMessage); err != nil {
		return nil, err
	}
	r := &Receiver{
		e: e, from: from, key: key, max: maxMessage, local: from == e.c.Node,
		ready: make(chan *Message, messagesPerLane),
		dead:  make(chan struct{}),
		freed: make(chan struct{}, 1),
		in:    arrival{max: uint32(maxMessage), window: e.c.Window},
	}
	for range messagesPerLane {
		r.spare = append(r.spare, &Message{r: r})
	}
	return r, nil
}

// Receive waits for the next message until the deadline; zero means MaxWait from now. If the deadline
// passes the lane has failed: the error is [ErrTimeout], now and ever after, and the sender is told.
func (r *Receiver) Receive(deadline time.Time) (*Message, error) {
	if deadline.IsZero() {
		deadline = time.Now().Add(r.e.c.MaxWait)
	}
	if m := r.attend(deadline); m != nil {
		return m, nil
	}
	t := startTimer(deadline)
	defer stopTimer(t)
	m, err := r.await(t.C)
	if err != os.ErrDeadlineExceeded {
		return m, err
	}
	if l := r.link.Load(); l != nil && l.sock != nil {
		last := quota(pollerFrames) // it may have come while nobody watched
		l.readIdle(&last)
		select {
		case m := <-r.ready:
			return m, nil
		default:
		}
	}
	return nil, r.expire()
}

// expire fails the lane because its next message has not come in time. It gives why the lane failed: that may
// have been something else, just before.
func (r *Receiver) expire() error {
	r.mu.Lock()
	err := &ErrTimeout{Node: r.from, Lane: r.key, Seq: r.nextLocked()}
	r.mu.Unlock()
	r.leave(err)
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.errorLocked()
}

// errorLocked is the error of a lane that has failed.
func (r *Receiver) errorLocked() error { return laneError(r.cause, r.from, r.key, r.nextLocked()) }

// nextLocked is the number of the message that comes next.
func (r *Receiver) nextLocked() uint64 {
	if r.share.used() {
		return r.share.count()
	}
	return r.next
}

// Next waits for the next message without a deadline. It is for a goroutine that idles between requests:
// Close, DropPeer, the loss of the connection and the sender's Close end the wait.
func (r *Receiver) Next() (*Message, error) {
	if m := r.attend(time.Now().Add(attendFor)); m != nil {
		return m, nil
	}
	return r.await(nil)
}

// Ready is the next message if it is there already, else nil. It does not wait.
func (r *Receiver) Ready() *Message {
	select {
	case m := <-r.ready:
		return m
	default:
		return nil
	}
}

// attend gives the next message if that is there, or comes while it reads the lane's connection.
func (r *Receiver) attend(deadline time.Time) *Message {
	if !r.satisfied() {
		if l := r.link.Load(); l != nil {
			l.attend(r, deadline)
		}
	}
	select {
	case m := <-r.ready:
		return m
	default:
		return nil
	}
}

// await waits until somebody else has read the next message. After the deadline the error is
// os.ErrDeadlineExceeded.
func (r *Receiver) await(deadline <-chan time.Time) (*Message, error) {
	if l := r.link.Load(); l != nil {
		l.park()
		defer l.unpark()
	}
	r.parked.Store(true)
	defer r.parked.Store(false)
	select {
	case m := <-r.ready:
		return m, nil
	case <-r.dead:
		return r.remains()
	case <-deadline:
		return nil, os.ErrDeadlineExceeded
	}
}

// satisfied says that there is a message, or nothing more to wait for.
func (r *Receiver) satisfied() bool {
	select {
	case <-r.dead:
		return true
	default:
		return len(r.ready) > 0
	}
}

// remains is what a lane that has failed still gives.
func (r *Receiver) remains() (*Message, error) {
	select {
	case m := <-r.ready:
		return m, nil
	default:
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return nil, r.errorLocked()
}

// Close ends the lane on this side, and ends every wait on it. The sender is told. The key can then be
// registered again.
func (r *Receiver) Close() {
	r.e.unregister(r)
	r.leave(ErrClosed)
}

// leave fails the lane for a reason of this side: messages not yet received are dropped.
func (r *Receiver) leave(cause error) {
	r.mu.Lock()
	r.failLocked(cause)
	for drained := false; !drained; {
		select {
		case m := <-r.ready:
			m.held = false
		default:
			drained = true
		}
	}
	l, lane, finished := r.link.Load(), r.lane, r.finished
	r.mu.Unlock()
	if l != nil && !finished {
		// A failure has ended the link, which tells the sender as well.
		r.e.async(func() { l.refuse(lane, "its receiver has gone: "+cause.Error()) })
	}
}

// fail makes the lane fail from now on; the first cause stays.
func (r *Receiver) fail(cause error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.failLocked(cause)
}

func (r *Receiver) failLocked(cause error) {
	if r.cause == nil {
		r.cause = cause
		r.queue, r.idle = nil, nil
		close(r.dead)
	}
}
