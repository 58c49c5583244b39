package transport

import (
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The calls here that do not wait are made without telling Go's scheduler, which would think a call that copies
// 256 KiB stuck, give its processor to another thread, and look for more such every 20 µs.

const noWait = unix.MSG_DONTWAIT | unix.MSG_NOSIGNAL

// readNow is read(2) of what is there.
func readNow(fd int, b []byte) (int, error) {
	return received(unix.RawSyscall6(unix.SYS_RECVFROM, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)), noWait, 0, 0))
}

// writeNow is write(2) of what there is room for.
func writeNow(fd int, b []byte) (int, error) {
	return received(unix.RawSyscall6(unix.SYS_SENDTO, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)), noWait, 0, 0))
}

// readWaiting is read(2) of a socket that waitsInRead.
func readWaiting(fd int, b []byte) (int, error) {
	return received(unix.Syscall6(unix.SYS_RECVFROM, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)), 0, 0, 0))
}

func received(n, _ uintptr, errno unix.Errno) (int, error) {
	if errno != 0 {
		return 0, errno
	}
	return int(n), nil
}

// waitsInRead makes readWaiting wait for so long, and says whether it does.
func waitsInRead(fd int, most time.Duration) bool {
	limit := unix.NsecToTimeval(int64(most))
	return unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &limit) == nil && unix.SetNonblock(fd, false) == nil
}

// mostPieces is how many pieces of memory one call takes.
const mostPieces = 1024

// iovecs is the argument of a vectored call. It is kept from call to call, because package unix allocates one
// for more than eight pieces.
type iovecs struct {
	pieces []unix.Iovec
	msg    unix.Msghdr
}

func (v *iovecs) read(fd int, bufs [][]byte) (int, error) { return v.call(unix.SYS_RECVMSG, fd, bufs) }

func (v *iovecs) write(fd int, bufs [][]byte) (int, error) {
	return v.call(unix.SYS_SENDMSG, fd, bufs)
}

func (v *iovecs) call(number uintptr, fd int, bufs [][]byte) (int, error) {
	iov := v.pieces[:0]
	for _, b := range bufs[:min(len(bufs), mostPieces)] {
		if len(b) > 0 {
			p := unix.Iovec{Base: unsafe.SliceData(b)}
			p.SetLen(len(b))
			iov = append(iov, p)
		}
	}
	v.pieces = iov
	if len(iov) == 0 {
		return 0, nil
	}
	v.msg.Iov = unsafe.SliceData(iov)
	v.msg.SetIovlen(len(iov))
	n, err := received(unix.RawSyscall(number, uintptr(fd), uintptr(unsafe.Pointer(&v.msg)), noWait))
	clear(iov) // holds no memory of others
	return n, err
}
