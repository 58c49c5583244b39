package shm

import (
	"errors"
	"os"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// newWakers is the files of the wakers of both ends: two bells, and a pair of sockets.
func newWakers() ([]int, error) {
	var fds []int
	fail := func(call string, err error) ([]int, error) {
		return nil, errors.Join(os.NewSyscallError(call, err), closeAll(fds))
	}
	for range 2 {
		fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
		if err != nil {
			return fail("eventfd2", err)
		}
		fds = append(fds, fd)
	}
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fail("socketpair", err)
	}
	fds = append(fds, pair[:]...)
	limit := unix.NsecToTimeval(int64(restFor))
	for _, fd := range pair {
		if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &limit); err != nil {
			return fail("setsockopt", err)
		}
	}
	return fds, nil
}

// ring rings the bell. One that has been rung 2⁶⁴-2 times needs no more.
func (b bell) ring() {
	one := [8]byte{1}
	unix.RawSyscall(unix.SYS_WRITE, uintptr(b), uintptr(unsafe.Pointer(&one)), 8)
}

// silence takes it back.
func (b bell) silence() {
	var count [8]byte
	unix.RawSyscall(unix.SYS_READ, uintptr(b), uintptr(unsafe.Pointer(&count)), 8)
}

// wake ends a sleep, or the next one. If there is no room for one byte more it has been told often enough.
func (r rest) wake() {
	one := [1]byte{1}
	unix.RawSyscall6(unix.SYS_SENDTO, uintptr(r.there), uintptr(unsafe.Pointer(&one)), 1, unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL, 0, 0)
}

// sleep lets the thread sleep until it is woken, but no longer than most or restFor.
func (r rest) sleep(most time.Duration) {
	if most < restFor {
		fds := [1]unix.PollFd{{Fd: int32(r.here), Events: unix.POLLIN}}
		if n, _ := unix.Poll(fds[:], int((most+time.Millisecond-1)/time.Millisecond)); n == 0 {
			return
		}
	}
	var woken [16]byte
	unix.Syscall6(unix.SYS_RECVFROM, uintptr(r.here), uintptr(unsafe.Pointer(&woken)), uintptr(len(woken)), 0, 0, 0)
}
