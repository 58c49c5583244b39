package transport

import "time"

// A lane from a node to itself needs no socket: Send copies into one of the receiver's two messages and
// waits while neither is free.

func (s *Sender) openLocal() error {
	r := s.e.receiver(s.to, s.key)
	reason := "nobody is registered for it"
	if r != nil {
		reason = r.bind(nil, 0, open{max: uint32(s.max)})
	}
	if reason != "" {
		return &ErrNoReceiver{Node: s.to, Lane: s.key, Reason: reason}
	}
	s.local = r
	return nil
}

// sendLocal is sendFrames for a lane to this node.
func (s *Sender) sendLocal(deadline time.Time, total int, first []byte, rest [][]byte) error {
	m, err := s.awaitMessage(deadline, total)
	if err != nil {
		return err
	}
	n := copy(m.buf, first)
	for _, p := range rest {
		n += copy(m.buf[n:], p)
	}
	r := s.local
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.cause != nil {
		return s.receiverGone(r.cause)
	}
	r.filling = m
	r.deliver(s.sent.Load(), total)
	s.sent.Add(1)
	return nil
}

// awaitMessage waits until the receiver has a message to spare.
func (s *Sender) awaitMessage(deadline time.Time, total int) (*Message, error) {
	select {
	case <-s.dead:
		return nil, s.failure()
	default:
	}
	if m, err := s.takeMessage(total); m != nil || err != nil {
		return m, err
	}
	t := startTimer(deadline)
	defer stopTimer(t)
	for {
		select {
		case <-s.local.freed:
		case <-s.local.dead:
		case <-s.dead:
			return nil, s.failure()
		case <-t.C:
			return nil, &ErrTimeout{Node: s.to, Lane: s.key, Seq: s.sent.Load()}
		}
		if m, err := s.takeMessage(total); m != nil || err != nil {
			return m, err
		}
	}
}

// takeMessage is a spare message of the receiver; nil if there is none.
func (s *Sender) takeMessage(total int) (*Message, error) {
	r := s.local
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.cause != nil {
		return nil, s.receiverGone(r.cause)
	}
	return r.take(total), nil
}

// receiverGone is the error for the sender when the receiver has failed or was closed.
func (s *Sender) receiverGone(cause error) error {
	if s.e.ctx.Err() != nil {
		cause = ErrClosed
	} else {
		cause = &ErrNoReceiver{Node: s.to, Lane: s.key, Reason: "its receiver has gone: " + cause.Error()}
	}
	return laneError(cause, s.to, s.key, s.sent.Load())
}
