package transport

import (
	"fmt"
	"io"
	"slices"
	"time"
)

// The half of a [Receiver] that the link's reader drives: frames become messages, and are credited to the sender once they are in one.

// piece is a data frame in the receiver. Its bytes are nil if they go straight into the message.
type piece struct {
	header
	bytes []byte
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
