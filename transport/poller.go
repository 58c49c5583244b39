package transport

import (
	"fmt"
	"log/slog"
	"maps"
	"net"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
)

// interest is what a socket is watched for.
type interest uint8

const (
	watchNothing interest = iota
	watchHangup           // the end of the connection
	watchInput            // that as well
)

const (
	pollerFrames = 16 // that a poller reads from a link before it looks at the others
	drainFrames  = 8  // credits that a sender reads at a time
)

// quota is a waiter that is satisfied after so many frames.
type quota int

func (q *quota) satisfied() bool {
	*q--
	return *q < 0
}

// poller reads an endpoint's links of one class, if their sockets are detached, while nobody who waits on
// them does it himself. It is one goroutine for all of them.
type poller struct {
	set  *watchSet
	over atomic.Bool   // stop was called
	done chan struct{} // closed when run has ended

	mu     sync.Mutex
	links  map[int]*link // by descriptor
	broken error         // why run has ended before stop

	glancing sync.Mutex
	seen     []*link // in the glance under way
	some     quota
}

func newPoller(log *slog.Logger) (*poller, error) {
	set, err := newWatchSet()
	if err != nil {
		return nil, err
	}
	p := &poller{set: set, done: make(chan struct{}), links: make(map[int]*link)}
	go p.run(log)
	return p, nil
}

func (p *poller) run(log *slog.Logger) {
	defer close(p.done)
	var ready []int
	var some quota
	for {
		var err error
		if ready, err = p.set.wait(ready[:0]); err != nil {
			if !p.over.Load() {
				log.Error("cannot wait for messages", "err", err) // others closed descriptors of this process
				p.fail(fmt.Errorf("waiting for messages: %w", err))
			}
			return
		}
		for _, fd := range ready {
			p.mu.Lock()
			l := p.links[fd]
			p.mu.Unlock()
			if l != nil {
				some = pollerFrames
				l.polled(fd, &some)
			}
		}
		runtime.Gosched() // first those who have been woken
	}
}

// fail ends the links: nobody would read them for those who wait.
func (p *poller) fail(cause error) {
	p.mu.Lock()
	p.broken = cause
	links := slices.Collect(maps.Values(p.links))
	p.mu.Unlock()
	for _, l := range links {
		l.fail(cause, false)
	}
}

// glance reads the links that somebody waits for whom only the poller would wake. It is for who spins, and may have the
// processor on which the poller would have to run. It leaves the set alone, of which only the poller knows the state.
func (p *poller) glance() {
	if !p.glancing.TryLock() {
		return // somebody else does
	}
	defer p.glancing.Unlock()
	p.mu.Lock()
	p.seen = p.seen[:0]
	for _, l := range p.links {
		if l.at.parked.Load() > 0 && !slices.Contains(p.seen, l) {
			p.seen = append(p.seen, l)
		}
	}
	p.mu.Unlock()
	for _, l := range p.seen {
		p.some = pollerFrames
		l.readIdle(&p.some)
	}
	clear(p.seen)
}

// stop ends the poller. Its links must have ended.
func (p *poller) stop() {
	p.over.Store(true)
	p.set.stop()
	<-p.done
	p.set.close()
}

// add makes a link known by a descriptor, which is open, to be watched.
func (p *poller) add(l *link, fd int, i interest) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.broken != nil {
		return p.broken
	}
	p.links[fd] = l
	return p.set.add(fd, i)
}

// addSocket makes a link known by the descriptor of its socket.
func (p *poller) addSocket(l *link, s *socket, i interest) error {
	if !s.enter() {
		return net.ErrClosed
	}
	defer s.leave()
	return p.add(l, s.fd, i)
}

// forget follows the closing of the link's descriptors, which has taken them out of the set. Their numbers may be others' by now.
func (p *poller) forget(l *link) {
	p.mu.Lock()
	defer p.mu.Unlock()
	maps.DeleteFunc(p.links, func(_ int, other *link) bool { return other == l })
}
