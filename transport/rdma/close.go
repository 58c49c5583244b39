package rdma

import (
	"errors"
	"net"
	"time"
)

// farewell is how long Close waits for what was written to arrive.
const farewell = 20 * time.Millisecond

// Close ends the connection, and every call on it. The peer can read what was written before, if its adapter
// takes it within 20 ms.
func (c *Conn) Close() error {
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return net.ErrClosed
	}
	c.closed = true
	c.wake(&c.reader)
	c.wake(&c.writer)
	c.takeLeave()
	for c.leader != nil || c.copying > 0 {
		c.idle.Wait()
	}
	err := c.release()
	c.mu.Unlock()
	err = errors.Join(err, c.nc.Close())
	<-c.watched
	return err
}

// takeLeave says goodbye, and waits until all that was sent has arrived, if nothing is broken.
func (c *Conn) takeLeave() {
	said := false
	for end := time.Now().Add(farewell); c.err == nil && !c.over(); {
		c.poll()
		if !said {
			said = c.speak(kindGoodbye)
		}
		if said && c.busy == 0 || !time.Now().Before(end) {
			return
		}
		c.mu.Unlock()
		time.Sleep(firstPause)
		c.mu.Lock()
	}
}

// release takes everything back from the adapter. The queue pair goes first: until then the adapter may write
// to the slots. It is called once; a connection that was never completed has only some of the parts.
func (c *Conn) release() error {
	c.released = true
	var errs []error
	if c.qp != nil {
		errs = append(errs, c.qp.Close())
	}
	if c.cq != nil {
		errs = append(errs, c.cq.Close())
	}
	if c.events != nil {
		errs = append(errs, c.events.close())
	}
	if c.mem != nil {
		errs = append(errs, c.mem.close())
	}
	c.place.device.leave()
	return errors.Join(errs...)
}
