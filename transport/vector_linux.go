package transport

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

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
	n, _, errno := unix.Syscall(number, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(iov))), uintptr(len(iov)))
	clear(iov) // holds no memory of others
	if errno != 0 {
		return 0, errno
	}
	return int(n), nil
}
