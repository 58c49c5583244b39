package transport

import (
	"errors"
	"net"
	"time"

	"github.com/orrery-ai/orrery/transport/shm"
)

// Where both ends of a connection share memory, it moves there after the hellos. The end that was dialled has said,
// in its answer, with what the other may ask for a stream. The one that dialled asks, and then says in one byte on
// the connection whether it has got one. What is said on the connection after that is nothing.
const (
	stays byte = iota
	moves
)

// mayMove says whether connections of a class go through shared memory where they can.
func (e *Endpoint) mayMove(c class) bool {
	return e.memory != nil && streamRooms[c] != (shm.Room{})
}

// moveOut moves a connection that this node has dialled, if that can be; nil if it stays. An error is of the connection.
func (e *Endpoint) moveOut(nc net.Conn, node string, c class, answer hello) (*shm.Stream, error) {
	if answer.features&featureShared == 0 || !e.mayMove(c) {
		return nil, nil
	}
	s, err := e.fetchStream(node, c, answer, (e.features(nc)|answer.features)&featureSums != 0)
	said := moves
	if err != nil {
		said = stays
		e.logStays(node, err)
	}
	if _, err := nc.Write([]byte{said}); err != nil {
		if s != nil {
			s.Close()
		}
		return nil, err
	}
	return s, nil
}

// fetchStream gets a stream from the node that has answered.
func (e *Endpoint) fetchStream(node string, c class, answer hello, sums bool) (*shm.Stream, error) {
	o, err := shm.ParseOffer([]byte(answer.memory))
	if err != nil {
		return nil, err
	}
	s, err := shm.FetchStream(time.Now().Add(e.c.DialTimeout), o, nil, streamRooms[c])
	if err == nil && e.c.Share != nil {
		return e.c.Share(node, c.String(), s, sums)
	}
	return s, err
}

// moveIn moves a connection that a peer has dialled, if the peer says so; nil if it stays. An error is of the connection.
func (e *Endpoint) moveIn(nc net.Conn, l *inlink, h hello) (*shm.Stream, error) {
	if l.offer == nil || h.features&featureShared == 0 {
		return nil, nil
	}
	var said [1]byte
	_, err := nc.Read(said[:])
	s := e.settle(l)
	switch {
	case err != nil:
	case said[0] == moves && s != nil:
		return s, nil
	case said[0] != stays:
		err = protocolError("%d after the hello, where no stream was asked for", said[0])
	}
	if s != nil {
		s.Close()
	}
	return nil, err
}

// settle gives the stream that the peer has fetched for a connection, if there is one, and lets it fetch none any more. It is the caller's.
func (e *Endpoint) settle(l *inlink) *shm.Stream {
	e.mu.Lock()
	defer e.mu.Unlock()
	s := l.stream
	l.stream, l.settled = nil, true
	return s
}

// streamOf makes the stream that a peer asks for, which moves a connection of its.
func (e *Endpoint) streamOf(l *inlink) (*shm.Memory, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if l.stream != nil || l.settled || e.closed {
		return nil, errors.New("the connection has been settled, or has a stream")
	}
	s, err := shm.NewStream(streamRooms[l.class])
	if err != nil {
		return nil, err
	}
	l.stream = s
	return s.Memory(), nil
}

// mapped is a connection that goes on through a stream.
func (e *Endpoint) mapped(nc net.Conn, s *shm.Stream, node string, c class) net.Conn {
	if tls, ok := nc.(*secured); ok {
		nc = tls.raw
	}
	e.c.Logger.Info("connection through shared memory", "peer", node, "class", c.String())
	return &mapped{socket: nc.(*socket), stream: s}
}

// logStays says why the connections to a node do not move, once for each reason. That it is on another machine is no news.
func (e *Endpoint) logStays(node string, why error) {
	if errors.Is(why, shm.ErrElsewhere) {
		e.c.Logger.Debug("no memory is shared", "peer", node, "reason", why)
		return
	}
	if e.firstTime("shared memory", node, why.Error()) {
		e.c.Logger.Warn("connections to the node do not go through shared memory", "peer", node, "reason", why)
	}
}
