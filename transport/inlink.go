package transport

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"slices"

	"github.com/orrery-ai/orrery/transport/shm"
)

// inlink is the end of a connection that was dialled, and receives. Who reads it never waits for a lane:
// what the lane's consumer has no room for is queued, and credits keep the queue short.
type inlink struct {
	link
	offer *shm.Offer // to the peer; nil if there is none

	// Guarded by Endpoint.mu.
	stream  *shm.Stream // that the peer has fetched and nobody uses yet
	settled bool        // it cannot fetch one any more

	// Of the one who reads.
	lanes    map[uint32]*Receiver
	number   uint32 // of the lane opened last
	envelope []byte
	due      []uint32 // lanes that are to get credits when there is time
	opening  [openBytes]byte
}

func newInlink(e *Endpoint, node string, c class, nc net.Conn) *inlink {
	l := &inlink{link: newLink(e, node, c, nc, c.readBuffer()), lanes: make(map[uint32]*Receiver)}
	l.handler, l.at.idle = l, watchInput
	return l
}

// begin says where the payload of a frame goes.
func (l *inlink) begin(h header) ([]byte, error) {
	if (h.kind == frameEnvelope) != (l.class == classControl) {
		return nil, protocolError("frame of kind %d on a %s connection", h.kind, l.class)
	}
	switch h.kind {
	case frameData:
		r := l.lanes[h.lane]
		if r == nil {
			return nil, protocolError("data for lane %d, which is not open", h.lane)
		}
		into, err := r.begin(h)
		if err != nil {
			err = fmt.Errorf("lane %s: %w", r.key, err)
		}
		return into, err
	case frameOpen:
		return l.opening[:], nil
	case frameEnvelope:
		l.envelope = grow(l.envelope, int(h.length), maxEnvelope)
		return l.envelope[:h.length:h.length], nil
	case frameFinish:
		return nil, nil
	}
	return nil, protocolError("frame of kind %d from a sender", h.kind)
}

// end takes a frame whose payload is there.
func (l *inlink) end(h header) error {
	switch h.kind {
	case frameData:
		r := l.lanes[h.lane]
		credits, later := r.commit()
		if later && l.sock == nil {
			credits = r.settle()
		} else if later && !slices.Contains(l.due, h.lane) {
			l.due = append(l.due, h.lane)
		}
		return l.credit(h.lane, credits)
	case frameOpen:
		return l.open(h)
	case frameEnvelope:
		return l.receiveEnvelope(h)
	}
	return l.finish(h)
}

// dry gives the credits that were put off, now that there is nothing to read.
func (l *inlink) dry() error {
	for _, lane := range l.due {
		if r := l.lanes[lane]; r != nil {
			if err := l.credit(lane, r.settle()); err != nil {
				return err
			}
		}
	}
	l.due = l.due[:0]
	return nil
}

func (l *inlink) credit(lane uint32, frames int) error {
	if frames == 0 {
		return nil
	}
	return l.writeShort(header{kind: frameCredit, lane: lane, total: uint32(frames)}, nil)
}

func (l *inlink) open(h header) error {
	o, err := parseOpen(l.opening[:])
	if err != nil {
		return err
	}
	if h.lane != l.number+1 {
		return protocolError("opening of lane %d where %d was due", h.lane, l.number+1)
	}
	if o.key.Purpose.class() != l.class {
		return protocolError("lane %s on a %s connection", o.key, l.class)
	}
	l.number++
	r := l.e.receiver(l.node, o.key)
	reason := "nobody is registered for it"
	switch {
	case len(l.lanes) >= l.e.c.MaxLanes:
		reason = fmt.Sprintf("the connection has %d lanes already", len(l.lanes))
	case r != nil:
		reason = r.bind(l, h.lane, o)
	}
	if reason != "" {
		level := slog.LevelWarn
		if o.key.Purpose.ofDevices() {
			level = slog.LevelDebug
		}
		l.e.c.Logger.Log(context.Background(), level, "lane refused", "peer", l.node, "lane", o.key, "reason", reason)
		return l.refuse(h.lane, reason)
	}
	l.lanes[h.lane] = r
	return l.credit(h.lane, l.e.c.Window)
}

func (l *inlink) refuse(lane uint32, reason string) error {
	return l.writeShort(header{kind: frameRefuse, lane: lane}, []byte(reason[:min(len(reason), maxReason)]))
}

func (l *inlink) finish(h header) error {
	if h.lane == 0 || h.lane > l.number {
		return protocolError("end of lane %d, which was never opened", h.lane)
	}
	if r := l.lanes[h.lane]; r != nil {
		r.finish(h.flags&flagCut != 0)
		delete(l.lanes, h.lane)
	}
	return nil
}

// tell tells every lane why the link is gone.
func (l *inlink) tell(cause error) {
	for _, r := range l.lanes {
		r.fail(cause)
	}
}
