package transport

import (
	"context"
	"errors"
	"net"
	"time"

	"github.com/orrery-ai/orrery/transport/shm"
)

// dialling is a connection to a peer, or the attempt to make it, which several lanes may await.
type dialling struct {
	done chan struct{} // closed when link or err is there
	link *outlink      // also guarded by Endpoint.mu
	err  error
}

// connect is the outbound link to a node, made if there is none. It takes at most three DialTimeouts.
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
	ctx, cancel := context.WithTimeout(e.ctx, e.c.DialTimeout)
	defer cancel()
	tcp, err := e.c.Dial(ctx, node, c.String(), addr)
	if err != nil {
		return nil, err
	}
	raw := &socket{Conn: tcp}
	stop := context.AfterFunc(e.ctx, func() { raw.Close() })
	defer stop()
	raw.SetDeadline(time.Now().Add(e.c.DialTimeout))
	nc, answer, err := e.greet(raw, node, c)
	var stream *shm.Stream
	if err == nil {
		stream, err = e.moveOut(nc, node, c, answer)
	}
	if stream != nil {
		nc = e.mapped(nc, stream, node, c)
	} else if err == nil {
		nc, err = e.upgrade(nc, node, answer.features)
	}
	if err != nil {
		raw.Close()
		e.c.Logger.Warn("no connection", "peer", node, "addr", addr, "class", c.String(), "err", err)
		return nil, err
	}
	l := newOutlink(e, node, c, nc, min(e.c.FrameBytes, answer.frameBytes), answer.window)
	l.useSums(e.features(nc), answer.features)
	if o, err := shm.ParseOffer([]byte(answer.memory)); err == nil { // else there is none
		l.offer = &o
	}
	if _, ok := nc.(*secured); ok {
		l.frameBytes = wholeRecords(l.frameBytes, l.frames.head)
	}
	l.detach()
	return l, nil
}

// dialTCP is how connections are made unless Config.Dial says otherwise.
func dialTCP(ctx context.Context, _, _, addr string) (net.Conn, error) {
	dialer := net.Dialer{KeepAliveConfig: keepAlive}
	return dialer.DialContext(ctx, "tcp", addr)
}

// greet exchanges hellos on a connection that this node has dialled, over TLS if it has an identity. It
// gives the connection to go on with.
func (e *Endpoint) greet(raw net.Conn, node string, c class) (net.Conn, hello, error) {
	nc := raw
	ask := hello{
		version: helloVersion, kind: helloAsk, class: c, cluster: e.c.Cluster, from: e.c.Node, to: node,
		frameBytes: e.c.FrameBytes, window: e.c.Window,
	}
	if e.security != nil {
		s, err := e.security.dialled(raw)
		if err != nil {
			return nil, hello{}, asRefusal(err, node)
		}
		if reason := s.mismatch(e.c.Cluster, node); reason != "" {
			ask.kind, ask.reason = helloRefuse, reason
			s.Write(ask.append(nil)) // whether or not it hears why
			return nil, hello{}, &ErrRefused{Peer: node, Reason: reason}
		}
		nc = s
	}
	ask.features = e.features(nc)
	if e.mayMove(c) {
		ask.features |= featureShared
	}
	_, failed := nc.Write(ask.append(nil))
	answer, err := readHello(nc) // there may be an answer to less than the whole hello
	if err != nil {
		if failed != nil {
			err = failed
		}
		return nil, hello{}, asRefusal(err, node)
	}
	reason := answer.refusal(hello{
		version: helloVersion, kind: helloAccept, class: c, cluster: e.c.Cluster, from: node, to: e.c.Node,
	})
	if answer.version == helloVersion && answer.kind == helloRefuse {
		reason = answer.reason
	}
	if reason != "" {
		return nil, hello{}, &ErrRefused{Peer: node, Reason: reason}
	}
	return nc, answer, nil
}
