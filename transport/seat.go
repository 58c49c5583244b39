package transport

import (
	"errors"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// seat is where one who attends without spinning waits: a second descriptor of the link's socket, which Go's
// poller knows, so that his goroutine waits there as it would for a connection of package net, and holds no
// thread. There is none while those who attend spin, because the poller would wake a thread for each
// message.
type seat struct {
	file  *os.File // nil if there is none; it and until are guarded by attendance.mu
	raw   syscall.RawConn
	until time.Time // the file's read deadline; zero if there is none
	fired bool      // it has passed, or somebody was to be woken

	// Of the one who attends.
	place uint64
	w     waiter
	read  func(fd uintptr) bool // link.readSeated, kept because making it allocates
}

// block reads what there is, and waits for more.
func (l *link) block(place uint64, w waiter, deadline time.Time) {
	raw := l.sit()
	if raw == nil || !l.tidy(w) {
		return
	}
	l.at.seat.place, l.at.seat.w = place, w
	for l.setAlarm(deadline) && !w.satisfied() {
		err := raw.Read(l.at.seat.read)
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			return // satisfied, or the seat was removed
		}
		l.at.mu.Lock()
		l.at.seat.fired = true
		l.at.mu.Unlock()
		if !deadline.IsZero() && !time.Now().Before(deadline) {
			return
		}
	}
}

func (l *link) readSeated(uintptr) bool { return !l.readAs(l.at.seat.place, l.at.seat.w) }

// sit gives the seat, made if there is none; nil if there cannot be one.
func (l *link) sit() syscall.RawConn {
	l.at.mu.Lock()
	defer l.at.mu.Unlock()
	b := &l.at.seat
	if b.file != nil {
		return b.raw
	}
	if l.spins() || !l.sock.enter() {
		return nil
	}
	defer l.sock.leave()
	fd, err := unix.FcntlInt(uintptr(l.sock.fd), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil // too many files: the poller reads
	}
	b.file = os.NewFile(uintptr(fd), "lane")
	b.until, b.fired, b.read = time.Time{}, false, l.readSeated
	if b.raw, err = b.file.SyscallConn(); err != nil {
		b.file.Close()
		b.file = nil
		return nil
	}
	return b.raw
}

// setAlarm makes sure that who waits is woken at the deadline, or before: setting it costs something, and
// deadlines mostly move on. It says whether the seat is still there.
func (l *link) setAlarm(deadline time.Time) bool {
	l.at.mu.Lock()
	defer l.at.mu.Unlock()
	b := &l.at.seat
	if b.file == nil {
		return false
	}
	sooner := !deadline.IsZero() && (b.until.IsZero() || deadline.Before(b.until))
	if b.fired || sooner {
		b.until, b.fired = deadline, false
		return b.file.SetReadDeadline(deadline) == nil
	}
	return true
}

// rouse wakes who waits on the seat, to look whether he has to wait any longer.
func (l *link) rouse() {
	if l.sock == nil {
		return
	}
	l.at.mu.Lock()
	defer l.at.mu.Unlock()
	if b := &l.at.seat; b.file != nil {
		b.fired = true
		b.file.SetReadDeadline(time.Unix(1, 0))
	}
}

// removeSeat makes who waits on it leave. It must not be called by one who reads.
func (l *link) removeSeat() {
	l.at.mu.Lock()
	file := l.at.seat.file
	l.at.seat.file = nil
	l.at.mu.Unlock()
	if file != nil {
		file.Close() // waits until nobody is on it
	}
}
