package transport

import (
	"fmt"
	"sync"
	"time"

	"github.com/orrery-ai/orrery/device"
)

// Outbox sends what a device leaves in the slots of a [device.Lane]. Nothing is copied on the way: a goroutine of the
// Outbox sends a slot when the device has signalled its message, and then frees it. If the receiver's device reads
// the slots itself, because both share their memory, the Outbox only watches over the connection.
type Outbox struct {
	s    *Sender
	lane *device.Lane
	wg   sync.WaitGroup
}

// Outbox opens the lane to a node, as [Endpoint.Sender] does, for messages of at most those sizes. The Outbox is to
// be closed before the device frees the lane.
func (e *Endpoint) Outbox(to string, key LaneKey, most LaneSizes, lane MakeLane) (*Outbox, error) {
	if err := checkLane(to, key, most.Shared); err != nil {
		return nil, err
	}
	from, share, size, err := e.makeLane(lane, e.fetchShared(to, key, most.Shared), most.Sent)
	if err != nil {
		return nil, err
	}
	s, err := e.sender(to, key, size, share)
	if err != nil {
		return nil, err
	}
	b := &Outbox{s: s, lane: from}
	if share != nil {
		e.c.Logger.Info("devices exchange through shared memory", "peer", to, "lane", key)
		b.wg.Go(b.watch)
	} else {
		b.wg.Go(b.run)
	}
	return b, nil
}

// Lane is the device's end.
func (b *Outbox) Lane() *device.Lane { return b.lane }

// Shared says that messages go through shared memory.
func (b *Outbox) Shared() bool { return b.s.share != nil }

// Passed counts messages that were sent, and their bytes, where they went through shared memory; others are counted as they go.
func (b *Outbox) Passed(messages, bytes int) {
	if b.Shared() {
		b.s.e.traffic[b.s.key.Purpose].outMany(messages, bytes)
	}
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
		b.lane.SetReady(seq + 1)
	}
	b.lane.Fail(b.s.failure())
}

// watch waits for the end of a lane in shared memory. Nobody else reads what the receiver says of it.
func (b *Outbox) watch() {
	b.s.link.park()
	defer b.s.link.unpark()
	<-b.s.dead
	b.lane.Fail(b.s.failure())
}

// Close ends the lane. What the device has signalled and is not sent is lost.
func (b *Outbox) Close() {
	b.s.Close()
	b.wg.Wait()
}

// readsOfAWord is how often a word is looked at between two looks at the clock.
const readsOfAWord = 1000

// awaitSignal waits until a device has signalled the messages before count; false if dead is closed first. With [Fast] it spins first, and
// again whenever somebody has called the lane's Signalled.
func (e *Endpoint) awaitSignal(l *device.Lane, count uint32, dead <-chan struct{}) bool {
	signalled := func() bool { return device.Reached(l.Words.Done.Load(), count) }
	for !signalled() {
		if now := time.Now(); e.fast(now) {
			e.spins.spin(now, now.Add(attendFor), readsOfAWord, signalled, func() {})
			if signalled() {
				break
			}
		}
		select {
		case <-l.Signals():
		case <-dead:
			return false
		}
	}
	return true
}
