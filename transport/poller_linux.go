package transport

import (
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// watchSet is sockets that can be waited for together: an epoll instance, level-triggered. It waits in Go's
// own poller, for which it is one file, so that the goroutine that waits for it holds no thread.
type watchSet struct {
	fd     int
	file   *os.File
	raw    syscall.RawConn
	events [64]unix.EpollEvent
	try    func(fd uintptr) bool // look; kept, because making it allocates
	n      int                   // how many events look found
	err    error
}

func newWatchSet() (*watchSet, error) {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err == nil {
		err = unix.SetNonblock(fd, true) // which makes os.NewFile give it to the poller
	}
	if err != nil {
		return nil, os.NewSyscallError("epoll_create1", err)
	}
	w := &watchSet{fd: fd, file: os.NewFile(uintptr(fd), "epoll")}
	w.try = w.look
	if err = w.file.SetReadDeadline(time.Time{}); err == nil { // whether the poller took it
		w.raw, err = w.file.SyscallConn()
	}
	if err != nil {
		w.file.Close()
		return nil, err
	}
	return w, nil
}

// stop ends wait, which then gives an error. close follows when wait has ended.
func (w *watchSet) stop()  { w.file.Close() }
func (w *watchSet) close() {}

// add takes a socket in, and set changes what it is watched for. A socket leaves the set by being closed.
func (w *watchSet) add(fd int, i interest) error { return w.control(unix.EPOLL_CTL_ADD, fd, i) }
func (w *watchSet) set(fd int, i interest) error { return w.control(unix.EPOLL_CTL_MOD, fd, i) }

func (w *watchSet) control(op, fd int, i interest) error {
	ev := unix.EpollEvent{Fd: int32(fd)}
	switch i {
	case watchHangup:
		ev.Events = unix.EPOLLRDHUP
	case watchInput:
		ev.Events = unix.EPOLLIN | unix.EPOLLRDHUP
	}
	return os.NewSyscallError("epoll_ctl", unix.EpollCtl(w.fd, op, fd, &ev))
}

// wait gives the sockets that something has happened to, and waits for the first.
func (w *watchSet) wait(ready []int) ([]int, error) {
	if err := w.raw.Read(w.try); err != nil {
		return ready, err
	}
	for i := range w.n {
		ready = append(ready, int(w.events[i].Fd))
	}
	return ready, w.err
}

func (w *watchSet) look(fd uintptr) bool {
	n, err := unix.EpollWait(int(fd), w.events[:], 0)
	if err == unix.EINTR {
		n, err = 0, nil
	}
	w.n, w.err = max(n, 0), os.NewSyscallError("epoll_wait", err)
	return n != 0
}
