package transport

import "golang.org/x/sys/unix"

// readNow is read(2) of a socket that does not wait.
func readNow(fd int, b []byte) (int, error) { return unix.Read(fd, b) }

// writeNow is write(2) of a socket that does not wait.
func writeNow(fd int, b []byte) (int, error) { return unix.Write(fd, b) }

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
