package transport

import (
	"math"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// watchSet is sockets that can be waited for together: a kqueue, level-triggered. Whoever waits for it holds
// a thread, because Go's own poller takes no kqueues.
type watchSet struct {
	fd        int
	wake, end *os.File // a pipe: wake becomes ready when end is closed
	events    [64]unix.Kevent_t
}

func newWatchSet() (*watchSet, error) {
	fd, err := unix.Kqueue()
	if err != nil {
		return nil, os.NewSyscallError("kqueue", err)
	}
	unix.CloseOnExec(fd)
	w := &watchSet{fd: fd}
	if w.wake, w.end, err = os.Pipe(); err == nil {
		err = w.set(int(w.wake.Fd()), watchInput)
	}
	if err != nil {
		w.close()
		return nil, err
	}
	return w, nil
}

// stop ends wait, which then gives an error. close follows when wait has ended.
func (w *watchSet) stop() { w.end.Close() }

func (w *watchSet) close() {
	unix.Close(w.fd)
	w.wake.Close()
	w.end.Close()
}

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

// wait gives the sockets that something has happened to, and waits for the first.
func (w *watchSet) wait(ready []int) ([]int, error) {
	runtime.Gosched() // whom the caller has woken must not queue behind a system call
	n, err := unix.Kevent(w.fd, nil, w.events[:], nil)
	if err != nil && err != unix.EINTR {
		return ready, os.NewSyscallError("kevent", err)
	}
	for i := range n {
		if fd := int(w.events[i].Ident); fd != int(w.wake.Fd()) {
			ready = append(ready, fd)
		} else {
			return ready, os.ErrClosed
		}
	}
	return ready, nil
}
