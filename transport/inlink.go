package transport

import "fmt"

// inlink is the end of a connection that was dialled, and receives. Its reader goroutine never waits
// for a lane: what the lane's consumer has no room for is queued, and credits keep the queue short.
type inlink struct {
	link
	lanes    map[uint32]*Receiver // the reader's
	number   uint32               // of the lane opened last
	envelope []byte               // the reader's
}

// serve reads frames until the link ends.
func (l *inlink) serve() error {
	for {
		h, err := l.nextHeader()
		if err != nil {
			return err
		}
		if (h.kind == frameEnvelope) != (l.class == classControl) {
			return protocolError("frame of kind %d on a %s connection", h.kind, l.class)
		}
		switch h.kind {
		case frameData:
			err = l.data(h)
		case frameOpen:
			err = l.open(h)
		case frameFinish:
			err = l.finish(h)
		case frameEnvelope:
			err = l.receiveEnvelope(h)
		default:
			err = protocolError("frame of kind %d from a sender", h.kind)
		}
		if err != nil {
			return err
		}
	}
}

func (l *inlink) data(h header) error {
	r := l.lanes[h.lane]
	if r == nil {
		return protocolError("data for lane %d, which is not open", h.lane)
	}
	dst, err := r.begin(h)
	if err != nil {
		return fmt.Errorf("lane %s: %w", r.key, err)
	}
	if dst == nil {
		_, err := l.br.Discard(int(h.length))
		return err
	}
	if err := l.payload(dst); err != nil {
		return fmt.Errorf("lane %s, message %d: %w", r.key, h.seq, err)
	}
	return l.credit(h.lane, r.commit())
}

func (l *inlink) credit(lane uint32, frames int) error {
	if frames == 0 {
		return nil
	}
	return l.writeShort(header{kind: frameCredit, lane: lane, total: uint32(frames)}, nil)
}

func (l *inlink) open(h header) error {
	var b [openBytes]byte
	if err := l.payload(b[:]); err != nil {
		return err
	}
	o, err := parseOpen(b[:])
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
		reason = r.bind(l, h.lane, o.max)
	}
	if reason != "" {
		l.e.c.Logger.Warn("lane refused", "peer", l.node, "lane", o.key, "reason", reason)
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

// end tells every lane why the link is gone.
func (l *inlink) end(cause error) {
	for _, r := range l.lanes {
		r.fail(cause)
	}
}
