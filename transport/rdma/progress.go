package rdma

import (
	"errors"
	"fmt"
	"syscall"
	"time"

	"github.com/orrery-ai/orrery/transport/verbs"
)

// Work requests are known by their slot; receives have this bit too.
const receiveBit = 1 << 32

// pollBatch is how many completions are taken at a time.
const pollBatch = 16

// poll takes completions off the queue, without waiting, and says how many. It has mu, as all of this file.
func (c *Conn) poll() int {
	if c.released || c.err != nil {
		return 0
	}
	done, err := c.cq.Poll()
	if err != nil {
		c.fail(fmt.Errorf("rdma: peer %s: %w", c.peer, err))
		return 0
	}
	for _, d := range done {
		switch {
		case c.over() && d.Status != verbs.Success: // a send that found the peer gone, and what it took along
		case d.ID&receiveBit != 0:
			err = c.arrived(d)
		default:
			err = c.sent(d)
		}
		if err != nil {
			c.fail(err)
			return len(done)
		}
	}
	if len(done) > 0 {
		c.pay()
		for _, w := range []*waiter{&c.reader, &c.writer} {
			if w.asleep && c.ready(w) {
				c.wake(w)
			}
		}
	}
	return len(done)
}

// sent is the end of a send.
func (c *Conn) sent(d verbs.Completion) error {
	if d.Status != verbs.Success {
		return &CompletionError{Peer: c.peer, Op: "send", Status: d.Status, Vendor: d.Vendor}
	}
	c.free = append(c.free, int(d.ID))
	c.busy--
	c.full = false
	return nil
}

// arrived is a message in a slot.
func (c *Conn) arrived(d verbs.Completion) error {
	if d.Status != verbs.Success {
		return &CompletionError{Peer: c.peer, Op: "receive", Status: d.Status, Vendor: d.Vendor}
	}
	slot := int(d.ID &^ receiveBit)
	b, _ := c.mem.receive(slot)
	h, err := parseHeader(b, int(d.Bytes), c.profile.whole)
	if err == nil {
		err = c.flow.accept(h)
	}
	if err != nil {
		return fmt.Errorf("rdma: peer %s: %w", c.peer, err)
	}
	switch h.kind {
	case kindData:
		c.arrivals = append(c.arrivals, arrival{slot, headerBytes, headerBytes + int(h.length)})
		return nil
	case kindGoodbye:
		c.goodbye = true
		c.wake(&c.writer)
		c.wake(&c.reader)
	case kindProbe:
		c.probed = true
	}
	if !c.over() {
		c.post(slot)
	}
	return nil
}

// over says that the peer has closed or is gone: nothing more is sent, or made ready to receive.
func (c *Conn) over() bool { return c.goodbye || c.gone != nil }

// post gives a slot to the adapter to receive into.
func (c *Conn) post(slot int) bool {
	_, address := c.mem.receive(slot)
	if err := c.qp.PostReceive(uint64(slot)|receiveBit, address, c.profile.slotBytes, c.mem.mr.LKey); err != nil {
		c.fail(fmt.Errorf("rdma: peer %s: %w", c.peer, err))
		return false
	}
	return true
}

func (c *Conn) takeSlot() int {
	last := len(c.free) - 1
	slot := c.free[last]
	c.free = c.free[:last]
	return slot
}

// sendData sends a slot with bytes of data behind its header. If the queue is full it waits for a completion.
func (c *Conn) sendData(slot, bytes int) error {
	for {
		if c.closed || c.err != nil || c.over() {
			c.free = append(c.free, slot)
			return c.usable(&c.writer)
		}
		err := c.transmit(slot, kindData, bytes)
		if err == nil {
			return nil
		}
		if c.full = errors.Is(err, syscall.ENOMEM) && c.busy > 0; !c.full {
			c.free = append(c.free, slot)
			c.fail(err)
			return c.err
		}
		if err := c.await(&c.writer); err != nil {
			c.free = append(c.free, slot)
			return err
		}
	}
}

// transmit posts a message. Nothing has changed if the queue is full.
func (c *Conn) transmit(slot int, k kind, bytes int) error {
	b, address := c.mem.send(slot)
	before := c.flow
	c.flow.next(k, bytes).put(b)
	size := headerBytes + bytes
	if c.profile.whole {
		size = c.profile.slotBytes
	}
	if err := c.qp.PostSend(uint64(slot), address, size, c.mem.mr.LKey); err != nil {
		c.flow = before
		return fmt.Errorf("rdma: peer %s: %w", c.peer, err)
	}
	c.busy++
	return nil
}

// pay sends a message of credits if one is due. If there is no slot, or the queue is full, the next completion
// or read tries again; whoever sleeps has to be woken by that completion.
func (c *Conn) pay() {
	if c.flow.due() && c.err == nil && !c.over() && !c.speak(kindCredit) && c.leader != nil && c.armed < c.alert() {
		c.wake(c.leader)
	}
}

// speak sends a message without data, and says whether it could.
func (c *Conn) speak(k kind) bool {
	if len(c.free) == 0 {
		return false
	}
	slot := c.takeSlot()
	err := c.transmit(slot, k, 0)
	if err == nil {
		return true
	}
	c.free = append(c.free, slot)
	if c.full = errors.Is(err, syscall.ENOMEM) && c.busy > 0; !c.full {
		c.fail(err)
	}
	return false
}

// fail breaks the connection; the first cause stays.
func (c *Conn) fail(err error) {
	if c.err == nil {
		c.err = err
		c.arrivals = nil
		c.wake(&c.reader)
		c.wake(&c.writer)
	}
}

// watch waits for the end of the TCP connection, and ends with it. A goodbye is given a little time to be
// complete: the peer has closed the TCP connection after it.
func (c *Conn) watch() {
	defer close(c.watched)
	var b [1]byte
	n, err := c.nc.Read(b[:])
	c.mu.Lock()
	defer c.mu.Unlock()
	if n > 0 {
		c.fail(fmt.Errorf("rdma: peer %s: %w: data on the TCP connection", c.peer, ErrProtocol))
		return
	}
	for end := time.Now().Add(farewell); ; {
		c.poll()
		if c.closed || c.goodbye || c.err != nil {
			return
		}
		if !time.Now().Before(end) {
			break
		}
		c.mu.Unlock()
		time.Sleep(longPause)
		c.mu.Lock()
	}
	c.gone = fmt.Errorf("rdma: peer %s is gone: its TCP connection ended: %w", c.peer, err)
	c.wake(&c.reader)
	c.wake(&c.writer)
}
