package transport

import (
	"os"

	"golang.org/x/sys/unix"
)

// watchSet is sockets that can be waited for together: epoll, level-triggered.
type watchSet struct {
	fd     int
	events [64]unix.EpollEvent
}

func newWatchSet() (*watchSet, error) {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("epoll_create1", err)
	}
	return &watchSet{fd: fd}, nil
}

func (w *watchSet) close() { unix.Close(w.fd) }

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

// wait gives the sockets that something has happened to, for ever waiting for the first.
func (w *watchSet) wait(ready []int) ([]int, error) {
	n, err := unix.EpollWait(w.fd, w.events[:], -1)
	if err != nil && err != unix.EINTR {
		return ready, os.NewSyscallError("epoll_wait", err)
	}
	for i := range n {
		ready = append(ready, int(w.events[i].Fd))
	}
	return ready, nil
}
