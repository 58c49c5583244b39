package transport

import (
	"time"

	"golang.org/x/sys/unix"
)

// readNow is read(2) of a socket that does not wait.
func readNow(fd int, b []byte) (int, error) { return unix.Read(fd, b) }

// writeNow is write(2) of a socket that does not wait.
func writeNow(fd int, b []byte) (int, error) { return unix.Write(fd, b) }

// waitsInRead is false: a wait for input would have to be told from a read that must not wait, which takes recvmsg
// with flags.
func waitsInRead(int, time.Duration) bool { return false }

// readWaiting is not called.
func readWaiting(int, []byte) (int, error) { return 0, unix.ENOTSUP }

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
