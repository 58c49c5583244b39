package main

import (
	"errors"
	"runtime"
	"sync/atomic"
	"time"

	"github.com/orrery-ai/orrery/device"
	"github.com/orrery-ai/orrery/transport"
)

// The lanes of devices between the ends of the benchmark, and the size of their messages.
var (
	sharedPing  = transport.LaneKey{Model: 1, Purpose: transport.QueryAhead}
	sharedPong  = transport.LaneKey{Model: 1, Purpose: transport.PartialAhead}
	sharedSizes = transport.LaneSizes{Sent: mostSmall, Shared: mostSmall}
)

// sharedPair is an end of two lanes of devices, in place of one: it fills and reads the slots as a GPU's kernels do.
type sharedPair struct {
	inbox  *transport.Inbox
	outbox *transport.Outbox
	seq    uint32
	frees  []func()
}

var errNotShared = errors.New("no memory is shared with the other end: --over shm takes two processes of one user on one Linux machine, with several cores")

// listenShared makes the end that comes in.
func listenShared(e *transport.Endpoint, peer string, in transport.LaneKey) (_ *sharedPair, err error) {
	e.SetSynch(transport.Fast)
	p := new(sharedPair)
	p.inbox, err = e.Inbox(peer, in, sharedSizes, p.lane(false))
	return p, err
}

// open makes the end that goes out.
func (p *sharedPair) open(e *transport.Endpoint, peer string, out transport.LaneKey) (err error) {
	e.SetSynch(transport.Fast)
	if p.outbox, err = e.Outbox(peer, out, sharedSizes, p.lane(true)); err == nil && !p.outbox.Shared() {
		err = errNotShared
	}
	return err
}

func (p *sharedPair) lane(out bool) transport.MakeLane {
	return func(size int, memory []byte, free func()) (*device.Lane, error) {
		if memory == nil {
			memory, free = make([]byte, device.LaneBytes(size)), func() {}
		}
		p.frees = append(p.frees, free)
		return device.NewLane(memory, device.LaneEnd{Size: size, Out: out}, new(atomic.Uint32), nil), nil
	}
}

// close ends the lanes.
func (p *sharedPair) close() {
	if p.outbox != nil {
		p.outbox.Close()
	}
	p.inbox.Close()
	for _, free := range p.frees {
		free()
	}
}

// await spins until message seq of a lane may be used, or stop says that nobody waits any more.
func await(l *device.Lane, seq uint32, deadline time.Time, stop func() bool) error {
	for n := 1; !device.Reached(l.Words.Ready.Load(), l.Needs(seq)); n++ {
		if n%(1<<10) > 0 {
			continue
		}
		switch {
		case l.Words.Failed.Load() != 0:
			return l.Err()
		case stop():
			return errStopped
		case time.Now().After(deadline):
			return errors.New("the other end does not answer through shared memory")
		}
		runtime.Gosched()
	}
	return nil
}

var errStopped = errors.New("stopped")

// put fills the slot of message seq, and take gives what is in it.
func put(l *device.Lane, seq uint32, b []byte) {
	l.Words.Bytes[seq%2].Store(uint32(copy(l.Slots[seq%2], b)))
	l.Words.Done.Store(seq + 1)
}

func take(l *device.Lane, seq uint32, b []byte) []byte {
	slot := l.Slots[seq%2]
	b = append(b[:0], slot[:min(int(l.Words.Bytes[seq%2].Load()), len(slot))]...)
	l.Words.Done.Store(seq + 1)
	return b
}

// exchange sends a message, and waits for its answer.
func (p *sharedPair) exchange(b []byte) error {
	never := func() bool { return false }
	deadline := time.Now().Add(benchWait)
	if err := await(p.outbox.Lane(), p.seq, deadline, never); err != nil {
		return err
	}
	put(p.outbox.Lane(), p.seq, b)
	if err := await(p.inbox.Lane(), p.seq, deadline, never); err != nil {
		return err
	}
	take(p.inbox.Lane(), p.seq, b)
	p.seq++
	return nil
}

// echo sends back what comes, until stop.
func (p *sharedPair) echo(stop func() bool) {
	b := make([]byte, 0, mostSmall)
	far := time.Now().Add(time.Hour)
	for ; await(p.inbox.Lane(), p.seq, far, stop) == nil; p.seq++ {
		b = take(p.inbox.Lane(), p.seq, b)
		if await(p.outbox.Lane(), p.seq, far, stop) != nil {
			return
		}
		put(p.outbox.Lane(), p.seq, b)
	}
}
