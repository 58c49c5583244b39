package transport

import (
	"fmt"
	"sync"
	"time"

	"github.com/orrery-ai/orrery/device"
)

// Outbox sends what a device leaves in the slots of a [device.Lane]. Nothing is copied on the way: a
// goroutine of the Outbox sends a slot when the device has signalled its message, and then frees it.
type Outbox struct {
	s    *Sender
	lane *device.Lane
	wg   sync.WaitGroup
}

// Outbox opens the lane to a node, as [Endpoint.Sender] does, for messages that fit the slots of from.
func (e *Endpoint) Outbox(to string, key LaneKey, from *device.Lane) (*Outbox, error) {
	s, err := e.Sender(to, key, len(from.Slots[0]))
	if err != nil {
		return nil, err
	}
	b := &Outbox{s: s, lane: from}
	from.SetReady(uint32(len(from.Slots)))
	b.wg.Go(b.run)
	return b, nil
}

func (b *Outbox) run() {
	for seq := uint32(0); b.s.e.awaitSignal(b.lane, seq+1, b.s.dead); seq++ {
		slot := seq % uint32(len(b.lane.Slots))
		n := b.lane.Words.Bytes[slot].Load()
		if n > uint32(len(b.lane.Slots[slot])) {
			b.s.poison(fmt.Errorf("the device signalled %d bytes in a slot of %d", n, len(b.lane.Slots[slot])))
			break
		}
		if b.s.Send(time.Time{}, b.lane.Slots[slot][:n]) != nil {
			break
		}
		b.lane.SetReady(seq + 1 + uint32(len(b.lane.Slots)))
	}
	b.lane.Fail(b.s.failure())
}

// Close ends the lane. What the device has signalled and is not sent is lost.
func (b *Outbox) Close() {
	b.s.Close()
	b.wg.Wait()
}

// looksPerYield is how often a word is looked at between two looks at the clock.
const looksPerYield = 1000

// awaitSignal waits until a device has signalled the messages before count; false if dead is closed first.
func (e *Endpoint) awaitSignal(l *device.Lane, count uint32, dead <-chan struct{}) bool {
	if now := time.Now(); e.fast(now) {
		e.spins.spin(now, now.Add(attendFor), looksPerYield, func() bool { return device.Reached(l.Words.Done.Load(), count) }, func() {})
	}
	for !device.Reached(l.Words.Done.Load(), count) {
		select {
		case <-l.Signals():
		case <-dead:
			return false
		}
	}
	return true
}
