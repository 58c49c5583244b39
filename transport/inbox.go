package transport

import (
	"sync"
	"time"

	"github.com/orrery-ai/orrery/device"
)

// Inbox gives a device the messages of a lane. They arrive in the slots of a [device.Lane], whose message seq is that
// of the lane; a goroutine of the Inbox says so, and frees what the device has signalled. If the sender's device
// writes them there itself, through memory that both share, the Inbox only watches over time and the connection.
type Inbox struct {
	r    *Receiver
	lane *device.Lane
	wg   sync.WaitGroup

	mu       sync.Mutex
	expected uint32      // messages that must come
	by       time.Time   // until when
	timer    *time.Timer // nil until one is expected
	set      time.Time   // when timer goes off; zero if it does not
}

// Inbox registers this node as the receiver of a lane, as [Endpoint.Receiver] does, for messages of at most those
// sizes. The Inbox is to be closed before the device frees the lane.
func (e *Endpoint) Inbox(from string, key LaneKey, most LaneSizes, lane MakeLane) (*Inbox, error) {
	if err := checkLane(from, key, most.Shared); err != nil {
		return nil, err
	}
	to, share, size, err := e.makeLane(lane, e.newShared(most.Shared), most.Sent)
	if err != nil {
		return nil, err
	}
	r, err := e.newReceiver(from, key, size)
	if err != nil {
		return nil, err
	}
	r.inOrder, r.share = true, share
	for i, m := range r.spare {
		m.buf = to.Slots[i]
	}
	if err := e.register(r); err != nil {
		return nil, err
	}
	b := &Inbox{r: r, lane: to}
	b.wg.Go(b.run)
	return b, nil
}

// Lane is the device's end.
func (b *Inbox) Lane() *device.Lane { return b.lane }

// Shared says that messages come through shared memory. Before the sender has opened the lane it is false.
func (b *Inbox) Shared() bool {
	b.r.mu.Lock()
	defer b.r.mu.Unlock()
	return b.r.share.used()
}

// Passed counts messages that have come, and their bytes, where they came through shared memory; others are counted as they come.
func (b *Inbox) Passed(messages, bytes int) {
	if b.Shared() {
		b.r.e.traffic[b.r.key.Purpose].inMany(messages, bytes)
	}
}

// Expect says that message seq must be there by the deadline, or the lane fails with an [ErrTimeout]. Zero
// means MaxWait from now. Whoever records that a device awaits a message calls it; of several calls the
// last counts.
func (b *Inbox) Expect(seq uint32, deadline time.Time) {
	if deadline.IsZero() {
		deadline = time.Now().Add(b.r.e.c.MaxWait)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.expected, b.by = seq+1, deadline
	switch {
	case b.timer == nil:
		b.timer = time.AfterFunc(time.Until(deadline), b.check)
	case b.set.IsZero() || deadline.Before(b.set):
		b.timer.Reset(time.Until(deadline))
	default:
		return // it finds out when it goes off
	}
	b.set = deadline
}

// check runs when a deadline has passed, which need not be the last that was given.
func (b *Inbox) check() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.set = time.Time{}
	switch left := time.Until(b.by); {
	case device.Reached(b.lane.Words.Ready.Load(), b.expected):
	case left > 0:
		b.timer.Reset(left)
		b.set = b.by
	default:
		b.r.expire()
	}
}

func (b *Inbox) run() {
	var held [messagesPerLane]*Message
	for seq := uint32(0); ; seq++ {
		slot := seq % messagesPerLane
		if held[slot] != nil && b.r.e.awaitSignal(b.lane, seq-messagesPerLane+1, b.r.dead) {
			held[slot].Release()
		}
		m, err := b.r.Next() // if the lane is dead, with its error
		if err != nil {
			b.lane.Fail(err)
			return
		}
		held[slot] = m
		b.lane.Words.Bytes[slot].Store(uint32(len(m.Bytes)))
		b.lane.SetReady(seq + 1)
	}
}

// Close ends the lane on this side.
func (b *Inbox) Close() {
	b.r.Close()
	b.wg.Wait()
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.timer != nil {
		b.timer.Stop()
	}
}
