package rdma

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"syscall"
	"time"

	"github.com/orrery-ai/orrery/transport/verbs"
)

// waiter is the reader or the writer of a connection, when it waits.
type waiter struct {
	deadline time.Time
	asleep   bool          // on wake
	signal   chan struct{} // has room for one
	timer    *time.Timer
}

func newWaiter() waiter {
	w := waiter{signal: make(chan struct{}, 1), timer: time.NewTimer(time.Hour)}
	w.timer.Stop()
	return w
}

// Where there are no completion channels: how long a waiting call sleeps, at first and at most.
const (
	firstPause = 20 * time.Microsecond
	longPause  = time.Millisecond
)

// No completion is slept over, by these rules, all kept under mu:
//
//   - Who sleeps has asked for an event, and polled after that, since no event comes for what was there before (arm).
//   - armed is not above what the adapter was asked for, unless the event waits to be taken; then the leader does not sleep.
//   - Only the leader takes events, and then polls. When it leads no more it wakes the other, who leads in its
//     place or is ready. So nobody sleeps for a leader that there is not.
//   - What has to make an event (alert) grows only in a call that then arms, or that wakes the leader to do so (pay).

// await waits until the reader has something to read, or the writer a slot and a credit. It has mu, and gives
// it up while it waits.
func (c *Conn) await(w *waiter) error {
	var spinUntil, polled time.Time
	spun := false
	pause := firstPause
	for {
		if err := c.usable(w); err != nil {
			return err
		}
		if c.ready(w) {
			return nil
		}
		if c.poll() > 0 {
			continue
		}
		if err := c.usable(w); err != nil {
			return err
		}
		if s := c.spin.Load(); s != nil && !spun {
			now := time.Now()
			if polled.IsZero() {
				spinUntil = now.Add(s.most)
			}
			if s.guard.MaySpin(polled, now) && now.Before(spinUntil) {
				polled = now
				c.mu.Unlock()
				runtime.Gosched()
				c.mu.Lock()
				continue
			}
			spun = true
		}
		switch {
		case c.events == nil:
			c.sleep(w, pause)
			pause = min(2*pause, longPause)
		case !c.arm():
		case c.leader != nil:
			c.sleep(w, 0)
		default:
			c.lead(w)
		}
	}
}

// usable says why a call has to end. What has arrived before the peer closed or went is still read.
func (c *Conn) usable(w *waiter) error {
	switch {
	case c.closed:
		return net.ErrClosed
	case c.err != nil:
		return c.err
	case !w.deadline.IsZero() && !time.Now().Before(w.deadline):
		return os.ErrDeadlineExceeded
	case w == &c.reader && len(c.arrivals) > 0:
		return nil
	case c.goodbye && w == &c.reader:
		return io.EOF
	case c.goodbye:
		return fmt.Errorf("rdma: peer %s has closed the connection: %w", c.peer, syscall.EPIPE)
	}
	return c.gone
}

func (c *Conn) ready(w *waiter) bool {
	if w == &c.reader {
		return len(c.arrivals) > 0
	}
	return c.flow.credits > 0 && len(c.free) > spareSends && !c.full
}

// lead sleeps until there is a completion, for both waiters.
func (c *Conn) lead(w *waiter) {
	if err := c.events.file.SetReadDeadline(w.deadline); err != nil {
		c.fail(fmt.Errorf("rdma: peer %s: %w", c.peer, err))
		return
	}
	c.leader = w
	c.mu.Unlock()
	err := c.events.raw.Read(c.events.take)
	c.mu.Lock()
	c.leader = nil
	c.idle.Broadcast()
	if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
		c.fail(fmt.Errorf("rdma: peer %s: completion channel: %w", c.peer, err))
	}
	c.wake(c.other(w)) // it may lead now, or be ready
}

// alertness is which completions make an event: more than forMessages would wake a sleeping reader for each
// send of the writer's that is done.
type alertness int

const (
	unarmed     alertness = iota
	forMessages           // those of messages that come, and failures
	forAll
)

// arm makes sure that what the waiters need makes an event, and says whether they may sleep: not if it
// came just before.
func (c *Conn) arm() bool {
	alert := c.alert()
	if c.armed >= alert {
		return true
	}
	if err := c.cq.Notify(alert == forMessages); err != nil {
		c.fail(fmt.Errorf("rdma: peer %s: %w", c.peer, err))
		return false
	}
	c.armed = alert
	return c.poll() == 0 && c.err == nil
}

// alert is what the waiters need to be woken for.
func (c *Conn) alert() alertness {
	if len(c.free) <= spareSends || c.full || c.profile.service != verbs.Reliable {
		return forAll
	}
	return forMessages
}

// sleep sleeps until it is woken, the deadline comes, or d has passed if that is not 0.
func (c *Conn) sleep(w *waiter, d time.Duration) {
	var expired <-chan time.Time
	if !w.deadline.IsZero() {
		if left := time.Until(w.deadline); d == 0 || left < d {
			d = max(left, 1)
		}
	}
	if d > 0 {
		w.timer.Reset(d)
		expired = w.timer.C
	}
	w.asleep = true
	c.mu.Unlock()
	select {
	case <-w.signal:
	case <-expired:
	}
	c.mu.Lock()
	w.asleep = false
	w.timer.Stop()
	select {
	case <-w.signal:
	default:
	}
}

func (c *Conn) other(w *waiter) *waiter {
	if w == &c.reader {
		return &c.writer
	}
	return &c.reader
}

// wake makes w look again at what it waits for.
func (c *Conn) wake(w *waiter) {
	switch {
	case c.leader == w:
		// Under mu, so that it comes after the leader's own. A failure means that the leader has been told otherwise.
		_ = c.events.file.SetReadDeadline(time.Unix(1, 0))
	case w.asleep:
		select {
		case w.signal <- struct{}{}:
		default:
		}
	}
}
