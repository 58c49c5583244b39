package rdma

import (
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"github.com/orrery-ai/orrery/transport/verbs"
)

// events is a completion channel as a file that Go's network poller watches.
type events struct {
	channel *verbs.Channel
	file    *os.File
	raw     syscall.RawConn
	take    func(fd uintptr) bool // takes an event, if there is one; made once
}

// newEvents gives nil if completions can only be polled for: the library has no channels, or the system
// does not watch them.
func newEvents(ctx *verbs.Context) *events {
	ch, err := ctx.Channel()
	if err != nil {
		return nil
	}
	e := &events{channel: ch}
	if e.file, err = ch.File(); err == nil {
		if err = e.file.SetReadDeadline(time.Time{}); err == nil {
			e.raw, err = e.file.SyscallConn()
		}
	}
	if err != nil {
		_ = e.close()
		return nil
	}
	return e
}

// close ends the channel, after its queue.
func (e *events) close() error {
	var err error
	if e.file != nil {
		err = e.file.Close()
	}
	return errors.Join(err, e.channel.Close())
}

// takeEvent is what the leader does when the channel may be readable. It says whether the wait is over.
func (c *Conn) takeEvent(uintptr) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return true
	}
	got, err := c.events.channel.Event()
	if err != nil {
		c.fail(fmt.Errorf("rdma: peer %s: %w", c.peer, err))
	}
	if got {
		c.armed = unarmed
	}
	return got || err != nil
}
