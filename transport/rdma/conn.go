package rdma

import (
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/orrery-ai/orrery/transport/verbs"
)

// Conn is a connection over RDMA: a net.Conn. One goroutine may read while another writes; more wait for
// their turn.
type Conn struct {
	peer    string
	nc      net.Conn // shows that the peer lives
	place   place
	profile profile
	slot    int // bytes of a message to the peer, header included
	spin    atomic.Pointer[spin]
	watched chan struct{} // closed when nobody reads nc any more

	reading, writing sync.Mutex
	single           [1][]byte // what Write writes; of the one who has writing

	mu     sync.Mutex // guards the rest, and is held by every call of the library
	qp     *verbs.QP
	cq     *verbs.CQ
	events *events // nil if there are no completion channels
	mem    *staging
	flow   flow

	free     []int // slots for sends
	busy     int   // sends that are not complete
	full     bool  // a send found the queue full; until one is complete
	arrivals []arrival
	probed   bool // the peer's probe has come
	goodbye  bool // the peer's last message has come

	err      error // why nothing works any more
	gone     error // why nothing more will come; what has come can still be read
	closed   bool  // by this end
	released bool  // the adapter has nothing of the connection any more

	reader, writer waiter
	leader         *waiter    // the one that sleeps on events
	armed          alertness  // what the next event will come for, unless one waits to be taken
	copying        int        // calls that use slots outside of mu
	idle           *sync.Cond // copying or leader has become none
}

// arrival is a message of data: bytes from to to of a slot for receives are yet to be read.
type arrival struct{ slot, from, to int }

// SpinGuard says where polling does harm: where fewer processors are free than threads want to run.
type SpinGuard interface {
	// MaySpin says whether to poll at all, if before is zero, or to go on after a poll at that time.
	MaySpin(before, now time.Time) bool
}

type spin struct {
	most  time.Duration
	guard SpinGuard
}

// SetSpin makes calls that wait poll for so long before they sleep, as far as guard lets them: the fast mode,
// at the cost of a processor. Zero, the safe mode, is what a connection begins with.
func (c *Conn) SetSpin(d time.Duration, guard SpinGuard) {
	s := &spin{d, guard}
	if d == 0 {
		s = nil
	}
	c.spin.Store(s)
}

// String names the adapter.
func (c *Conn) String() string { return fmt.Sprintf("%s, %v", c.place, c.profile.service) }

// LocalAddr is the address of this end of the TCP connection.
func (c *Conn) LocalAddr() net.Addr { return c.nc.LocalAddr() }

// RemoteAddr is the address of the peer's end of the TCP connection.
func (c *Conn) RemoteAddr() net.Addr { return c.nc.RemoteAddr() }

// Read reads what has come, at least one byte, and waits for it if need be. After the peer's Close it gives
// io.EOF.
func (c *Conn) Read(p []byte) (int, error) {
	c.reading.Lock()
	defer c.reading.Unlock()
	if len(p) == 0 {
		return 0, nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.await(&c.reader); err != nil {
		return 0, err
	}
	a := &c.arrivals[0] // only the reader takes arrivals off, and others are put behind it
	slot, from, to := a.slot, a.from, a.to
	c.copying++
	c.mu.Unlock()
	b, _ := c.mem.receive(slot)
	n := copy(p, b[from:to])
	c.mu.Lock()
	c.copied()
	if c.closed || c.err != nil {
		return n, nil // the next call will say why
	}
	if from+n < to {
		c.arrivals[0].from += n
		return n, nil
	}
	c.arrivals = append(c.arrivals[:0], c.arrivals[1:]...)
	if !c.over() && c.post(slot) {
		c.flow.release()
		c.pay()
	}
	return n, nil
}

// Write writes p, as one message if it fits a slot. It returns when all is in slots and posted; that it
// has arrived is for the peer to say.
func (c *Conn) Write(p []byte) (int, error) {
	c.writing.Lock()
	defer c.writing.Unlock()
	c.single[0] = p
	n, err := c.write(c.single[:])
	c.single[0] = nil
	return int(n), err
}

// WriteBuffers writes what is in bufs, as Write would write it in one piece, and consumes what it has written.
func (c *Conn) WriteBuffers(bufs *net.Buffers) (int64, error) {
	c.writing.Lock()
	defer c.writing.Unlock()
	n, err := c.write(*bufs)
	left := n
	for len(*bufs) > 0 && int64(len((*bufs)[0])) <= left {
		left -= int64(len((*bufs)[0]))
		(*bufs)[0] = nil
		*bufs = (*bufs)[1:]
	}
	if left > 0 {
		(*bufs)[0] = (*bufs)[0][left:]
	}
	return n, err
}

// write writes the pieces, which it does not change. The caller has writing.
func (c *Conn) write(pieces [][]byte) (written int64, err error) {
	i, from := 0, 0 // where in the pieces
	c.mu.Lock()
	defer c.mu.Unlock()
	for {
		for i < len(pieces) && from == len(pieces[i]) {
			i, from = i+1, 0
		}
		if i == len(pieces) {
			return written, nil
		}
		if err := c.await(&c.writer); err != nil {
			return written, err
		}
		slot := c.takeSlot()
		c.copying++
		c.mu.Unlock()
		b, _ := c.mem.send(slot)
		n := headerBytes
		for n < c.slot && i < len(pieces) {
			k := copy(b[n:c.slot], pieces[i][from:])
			n, from = n+k, from+k
			if from == len(pieces[i]) {
				i, from = i+1, 0
			}
		}
		c.mu.Lock()
		c.copied()
		if err := c.sendData(slot, n-headerBytes); err != nil {
			return written, err
		}
		written += int64(n - headerBytes)
	}
}

// copied ends the use of a slot outside of mu.
func (c *Conn) copied() {
	if c.copying--; c.copying == 0 {
		c.idle.Broadcast()
	}
}

// SetDeadline ends reads and writes at t, those that wait already too. The zero time means never.
func (c *Conn) SetDeadline(t time.Time) error { return c.setDeadline(t, &c.reader, &c.writer) }

// SetReadDeadline is SetDeadline for reads.
func (c *Conn) SetReadDeadline(t time.Time) error { return c.setDeadline(t, &c.reader) }

// SetWriteDeadline is SetDeadline for writes. A write that ends so may have written a part.
func (c *Conn) SetWriteDeadline(t time.Time) error { return c.setDeadline(t, &c.writer) }

func (c *Conn) setDeadline(t time.Time, ws ...*waiter) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return net.ErrClosed
	}
	for _, w := range ws {
		w.deadline = t
		c.wake(w)
	}
	return nil
}
