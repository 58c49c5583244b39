package transport

import (
	"log/slog"
	"net"
	"os"
	"runtime"
	"sync"
)

// interest is what a socket is watched for.
type interest uint8

const (
	watchNothing interest = iota
	watchHangup           // the end of the connection
	watchInput            // that as well
)

const (
	pollerFrames = 16 // that the poller reads from a link before it looks at the others
	drainFrames  = 8  // credits that a sender reads at a time
)

// quota is a waiter that is satisfied after so many frames.
type quota int

func (q *quota) satisfied() bool {
	*q--
	return *q < 0
}

// poller reads the small links of an endpoint while nobody who waits on them does it himself. It is one
// thread for all of them, which waits in the kernel.
type poller struct {
	set  *watchSet
	wake *os.File // the reading end of a pipe, which becomes ready when the other end is closed: then run ends
	end  *os.File
	done chan struct{} // closed when run has ended

	mu    sync.Mutex
	links map[int]*link // by descriptor
}

func newPoller(log *slog.Logger) (*poller, error) {
	wake, end, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	p := &poller{wake: wake, end: end, done: make(chan struct{}), links: make(map[int]*link)}
	if p.set, err = newWatchSet(); err == nil {
		if err = p.set.add(int(wake.Fd()), watchInput); err == nil {
			go p.run(log)
			return p, nil
		}
		p.set.close()
	}
	wake.Close()
	end.Close()
	return nil, err
}

func (p *poller) run(log *slog.Logger) {
	defer close(p.done)
	wake := int(p.wake.Fd())
	var ready []int
	var some quota
	for {
		runtime.Gosched() // whom it has woken must not queue behind a system call
		var err error
		if ready, err = p.set.wait(ready[:0]); err != nil {
			log.Error("cannot wait for small messages", "err", err) // descriptors of this process were closed by others
			return
		}
		for _, fd := range ready {
			if fd == wake {
				return
			}
			p.mu.Lock()
			l := p.links[fd]
			p.mu.Unlock()
			if l != nil {
				some = pollerFrames
				l.readIdle(&some)
			}
		}
	}
}

// stop ends the poller. Its links must have ended.
func (p *poller) stop() {
	p.end.Close()
	<-p.done
	p.wake.Close()
	p.set.close()
}

// add makes a link known, to be watched for nothing.
func (p *poller) add(l *link) error {
	if !l.sock.enter() {
		return net.ErrClosed
	}
	defer l.sock.leave()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.links[l.sock.fd] = l
	return p.set.add(l.sock.fd, watchNothing)
}

// remove follows the closing of the link's socket, which has taken it out of the set.
func (p *poller) remove(l *link) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.links[l.sock.fd] == l { // the number may be another's by now
		delete(p.links, l.sock.fd)
	}
}
