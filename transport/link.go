package transport

import (
	"bufio"
	"io"
	"net"
	"os"
	"sync"
	"time"
)

// link is one connection after the hello. Messages go from the node that dialled to the other; the
// way back carries only credits and refusals.
type link struct {
	e     *Endpoint
	node  string // the peer
	class class
	nc    net.Conn
	br    *bufio.Reader // the reader goroutine's

	// turn is a lock that can be waited for with a deadline, and in which those who wait are served in
	// order: Go hands a full channel's slot to the first waiting sender. A frame is written in each turn.
	turn    chan struct{}
	expires time.Time                     // nc's write deadline; of the one whose turn it is
	scratch [headerBytes + maxReason]byte // of the one whose turn it is

	mu    sync.Mutex
	cause error // why the link ended
	quiet bool  // whether this node ended it on purpose
}

// creditBuffer is the size of the read buffer of a link on which only credits and refusals come, in bytes.
const creditBuffer = 1 << 10

func newLink(e *Endpoint, node string, c class, nc net.Conn, readBuffer int) link {
	return link{
		e: e, node: node, class: c, nc: nc,
		br: bufio.NewReaderSize(nc, readBuffer), turn: make(chan struct{}, 1),
	}
}

// fail ends the link; the first cause stays. Its reader then tells the lanes.
func (l *link) fail(cause error, quiet bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.cause == nil {
		l.cause, l.quiet = cause, quiet
		l.nc.Close()
	}
}

// failure is why the link ended; nil while it lasts.
func (l *link) failure() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.cause
}

// nextHeader waits for a frame, however long: the end of the connection ends the wait.
func (l *link) nextHeader() (header, error) {
	b, err := l.br.Peek(headerBytes)
	if err != nil {
		if err == io.EOF {
			err = errHangup
			if len(b) > 0 {
				err = io.ErrUnexpectedEOF
			}
		}
		return header{}, err
	}
	h, err := parseHeader(b, l.e.c.FrameBytes)
	if err != nil {
		return h, err
	}
	_, err = l.br.Discard(headerBytes)
	return h, err
}

// payload fills dst with the payload of the frame whose header was just read.
func (l *link) payload(dst []byte) error {
	_, err := io.ReadFull(l.br, dst)
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return err
}

// takeTurn waits until this goroutine may write. It gives os.ErrDeadlineExceeded after the deadline.
func (l *link) takeTurn(deadline time.Time) error {
	select {
	case l.turn <- struct{}{}:
		return nil
	default:
	}
	t := startTimer(deadline)
	defer stopTimer(t)
	select {
	case l.turn <- struct{}{}:
		return nil
	case <-t.C:
		return os.ErrDeadlineExceeded
	}
}

func (l *link) endTurn() { <-l.turn }

// write writes everything in bufs, in this goroutine's turn, in one system call if the socket has room;
// under TLS, in one for each record.
func (l *link) write(bufs *net.Buffers) error {
	if err := l.refresh(); err != nil {
		return err
	}
	var err error
	if s, ok := l.nc.(*secured); ok {
		err = s.writev(*bufs)
	} else {
		_, err = bufs.WriteTo(l.nc)
	}
	if err != nil {
		l.fail(err, false)
		return l.failure()
	}
	return nil
}

// refresh keeps the write deadline between half of WriteTimeout and all of it away. Setting it for each
// frame would cost more than telling the time.
func (l *link) refresh() error {
	if now := time.Now(); l.expires.Sub(now) < l.e.c.WriteTimeout/2 {
		l.expires = now.Add(l.e.c.WriteTimeout)
		if err := l.nc.SetWriteDeadline(l.expires); err != nil {
			l.fail(err, false)
			return l.failure()
		}
	}
	return nil
}

// writeShort writes a frame with a payload of at most maxReason bytes.
func (l *link) writeShort(h header, payload []byte) error {
	if err := l.takeTurn(time.Now().Add(l.e.c.WriteTimeout)); err != nil {
		l.fail(err, false)
		return l.failure()
	}
	defer l.endTurn()
	if err := l.refresh(); err != nil {
		return err
	}
	h.length = uint32(len(payload))
	h.put(l.scratch[:])
	n := copy(l.scratch[headerBytes:], payload)
	if _, err := l.nc.Write(l.scratch[:headerBytes+n]); err != nil {
		l.fail(err, false)
		return l.failure()
	}
	return nil
}
