package transport

import "golang.org/x/sys/unix"

// mostPieces is how many pieces of memory one call takes.
const mostPieces = 1024

// iovecs makes vectored calls. Those of more than eight pieces allocate.
type iovecs struct{}

func (iovecs) read(fd int, bufs [][]byte) (int, error) {
	return unix.Readv(fd, bufs[:min(len(bufs), mostPieces)])
}

func (iovecs) write(fd int, bufs [][]byte) (int, error) {
	return unix.Writev(fd, bufs[:min(len(bufs), mostPieces)])
}
