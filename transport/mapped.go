package transport

import (
	"net"
	"sync/atomic"
	"time"

	"github.com/orrery-ai/orrery/transport/shm"
)

// Between two processes of one machine the bytes of a connection go through memory that both have mapped, once their
// hellos have said so: frames, credits and everything that is built on them stay as they are. Who reads spins on that
// memory or sleeps on a word in it; the poller watches a bell, which the writer rings only while the poller wants it.
// The connection stays open, and empty: it ends with the process at its other end, and then so does the link.

// mapped is a connection that has moved to shared memory.
type mapped struct {
	*socket // what it began on, detached
	stream  *shm.Stream
	quiet   bool        // of the one who reads
	lost    atomic.Bool // the socket has ended
}

// Rooms of the streams, by class: what is on its way in frames, and the credits that come back.
var streamRooms = [numClasses]shm.Room{
	classSmall: {Out: outRoom, Back: backRoom},
	classBulk:  {Out: outRoom, Back: backRoom},
}

const (
	// outRoom is for what a lane may have on its way by default: 8 frames of 64 KiB, and their headers. With less its writer stops, and has to be woken, though it has credits.
	outRoom  = 516 << 10
	backRoom = 4 << 10
)

func (m *mapped) Close() error {
	m.stream.Close()
	return m.socket.Close()
}

func (m *mapped) Read(b []byte) (int, error) {
	if m.quiet {
		return 0, errNotYet
	}
	n, err := m.stream.TryRead(b)
	if n == 0 && err == nil {
		err = errNotYet
	}
	return n, err
}

func (m *mapped) Write(b []byte) (int, error) {
	one := [1][]byte{b}
	if err := m.stream.WriteBuffers(one[:], m.most); err != nil {
		return 0, err
	}
	return len(b), nil
}

func (m *mapped) writev(bufs *net.Buffers) error { return m.stream.WriteBuffers(*bufs, m.most) }

func (m *mapped) awaitInput(most time.Duration) bool {
	m.stream.Await(most)
	return true
}

func (m *mapped) hush(quiet bool) { m.quiet = quiet }

func (m *mapped) join(p *poller, l *link) error {
	show := func(fd int) error { return p.add(l, fd, watchInput) }
	if err := m.stream.ShowBell(show, func(fd int) { p.set.set(fd, watchNothing) }); err != nil {
		return err
	}
	return p.addSocket(l, m.socket, watchHangup)
}

func (m *mapped) watch(_ *poller, i interest) error {
	if i == watchInput || i == watchHangup && m.lost.Load() {
		m.stream.Watch()
	} else {
		m.stream.Unwatch()
	}
	return nil
}

func (m *mapped) woken(p *poller, fd int) {
	if fd != m.fd {
		m.stream.Silence()
		return
	}
	if !m.lost.Swap(true) {
		m.socket.watch(p, watchNothing) // it would be told again and again; at worst it is
		m.stream.Hangup()
	}
}

func (m *mapped) looked(i interest) { m.watch(nil, i) }
