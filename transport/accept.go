package transport

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"time"

	"github.com/orrery-ai/orrery/transport/shm"
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
			e.strangers.warn(e.c.Logger, "too many connections without a hello: one closed", "addr", nc.RemoteAddr().String())
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
	raw := &socket{Conn: tcp}
	stop := context.AfterFunc(e.ctx, func() { raw.Close() })
	defer stop()
	log := e.c.Logger.With("addr", raw.RemoteAddr().String())
	raw.SetDeadline(time.Now().Add(e.c.DialTimeout))
	nc, h, err := e.meet(raw)
	if err != nil {
		e.turnedAway(log, err)
		hangUp(raw)
		return
	}
	log = log.With("peer", h.from)
	if h.version == helloVersion && h.kind == helloRefuse {
		log.Warn("connection refused by the peer", "reason", h.reason)
		nc.Close()
		return
	}
	var l *inlink
	reason := h.refusal(hello{version: helloVersion, kind: helloAsk, cluster: e.c.Cluster, to: e.c.Node})
	if s, ok := nc.(*secured); ok && reason == "" {
		reason = s.mismatch(h.cluster, h.from)
	}
	if reason == "" {
		l = newInlink(e, h.from, h.class, nc)
		reason = e.admit(l)
	}
	err = e.answer(nc, h, reason, l)
	if reason != "" {
		log.Warn("connection refused", "reason", reason)
		nc.Close()
		return
	}
	conn := nc
	var stream *shm.Stream
	if err == nil {
		stream, err = e.moveIn(nc, l, h)
	}
	if stream != nil {
		conn = e.mapped(nc, stream, h.from, h.class)
	} else if err == nil {
		conn, err = e.upgrade(nc, h.from, h.features)
	}
	if err != nil {
		l.fail(err, false)
		if s := e.settle(l); s != nil {
			s.Close()
		}
	} else {
		l.adopt(conn)
		l.useSums(e.features(nc), h.features)
	}
	l.detach()
	e.goroutines.Go(func() { // inside one that Close waits for
		l.fail(l.serve(), false)
		e.mu.Lock()
		if k := (linkKey{l.node, l.class}); e.in[k] == l {
			delete(e.in, k)
		}
		if l.offer != nil {
			delete(e.offers, l.offer.Ask)
		}
		e.mu.Unlock()
		l.tell(l.failure())
		e.ended(&l.link, false)
	})
}

// turnedAway logs why an inbound connection came to nothing before it was known whose it is.
func (e *Endpoint) turnedAway(log *slog.Logger, err error) {
	if r, ok := err.(*ErrRefused); ok {
		e.strangers.warn(log, "connection refused", "peer", r.Peer, "reason", r.Reason)
	} else {
		e.strangers.warn(log, "connection without a good hello", "err", err)
	}
}

// meet is the hello of an inbound peer, and the connection to answer it on: raw itself or, at an endpoint
// that has an identity, TLS over it. A peer that wants the other kind is told.
func (e *Endpoint) meet(raw net.Conn) (nc net.Conn, h hello, err error) {
	nc = raw
	if e.security != nil {
		if nc, err = e.secure(raw); err != nil {
			return nil, h, err
		}
	}
	h, err = readHello(nc)
	if err == errTLS && e.security == nil {
		e.answer(raw, h, hasNoTLS, nil)
	}
	return nc, h, err
}

// answer answers a hello: with a refusal, if there is a reason for one; else for a link that was admitted.
func (e *Endpoint) answer(nc net.Conn, h hello, reason string, l *inlink) error {
	a := hello{
		version: helloVersion, kind: helloAccept, class: h.class, reason: reason, cluster: e.c.Cluster, from: e.c.Node,
		to: h.from, frameBytes: e.c.FrameBytes, window: e.c.Window, features: e.features(nc),
	}
	if reason != "" {
		a.kind = helloRefuse
	} else if l.offer != nil {
		a.memory = string(l.offer.Append(nil))
		a.features |= featureShared
	}
	_, err := nc.Write(a.append(nil))
	return err
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
	if e.mayMove(l.class) {
		l.offer = &shm.Offer{Server: e.memory.Name(), Ask: shm.NewSecret(), Answer: shm.NewSecret()}
		e.offers[l.offer.Ask] = l
	}
	e.mu.Unlock()
	if old != nil {
		old.fail(errReplaced, true)
	}
	return ""
}
