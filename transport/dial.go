package transport

import (
	"context"
	"errors"
	"net"
	"time"
)

// dialling is a connection to a peer, or the attempt to make it, which several lanes may await.
type dialling struct {
	done chan struct{} // closed when link or err is there
	link *outlink      // also guarded by Endpoint.mu
	err  error
}

// connect is the outbound link to a node, made if there is none. It takes at most two DialTimeouts.
func (e *Endpoint) connect(node string, c class) (*outlink, error) {
	k := linkKey{node, c}
	e.mu.Lock()
	addr, known := e.peers[node]
	d := e.out[k]
	if d != nil && d.link != nil && d.link.failure() != nil {
		d = nil // its reader has yet to take it away
	}
	switch {
	case e.closed:
		e.mu.Unlock()
		return nil, ErrClosed
	case d != nil:
		e.mu.Unlock()
		<-d.done
		return d.link, d.err
	case !known:
		e.mu.Unlock()
		return nil, errUnknownPeer
	}
	d = &dialling{done: make(chan struct{})}
	e.out[k] = d
	e.mu.Unlock()

	l, err := e.dial(node, addr, c)
	e.mu.Lock()
	defer e.mu.Unlock()
	defer close(d.done)
	now, known := e.peers[node]
	switch {
	case err != nil:
	case !known || now != addr:
		err = errors.New("the peer was dropped or has moved")
	case !e.asyncLocked(func() { e.serve(k, d, l) }):
		err = ErrClosed
	default:
		d.link = l
		return l, nil
	}
	if l != nil {
		l.nc.Close()
	}
	delete(e.out, k)
	d.err = err
	return nil, err
}

// serve reads from an outbound link until it ends.
func (e *Endpoint) serve(k linkKey, d *dialling, l *outlink) {
	l.fail(l.serve(), false)
	e.mu.Lock()
	if e.out[k] == d {
		delete(e.out, k)
	}
	e.mu.Unlock()
	l.tell(l.failure())
	e.ended(&l.link, true)
}

// dial connects to addr and agrees with the node there.
func (e *Endpoint) dial(node, addr string, c class) (*outlink, error) {
	deadline := time.Now().Add(e.c.DialTimeout)
	dialer := net.Dialer{Deadline: deadline, KeepAliveConfig: keepAlive}
	tcp, err := dialer.DialContext(e.ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	nc := &socket{Conn: tcp}
	stop := context.AfterFunc(e.ctx, func() { nc.Close() })
	defer stop()
	answer, err := e.greet(nc, node, c)
	if err == nil {
		err = nc.SetDeadline(time.Time{})
	}
	if err != nil {
		nc.Close()
		e.c.Logger.Warn("no connection", "peer", node, "addr", addr, "class", c.String(), "err", err)
		return nil, err
	}
	l := newOutlink(e, node, c, nc, min(e.c.FrameBytes, answer.frameBytes), answer.window)
	l.detach()
	return l, nil
}

// greet exchanges hellos on a connection that this node has dialled.
func (e *Endpoint) greet(nc net.Conn, node string, c class) (hello, error) {
	nc.SetDeadline(time.Now().Add(e.c.DialTimeout))
	ask := hello{
		version: helloVersion, kind: helloAsk, class: c, cluster: e.c.Cluster, from: e.c.Node, to: node,
		frameBytes: e.c.FrameBytes, window: e.c.Window,
	}
	if _, err := nc.Write(ask.append(nil)); err != nil {
		return hello{}, err
	}
	answer, err := readHello(nc)
	if err != nil {
		return hello{}, err
	}
	reason := answer.refusal(hello{
		version: helloVersion, kind: helloAccept, class: c, cluster: e.c.Cluster, from: node, to: e.c.Node,
	})
	if answer.version == helloVersion && answer.kind == helloRefuse {
		reason = answer.reason
	}
	if reason != "" {
		return hello{}, &ErrRefused{Peer: node, Reason: reason}
	}
	return answer, nil
}
