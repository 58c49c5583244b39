package transport

import (
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// socket is a connection of the endpoint. It begins as what package net made, which waits in Go's own
// poller. [socket.detach] takes it out of there: then a Read never waits, and whoever wants to wait does
// it himself, by trying again or in await. Go's poller would wake a thread for each message, also one that
// a spinning goroutine has read already, and waking a thread is what a small exchange cannot afford.
type socket struct {
	net.Conn // once detached, only for the addresses

	mu       sync.Mutex // held by detach and Close
	detached bool
	quiet    bool // Read gives errNotYet without looking; of the one who reads
	drained  bool // and so it does after it got less than it could have taken; likewise
	fd       int
	most     time.Duration // that a write may wait for room; once detached, instead of a deadline
	calls    atomic.Int64  // under way; closedSocket is added once no more may begin
	released atomic.Bool
	in, out  iovecs // of the one who reads, and of the one who writes

	// Of the one who waits for input, and then reads.
	stage []byte // where await reads to, so that a wait and a read are one system call; nil if they are two
	early []byte // what it has read, and Read has not given out: a part of stage
	short bool   // that was less than it could have been
	broke error  // what it got instead
}

const closedSocket = 1 << 32

// errNotYet says that a socket has nothing to read now. Like a timeout it does no harm to TLS.
var errNotYet net.Error = notYet{}

type notYet struct{}

func (notYet) Error() string   { return "nothing to read yet" }
func (notYet) Timeout() bool   { return true }
func (notYet) Temporary() bool { return true }

// detach takes the connection out of Go's poller. Nobody may be using it. If it cannot be done the
// connection stays as it was.
func (s *socket) detach(mostWrite time.Duration) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	tcp, ok := s.Conn.(*net.TCPConn)
	if !ok {
		return os.ErrInvalid
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return err
	}
	var dup error
	if err := raw.Control(func(fd uintptr) { s.fd, dup = unix.FcntlInt(fd, unix.F_DUPFD_CLOEXEC, 0) }); err != nil {
		return err
	}
	if dup != nil {
		return os.NewSyscallError("fcntl", dup)
	}
	s.detached, s.most = true, mostWrite
	return tcp.Close() // the duplicate keeps the connection
}

// Close ends the connection, and every wait on it.
func (s *socket) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.detached {
		return s.Conn.Close()
	}
	if s.calls.Load() >= closedSocket {
		return nil
	}
	s.calls.Add(closedSocket + 1)
	unix.Shutdown(s.fd, unix.SHUT_RDWR) // wakes those who wait in the kernel; it may have ended already
	s.leave()
	return nil
}

// enter begins a use of the descriptor, which stays open until leave.
func (s *socket) enter() bool {
	if s.calls.Add(1) < closedSocket {
		return true
	}
	s.leave()
	return false
}

func (s *socket) leave() {
	if s.calls.Add(-1) == closedSocket && s.released.CompareAndSwap(false, true) {
		unix.Close(s.fd)
	}
}

// Read reads what is there. If the socket is detached and that is nothing, the error is errNotYet.
func (s *socket) Read(b []byte) (int, error) {
	switch {
	case !s.detached:
		return s.Conn.Read(b)
	case len(s.early) > 0:
		return s.give(b), nil
	case s.broke != nil:
		return 0, s.broke
	case s.quiet || s.drained:
		return 0, errNotYet
	case !s.enter():
		return 0, net.ErrClosed
	}
	defer s.leave()
	for {
		if n, err := readNow(s.fd, b); err != unix.EINTR {
			return s.got("read", n, len(b), err)
		}
	}
}

// readv is Read into several pieces, which are filled one after another. The socket is detached.
func (s *socket) readv(pieces [][]byte) (int, error) {
	switch {
	case len(s.early) > 0:
		n := 0
		for _, p := range pieces {
			n += s.give(p)
		}
		return n, nil
	case s.broke != nil:
		return 0, s.broke
	case s.quiet || s.drained:
		return 0, errNotYet
	case !s.enter():
		return 0, net.ErrClosed
	}
	defer s.leave()
	room := 0
	for _, p := range pieces {
		room += len(p)
	}
	for {
		if n, err := s.in.read(s.fd, pieces); err != unix.EINTR {
			return s.got("readv", n, room, err)
		}
	}
}

// give gives out what await has read.
func (s *socket) give(b []byte) int {
	n := copy(b, s.early)
	if s.early = s.early[n:]; len(s.early) == 0 {
		s.drained = s.short
	}
	return n
}

// got is what a system call that read n bytes, with room for some, means.
func (s *socket) got(call string, n, room int, err error) (int, error) {
	switch {
	case err == unix.EAGAIN:
		return 0, errNotYet
	case err != nil:
		return 0, os.NewSyscallError(call, err)
	case n == 0 && room > 0:
		return 0, io.EOF
	}
	s.drained = n < room
	return n, nil
}

// Write writes all of b. A detached socket gives os.ErrDeadlineExceeded if it had no room for too long.
func (s *socket) Write(b []byte) (int, error) {
	if !s.detached {
		return s.Conn.Write(b)
	}
	if !s.enter() {
		return 0, net.ErrClosed
	}
	defer s.leave()
	var r room
	for done := 0; ; {
		n, err := writeNow(s.fd, b[done:])
		if n > 0 {
			done += n
		}
		if done == len(b) {
			return done, nil
		}
		if err := r.await(s, "write", err); err != nil {
			return done, err
		}
	}
}

// writev writes bufs, and consumes them, in one system call if the socket has room for them.
func (s *socket) writev(bufs *net.Buffers) error {
	if !s.detached {
		_, err := bufs.WriteTo(s.Conn)
		return err
	}
	if !s.enter() {
		return net.ErrClosed
	}
	defer s.leave()
	var r room
	for {
		n, err := s.out.write(s.fd, *bufs)
		for n = max(n, 0); len(*bufs) > 0; {
			first := &(*bufs)[0]
			if n < len(*first) {
				*first = (*first)[n:]
				break
			}
			n -= len(*first)
			*bufs = (*bufs)[1:]
		}
		if len(*bufs) == 0 {
			return nil
		}
		if err := r.await(s, "writev", err); err != nil {
			return err
		}
	}
}

// room is the wait of one write for room in its socket. Most writes have none, and do not look at the clock.
type room struct{ until time.Time }

// await says whether a write that did not do all may be tried again.
func (r *room) await(s *socket, call string, err error) error {
	switch {
	case err != nil && err != unix.EINTR && err != unix.EAGAIN:
		return os.NewSyscallError(call, err)
	case err != unix.EAGAIN:
		return nil
	case r.until.IsZero():
		r.until = time.Now().Add(s.most)
	}
	left := time.Until(r.until)
	if left <= 0 {
		return os.ErrDeadlineExceeded
	}
	s.await(unix.POLLOUT, left)
	if s.calls.Load() >= closedSocket {
		return net.ErrClosed
	}
	return nil
}

// stageReads makes await read up to n bytes where it would only wait for them, for up to attendFor.
func (s *socket) stageReads(n int) {
	if waitsInRead(s.fd, attendFor) {
		s.stage = make([]byte, n)
	}
}

// await waits in the kernel until the socket is ready for events, or was closed, but no longer than most,
// rounded up to milliseconds; for ever if that is negative. It may return too early. The thread waits with
// the goroutine. Who has waited for input must read then: it may have been taken from the kernel.
func (s *socket) await(events int16, most time.Duration) (ready bool) {
	if events == unix.POLLIN && (len(s.early) > 0 || s.broke != nil) {
		return true
	}
	if !s.enter() {
		return true
	}
	defer s.leave()
	if events == unix.POLLIN && s.stage != nil && most > attendFor/2 {
		return s.awaitStaged()
	}
	if most > 0 {
		most = (most + time.Millisecond - 1) / time.Millisecond
	}
	fds := [1]unix.PollFd{{Fd: int32(s.fd), Events: events}}
	n, _ := unix.Poll(fds[:], int(most))
	return n != 0
}

func (s *socket) awaitInput(most time.Duration) bool { return s.await(unix.POLLIN, most) }

func (s *socket) hush(quiet bool) { s.quiet, s.drained = quiet, false }

func (s *socket) join(p *poller, l *link) error { return p.addSocket(l, s, watchNothing) }

func (s *socket) watch(p *poller, i interest) error {
	if !s.enter() {
		return nil
	}
	defer s.leave()
	return p.set.set(s.fd, i)
}

func (s *socket) woken(*poller, int) {}

func (s *socket) looked(interest) {}

// awaitStaged is await of a socket that stages reads.
func (s *socket) awaitStaged() bool {
	n, err := readWaiting(s.fd, s.stage)
	switch {
	case n > 0:
		s.early, s.short = s.stage[:n], n < len(s.stage)
	case err == unix.EAGAIN || err == unix.EINTR:
		return false
	case err != nil:
		s.broke = os.NewSyscallError("recvfrom", err)
	}
	return true // the end of the connection can be read again
}
