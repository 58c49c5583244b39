package transport

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// The calls here never wait, so they are made without telling Go's scheduler, which would think a call that
// copies 256 KiB stuck, give its processor to another thread, and look for more such every 20 µs.

// readNow is read(2) of a socket that does not wait.
func readNow(fd int, b []byte) (int, error) { return rawCall(unix.SYS_READ, fd, b) }

// writeNow is write(2) of a socket that does not wait.
func writeNow(fd int, b []byte) (int, error) { return rawCall(unix.SYS_WRITE, fd, b) }

func rawCall(number uintptr, fd int, b []byte) (int, error) {
	n, _, errno := unix.RawSyscall(number, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)))
	if errno != 0 {
		return 0, errno
	}
	return int(n), nil
}

// mostPieces is how many pieces of memory one call takes.
const mostPieces = 1024

// iovecs is the argument of a vectored call. It is kept from call to call, because package unix allocates one
// for more than eight pieces.
type iovecs []unix.Iovec

func (v *iovecs) read(fd int, bufs [][]byte) (int, error) { return v.call(unix.SYS_READV, fd, bufs) }

func (v *iovecs) write(fd int, bufs [][]byte) (int, error) { return v.call(unix.SYS_WRITEV, fd, bufs) }

func (v *iovecs) call(number uintptr, fd int, bufs [][]byte) (int, error) {
	iov := (*v)[:0]
	for _, b := range bufs[:min(len(bufs), mostPieces)] {
		if len(b) > 0 {
			p := unix.Iovec{Base: unsafe.SliceData(b)}
			p.SetLen(len(b))
			iov = append(iov, p)
		}
	}
	*v = iov
	if len(iov) == 0 {
		return 0, nil
	}
	n, _, errno := unix.RawSyscall(number, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(iov))), uintptr(len(iov)))
	clear(iov) // holds no memory of others
	if errno != 0 {
		return 0, errno
	}
	return int(n), nil
}
