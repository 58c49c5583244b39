package transport

import (
	"context"
	"errors"
	"net"
	"time"
)

// keepAlive lets the operating system notice, within about 20 s, a peer whose machine has gone while
// nothing was under way.
var keepAlive = net.KeepAliveConfig{Enable: true, Idle: 10 * time.Second, Interval: 3 * time.Second, Count: 3}

var errReplaced = errors.New("the peer made a new connection")

// acceptAll takes connections until Close.
func (e *Endpoint) acceptAll() {
	for {
		nc, err := e.ln.Accept()
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				return
			}
			e.c.Logger.Error("cannot accept connections", "err", err)
			e.sleep(100 * time.Millisecond)
			continue
		}
		select {
		case e.handshakes <- struct{}{}:
		default:
			e.c.Logger.Warn("too many connections without a hello: one closed", "addr", nc.RemoteAddr().String())
			nc.Close()
			continue
		}
		if !e.async(func() {
			defer func() { <-e.handshakes }()
			e.accept(nc)
		}) {
			nc.Close()
		}
	}
}

// accept answers the hello of an inbound connection, and starts its link if they agree.
func (e *Endpoint) accept(tcp net.Conn) {
	nc := &socket{Conn: tcp}
	stop := context.AfterFunc(e.ctx, func() { nc.Close() })
	defer stop()
	log := e.c.Logger.With("addr", nc.RemoteAddr().String())
	nc.SetDeadline(time.Now().Add(e.c.DialTimeout))
	h, err := readHello(nc)
	if err != nil {
		log.Warn("connection without a good hello", "err", err)
		nc.Close()
		return
	}
	log = log.With("peer", h.from)
	answer := hello{
		version: helloVersion, kind: helloAccept, class: h.class, cluster: e.c.Cluster, from: e.c.Node,
		to: h.from, frameBytes: e.c.FrameBytes, window: e.c.Window,
	}
	answer.reason = h.refusal(hello{version: helloVersion, kind: helloAsk, cluster: e.c.Cluster, to: e.c.Node})
	var l *inlink
	if answer.reason == "" {
		l = newInlink(e, h.from, h.class, nc)
		answer.reason = e.admit(l)
	}
	if answer.reason != "" {
		answer.kind = helloRefuse
	}
	_, err = nc.Write(answer.append(nil))
	if answer.reason != "" {
		log.Warn("connection refused", "reason", answer.reason)
		nc.Close()
		return
	}
	if err == nil {
		err = nc.SetDeadline(time.Time{})
	}
	if err != nil {
		l.fail(err, false)
	}
	l.detach()
	e.goroutines.Go(func() { // inside one that Close waits for
		l.fail(l.serve(), false)
		e.mu.Lock()
		if k := (linkKey{l.node, l.class}); e.in[k] == l {
			delete(e.in, k)
		}
		e.mu.Unlock()
		l.tell(l.failure())
		e.ended(&l.link, false)
	})
}

// admit makes l the inbound link of its peer and class. It returns why that cannot be.
func (e *Endpoint) admit(l *inlink) string {
	k := linkKey{l.node, l.class}
	e.mu.Lock()
	old := e.in[k]
	switch {
	case e.closed:
		e.mu.Unlock()
		return "the node is shutting down"
	case old == nil && len(e.in) >= e.c.MaxConnections:
		e.mu.Unlock()
		return "too many connections"
	}
	e.in[k] = l
	e.mu.Unlock()
	if old != nil {
		old.fail(errReplaced, true)
	}
	return ""
}
