package transport

import (
	"net"
	"os"
	"sync"
	"time"

	"github.com/orrery-ai/orrery/internal/pacing"
	"github.com/orrery-ai/orrery/transport/rdma"
)

// link is one connection after the hello. Messages go from the node that dialled to the other; the
// way back carries only credits and refusals.
type link struct {
	e       *Endpoint
	node    string // the peer
	class   class
	nc      net.Conn
	sock    detached // under nc, if there is one: then any goroutine may read
	poller  *poller  // that reads while nobody else does; nil if sock is
	frames  frameReader
	handler frameHandler
	at      attendance

	// turn is a lock that can be waited for with a deadline, and in which those who wait are served in
	// order: Go hands a full channel's slot to the first waiting sender. A frame is written in each turn.
	turn    chan struct{}
	expires time.Time                  // nc's write deadline; of the one whose turn it is
	scratch [mostHead + maxReason]byte // of the one whose turn it is

	mu     sync.Mutex
	cause  error         // why the link ended
	quiet  bool          // whether this node ended it on purpose
	failed chan struct{} // closed when it has, and its connection is
}

// creditBuffer is the size of the read buffer of a link on which only credits and refusals come, in bytes.
const creditBuffer = 1 << 10

func newLink(e *Endpoint, node string, c class, nc net.Conn, readBuffer int) link {
	return link{
		e: e, node: node, class: c, nc: nc,
		frames: frameReader{src: nc, limit: e.c.FrameBytes, head: headerBytes, buf: make([]byte, readBuffer)},
		turn:   make(chan struct{}, 1), failed: make(chan struct{}),
	}
}

// adopt makes nc the connection of a link that has not begun to serve. If the link has ended, nc does too.
func (l *link) adopt(nc net.Conn) {
	l.mu.Lock()
	l.nc, l.frames.src = nc, nc
	ended := l.cause != nil
	l.mu.Unlock()
	if ended {
		nc.Close()
	}
}

// useSums makes the frames of a link that has not begun to serve carry checksums, if either end wants them.
func (l *link) useSums(here, there uint32) {
	if _, ok := l.nc.(*rdma.Conn); !ok && (here|there)&featureSums != 0 {
		l.frames.head = mostHead
	}
}

// sums says whether the frames of the link carry checksums.
func (l *link) sums() bool { return l.frames.head == mostHead }

// fail ends the link; the first cause stays. Whoever serves it then tells the lanes. It returns when the
// connection is closed, which over RDMA takes some time: nobody else is held up by that.
func (l *link) fail(cause error, quiet bool) {
	l.mu.Lock()
	if l.cause != nil {
		l.mu.Unlock()
		<-l.failed
		return
	}
	l.cause, l.quiet = cause, quiet
	nc := l.nc
	l.mu.Unlock()
	nc.Close()
	close(l.failed)
}

// failure is why the link ended; nil while it lasts.
func (l *link) failure() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.cause
}

// serve hands the frames that come to the link's handler, or lets others do so, until the link ends. Then
// none is handed out any more.
func (l *link) serve() error {
	if l.sock == nil {
		l.setSpin()
		for {
			if err := l.frames.next(l.handler); err != nil {
				return err
			}
		}
	}
	if err := l.beginWatch(); err != nil {
		l.fail(err, false)
	}
	l.readIdle(new(quota)) // TLS may have read beyond the hello already
	<-l.failed
	l.poller.forget(l)
	l.at.reading.Lock()
	defer l.at.reading.Unlock()
	l.handler = ended{}
	return l.failure()
}

// detach lets those who wait for messages of lanes read the connection. If that cannot be, because too many
// files are open, serve reads it.
func (l *link) detach() {
	if l.class == classControl {
		return
	}
	nc := l.nc
	if tls, ok := nc.(*secured); ok {
		nc = tls.raw
	}
	s, ok := nc.(*socket)
	m, moved := nc.(*mapped)
	if moved {
		s = m.socket
	} else if !ok {
		return
	}
	poller, err := l.e.poller(l.class)
	if err == nil {
		err = s.detach(l.e.c.WriteTimeout)
	}
	switch {
	case err == nil && moved:
		l.sock, l.poller = m, poller
		l.frames.buf = make([]byte, mostHead) // a read costs nothing here
	case moved:
		l.fail(err, false)
	case err == nil:
		l.sock, l.poller = s, poller
		pacing.Off(s.fd)
		if buf := l.frames.buf; len(buf) != bulkBuffer { // bulk has its place, and is not worth a copy
			s.stageReads(len(buf))
		}
		if l.nc == net.Conn(s) {
			l.frames.many = s
		}
		if l.class == classSmall {
			deferAcks(s.fd)
		}
	case l.failure() == nil:
		l.e.c.Logger.Warn("waits for messages take longer than they need", "peer", l.node, "err", err)
	}
}

// ended is the handler of a link that has ended.
type ended struct{}

func (ended) begin(header) ([]byte, error) { return nil, net.ErrClosed }
func (ended) end(header) error             { return net.ErrClosed }
func (ended) dry() error                   { return net.ErrClosed }

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
// under TLS in one for each record, over RDMA in one message for each slot.
func (l *link) write(bufs *net.Buffers) error {
	if err := l.refresh(); err != nil {
		return err
	}
	var err error
	switch nc := l.nc.(type) {
	case *socket:
		err = nc.writev(bufs)
	case *mapped:
		err = nc.writev(bufs)
	case *secured:
		err = nc.writev(*bufs)
	case *rdma.Conn:
		_, err = nc.WriteBuffers(bufs)
	default:
		_, err = bufs.WriteTo(nc)
	}
	if err != nil {
		l.fail(err, false)
		return l.failure()
	}
	return nil
}

// refresh keeps the write deadline between half of WriteTimeout and all of it away. Setting it for each
// frame would cost more than telling the time. A detached socket counts WriteTimeout itself.
func (l *link) refresh() error {
	if l.sock != nil {
		return nil
	}
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
	head := l.frames.head
	h.put(l.scratch[:])
	if l.sums() {
		putSums(l.scratch[:], addSum(0, payload))
	}
	n := copy(l.scratch[head:], payload)
	if _, err := l.nc.Write(l.scratch[:head+n]); err != nil {
		l.fail(err, false)
		return l.failure()
	}
	return nil
}
