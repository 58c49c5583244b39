package transport

import (
	"fmt"
	"io"
	"os"
	"slices"
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

// piece is a data frame in the receiver. Its bytes are nil if they go straight into the message.
type piece struct {
	header
	bytes []byte
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

// bind ties the lane to the link on which its sender opened it, with its messages in memory that both share or on the link. It returns why that cannot be.
func (r *Receiver) bind(l *inlink, lane uint32, o open) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.cause != nil:
		return "it has failed before"
	case r.bound:
		return "it is open already"
	case int64(o.max) > int64(r.max):
		return fmt.Sprintf("messages of up to %d bytes, where %d are allowed", o.max, r.max)
	case o.shared && !r.share.use():
		return "nobody has asked for its memory"
	}
	r.bound, r.lane = true, lane
	r.link.Store(l)
	return ""
}

// begin takes the header of a data frame and says where the link's reader should put the payload: into
// the message if that has a place already, else into a buffer of its own. Nil means to discard it. The
// capacity ends with the message.
func (r *Receiver) begin(h header) ([]byte, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.cause != nil {
		return nil, nil
	}
	if r.share.used() {
		return nil, protocolError("a frame of messages that are in shared memory")
	}
	if err := r.in.accept(h); err != nil {
		return nil, err
	}
	r.arriving = piece{header: h}
	if len(r.queue) == 0 && r.room(h) {
		return r.filling.buf[r.filled : r.filled+int(h.length) : h.total], nil
	}
	var b []byte
	if n := len(r.idle); n > 0 {
		b, r.idle = r.idle[n-1], r.idle[:n-1]
	}
	r.arriving.bytes = grow(b, int(h.length), r.e.c.FrameBytes)
	return r.arriving.bytes[:h.length:h.length], nil
}

// commit follows begin when the payload is there. It returns how many frames to credit now and, if that is
// none, whether some may be credited when there is time.
func (r *Receiver) commit() (now int, later bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.cause != nil {
		return 0, false
	}
	if r.arriving.bytes != nil {
		r.queue = append(r.queue, r.arriving)
		r.arriving.bytes = nil
		r.pump()
	} else {
		r.consumed(r.arriving.header)
	}
	if !r.creditDue() {
		return 0, false
	}
	// At the end of a message somebody is about to use it, and the sender is not short of credits yet.
	if r.arriving.flags&flagLast != 0 && r.owed < r.in.window {
		return 0, true
	}
	return r.takeOwed(), false
}

// room makes sure that the message of h has its place, if there is one.
func (r *Receiver) room(h header) bool {
	if r.filling == nil {
		r.filling = r.take(int(h.total))
		r.filled = 0
	}
	return r.filling != nil
}

// take is a spare message with room for n bytes; nil if there is none.
func (r *Receiver) take(n int) *Message {
	if len(r.spare) == 0 {
		return nil
	}
	i := len(r.spare) - 1
	if r.inOrder {
		i = 0
	}
	m := r.spare[i]
	r.spare = slices.Delete(r.spare, i, i+1)
	m.buf = m.room(n, r.max)
	return m
}

// grow is b with length n, and not nil. A new buffer has up to twice the room of the old one, so that
// messages that become a little larger each time do not each need one.
func grow(b []byte, n, limit int) []byte {
	if b == nil || n > cap(b) {
		b = make([]byte, min(max(n, 2*cap(b)), max(n, limit)))
	}
	return b[:n]
}

// pump moves queued frames into messages while there is room. It says whether it moved any.
func (r *Receiver) pump() bool {
	done := 0
	for _, p := range r.queue {
		if !r.room(p.header) {
			break
		}
		copy(r.filling.buf[r.filled:], p.bytes)
		r.idle = append(r.idle, p.bytes)
		r.consumed(p.header)
		done++
	}
	r.queue = append(r.queue[:0], r.queue[done:]...)
	r.finishIfDrained()
	return done > 0
}

// settle takes all that is owed, for a credit that was put off.
func (r *Receiver) settle() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.cause != nil {
		return 0
	}
	return r.takeOwed()
}

// consumed records that the payload of h is in the message being filled, and hands that out when whole.
func (r *Receiver) consumed(h header) {
	r.owed++
	r.filled += int(h.length)
	if h.flags&flagLast != 0 {
		r.deliver(h.seq, int(h.total))
	}
}

// deliver hands out the message being filled.
func (r *Receiver) deliver(seq uint64, n int) {
	m := r.filling
	r.filling = nil
	m.Bytes, m.Seq, m.held = m.buf[:n:n], seq, true
	r.next = seq + 1
	if r.key.Purpose.class() == classBulk {
		m.Arrived = time.Now()
	}
	r.e.traffic[r.key.Purpose].in(n)
	if r.parked.Load() {
		r.e.turn.Add(1)
	}
	r.ready <- m // there are no more messages than it has room for
}

// creditDue says whether to credit what is owed. Several frames go at once, for each credit costs a write
// here and a wake-up of the peer. Small messages mostly alternate with answers and leave the window nearly
// unused, so they are credited late; bulk is credited early, to keep a long way filled.
func (r *Receiver) creditDue() bool {
	late := r.in.window / 4
	if r.key.Purpose.class() == classSmall {
		late *= 3
	}
	return r.owed >= max(1, late)
}

// takeOwed is the number of frames to credit now.
func (r *Receiver) takeOwed() int {
	n := r.owed
	r.owed = 0
	r.in.uncredited -= n
	return n
}

func (r *Receiver) release(m *Message) {
	r.mu.Lock()
	if !m.held {
		r.mu.Unlock()
		return
	}
	m.held, m.Bytes = false, nil
	r.spare = append(r.spare, m)
	credits := 0
	if r.cause == nil && !r.local && r.pump() && r.creditDue() {
		credits = r.takeOwed()
	}
	l, lane := r.link.Load(), r.lane
	r.mu.Unlock()
	if credits > 0 {
		l.credit(lane, credits) // a failure has ended the link, and its reader tells the lane
	}
	if r.local {
		select {
		case r.freed <- struct{}{}:
		default:
		}
	}
}

// finish is called when the sender has closed the lane; cut says in the middle of a message.
func (r *Receiver) finish(cut bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.finished, r.cut = true, cut || r.in.offset > 0
	r.finishIfDrained()
}

func (r *Receiver) finishIfDrained() {
	switch {
	case !r.finished || len(r.queue) > 0:
	case r.cut:
		r.failLocked(fmt.Errorf("the sender gave up: %w", io.ErrUnexpectedEOF))
	default:
		r.failLocked(errFinished)
	}
}
