package transport

import (
	"net"

	"github.com/orrery-ai/orrery/transport/shm"
)

// outlink is the end of a connection that dialled, and sends. It carries lanes or envelopes.
type outlink struct {
	link
	frameBytes int             // largest payload of a data frame
	perTurn    int             // data frames that a lane writes in one turn
	window     int             // the most credits of a lane
	offer      *shm.Offer      // the peer's; nil if there is none
	reason     [maxReason]byte // of the one who reads

	// Guarded by link.mu.
	senders map[uint32]*Sender
	number  uint32 // of the lane opened last
	ended   bool   // lanes have been told; no more may be added
}

func newOutlink(e *Endpoint, node string, c class, nc net.Conn, frameBytes, window int) *outlink {
	l := &outlink{link: newLink(e, node, c, nc, creditBuffer), frameBytes: frameBytes, window: window, senders: make(map[uint32]*Sender)}
	l.handler, l.at.idle = l, watchHangup // credits are read when they are wanted
	l.perTurn = 1
	if c == classBulk {
		l.perTurn = max(1, min(writeBytes/frameBytes, aheadFrames, window/2))
	}
	return l
}

// add numbers s and makes it reachable for credits.
func (l *outlink) add(s *Sender) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ended {
		return l.cause
	}
	l.number++
	s.number = l.number
	l.senders[s.number] = s
	return nil
}

// finish takes s off the link and tells the receiver that nothing more comes. Cut says that the last
// message is incomplete.
func (l *outlink) finish(s *Sender, cut bool) {
	l.mu.Lock()
	_, open := l.senders[s.number]
	delete(l.senders, s.number)
	l.mu.Unlock()
	if !open {
		return
	}
	h := header{kind: frameFinish, lane: s.number}
	if cut {
		h.flags = flagCut
	}
	l.writeShort(h, nil) // a failure has ended the link, which tells the receiver as well
}

// begin says where the payload of a frame goes. Only credits and refusals come this way.
func (l *outlink) begin(h header) ([]byte, error) {
	if h.kind != frameCredit && h.kind != frameRefuse {
		return nil, protocolError("frame of kind %d from a receiver", h.kind)
	}
	return l.reason[:h.length:h.length], nil
}

// end takes a frame whose payload is there.
func (l *outlink) end(h header) error {
	l.mu.Lock()
	s, opened := l.senders[h.lane], h.lane > 0 && h.lane <= l.number
	l.mu.Unlock()
	switch {
	case !opened:
		return protocolError("credit for lane %d, which was never opened", h.lane)
	case s == nil: // closed meanwhile
		return nil
	case h.kind == frameCredit:
		return s.credit(h.total)
	}
	s.poison(&ErrNoReceiver{Node: l.node, Lane: s.key, Reason: string(l.reason[:h.length])})
	return nil
}

// dry has nothing to do at this end.
func (l *outlink) dry() error { return nil }

// tell tells every lane why the link is gone.
func (l *outlink) tell(cause error) {
	l.mu.Lock()
	senders := l.senders
	l.senders, l.ended = nil, true
	l.mu.Unlock()
	for _, s := range senders {
		s.poison(cause)
	}
}

// writeEnvelopes writes frames that are already encoded, headers included.
func (l *outlink) writeEnvelopes(frames net.Buffers) error {
	l.turn <- struct{}{} // only the peer's one control writer takes turns on a control link
	defer l.endTurn()
	if l.sums() {
		frames = withSums(frames)
	}
	return l.write(&frames)
}

// withSums puts checksums between the headers and the payloads of frames.
func withSums(frames net.Buffers) net.Buffers {
	var with net.Buffers
	for _, f := range frames {
		head := append(make([]byte, 0, mostHead), f[:headerBytes]...)[:mostHead]
		putSums(head, addSum(0, f[headerBytes:]))
		with = append(with, head, f[headerBytes:])
	}
	return with
}
