package fault

import (
	"bufio"
	"io"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/orrery-ai/orrery/transport"
)

const (
	readBuffer = 64 << 10
	// mostQueued is how many units of one direction a delay or a stall holds; then nothing more is read.
	mostQueued = 256
)

// relay passes on what goes over a connection.
type relay struct {
	near, far io.ReadWriteCloser // to the endpoint that dials, and to the node
	began     time.Time
	tap       *transport.Tap
	ways      [2]*way // out and back
	log       *slog.Logger
	silent    atomic.Bool // an end that goes is not missed: a direction is half-open

	ending sync.Once
	ended  chan struct{}
	wg     sync.WaitGroup
}

// start begins to pass on; the relay ends with either of its connections, or with end.
func (r *relay) start() {
	ends := [2]io.ReadWriteCloser{r.near, r.far}
	for i, w := range r.ways {
		from, to := ends[i], ends[1-i]
		units := make(chan transport.Unit)
		r.wg.Go(func() { r.read(from, i == 1, units) })
		r.wg.Go(func() { r.pass(w, to, units) })
	}
}

// end closes both connections. A reset is told as one.
func (r *relay) end(e ending) {
	r.ending.Do(func() {
		for _, c := range []io.ReadWriteCloser{r.near, r.far} {
			if tcp, ok := c.(*net.TCPConn); ok && e == reset {
				tcp.SetLinger(0)
			}
			c.Close()
		}
		close(r.ended)
	})
}

// read takes apart what comes.
func (r *relay) read(from io.Reader, back bool, units chan<- transport.Unit) {
	defer close(units)
	buf := bufio.NewReaderSize(from, readBuffer)
	for told := back; ; {
		u, err := r.tap.Next(buf, back)
		if !told && r.tap.Opaque() {
			told = true
			r.tellIdle()
		}
		if len(u.Bytes) > 0 {
			select {
			case units <- u:
			case <-r.ended:
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// tellIdle logs which rules can do nothing.
func (r *relay) tellIdle() {
	for _, w := range r.ways {
		for _, a := range w.rules {
			if a.countsFrames() {
				r.log.Warn("fault not injected: the connection is encrypted or over RDMA, and its frames cannot be told apart", "rule", a.Text)
			}
		}
	}
}

// late is something on its way.
type late struct {
	due   time.Duration
	bytes []byte // nil for the end
	end   ending
}

// pass writes what becomes of the units of one direction.
func (r *relay) pass(w *way, to io.Writer, units <-chan transport.Unit) {
	var queue []late
	var last time.Duration // when the last of queue is due
	timer := time.NewTimer(0)
	defer timer.Stop()
	add := func(now time.Duration, o outcome) {
		for _, a := range o.acted {
			r.log.Warn("fault injected", "rule", a.Text)
			if a.Kind == HalfOpen {
				r.silent.Store(true)
			}
		}
		last = max(last, now) + o.stall
		for _, b := range o.pass {
			last = max(last, now+w.delay)
			queue = append(queue, late{due: last, bytes: b})
		}
		switch o.end {
		case closed:
			queue = append(queue, late{due: last, end: closed})
		case reset:
			r.end(reset)
		}
	}
	for in := units; ; {
		if len(queue) >= mostQueued {
			in = nil
		} else if in == nil && units != nil {
			in = units
		}
		wake := time.Hour
		if at, ok := w.next(); ok {
			wake = at - time.Since(r.began)
		}
		if len(queue) > 0 {
			wake = min(wake, queue[0].due-time.Since(r.began))
		}
		timer.Reset(wake)
		select {
		case u, ok := <-in:
			if ok {
				now := time.Since(r.began)
				add(now, w.take(u, now))
				break
			}
			units, in = nil, nil
			if w.hold != nil {
				w.hold.left = 0
			}
			if !w.swallow { // else the other end is not told
				now := time.Since(r.began)
				add(now, w.tick(now))
				add(now, outcome{end: closed})
			}
		case <-timer.C:
			now := time.Since(r.began)
			add(now, w.tick(now))
		case <-r.ended:
			return
		}
		for len(queue) > 0 && queue[0].due <= time.Since(r.began) {
			l := queue[0]
			queue = queue[1:]
			if l.end == closed {
				r.end(closed)
				return
			}
			if _, err := to.Write(l.bytes); err != nil && !r.silent.Load() {
				r.end(closed)
				return
			}
		}
	}
}
