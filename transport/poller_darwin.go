package transport

import (
	"math"
	"os"

	"golang.org/x/sys/unix"
)

// watchSet is sockets that can be waited for together: kqueue, level-triggered.
type watchSet struct {
	fd     int
	events [64]unix.Kevent_t
}

func newWatchSet() (*watchSet, error) {
	fd, err := unix.Kqueue()
	if err != nil {
		return nil, os.NewSyscallError("kqueue", err)
	}
	unix.CloseOnExec(fd)
	return &watchSet{fd: fd}, nil
}

func (w *watchSet) close() { unix.Close(w.fd) }

// add takes a socket in, and set changes what it is watched for. A socket leaves the set by being closed.
func (w *watchSet) add(fd int, i interest) error { return w.set(fd, i) }

func (w *watchSet) set(fd int, i interest) error {
	ev := unix.Kevent_t{Ident: uint64(fd), Filter: unix.EVFILT_READ, Flags: unix.EV_ADD | unix.EV_ENABLE}
	switch i {
	case watchNothing:
		ev.Flags = unix.EV_ADD | unix.EV_DISABLE
	case watchHangup:
		ev.Fflags, ev.Data = unix.NOTE_LOWAT, math.MaxInt32 // more than it can hold; the end comes through all the same
	case watchInput:
		ev.Fflags, ev.Data = unix.NOTE_LOWAT, 1
	}
	_, err := unix.Kevent(w.fd, []unix.Kevent_t{ev}, nil, nil)
	return os.NewSyscallError("kevent", err)
}

// wait gives the sockets that something has happened to, for ever waiting for the first.
func (w *watchSet) wait(ready []int) ([]int, error) {
	n, err := unix.Kevent(w.fd, nil, w.events[:], nil)
	if err != nil && err != unix.EINTR {
		return ready, os.NewSyscallError("kevent", err)
	}
	for i := range n {
		ready = append(ready, int(w.events[i].Ident))
	}
	return ready, nil
}
