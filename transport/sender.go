package transport

import (
	"errors"
	"fmt"
	"math"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// Sender is the sending end of a lane. Its methods may be called from several goroutines; messages go
// out whole, one after another.
//
// Once a call has failed with [ErrPeerLost], [ErrTimeout] or [ErrNoReceiver], every later one fails too.
type Sender struct {
	e     *Endpoint
	to    string
	key   LaneKey
	max   int
	share *shared   // of the lane of an Outbox; nil if messages take the link
	link  *outlink  // nil if the lane leads to this node
	local *Receiver // then this is the other end

	token   chan struct{} // held by the call that is sending
	wake    chan struct{} // tells that call about credits
	dead    chan struct{} // closed when the lane fails
	credits atomic.Int32  // frames that may be sent
	number  uint32        // of the lane on link

	// Of the call that has the token; others may look at sent.
	drain quota
	sent  atomic.Uint64 // whole messages: the number of the next
	part  bool          // whether some but not all frames of message sent are out
	heads []byte        // headers of the frames of one turn
	iov   [][]byte
	bufs  net.Buffers

	mu     sync.Mutex
	cause  error
	gaveUp bool // a message failed to go out
}

// Sender opens the lane to a node for messages of at most maxMessage bytes. The node must have its
// [Endpoint.Receiver] registered already, or the error is [ErrNoReceiver]. If there is no connection for
// the lane yet, it is made: then the error may be [ErrRefused] or [ErrPeerLost], and [ErrTimeout] if the
// peer does not answer within DialTimeout. A connection on which it does not, or that turns out to be
// broken, is given up, and another tried once.
func (e *Endpoint) Sender(to string, key LaneKey, maxMessage int) (*Sender, error) {
	return e.sender(to, key, maxMessage, nil)
}

// sender is Sender for messages that go through shared memory, if there is some.
func (e *Endpoint) sender(to string, key LaneKey, maxMessage int, share *shared) (*Sender, error) {
	if err := checkLane(to, key, maxMessage); err != nil {
		return nil, err
	}
	for again := false; ; again = true {
		s := &Sender{
			e: e, to: to, key: key, max: maxMessage, share: share,
			token: make(chan struct{}, 1), wake: make(chan struct{}, 1), dead: make(chan struct{}),
		}
		if to == e.c.Node {
			return s, s.openLocal()
		}
		err := s.open()
		if err == nil {
			return s, nil
		}
		_, late := err.(*ErrTimeout)
		_, lost := err.(*ErrPeerLost)
		if late {
			// Whoever reads the connection there answers at once, unless that has died without a word.
			s.link.fail(errSilent, false)
		}
		stale := lost && s.link != nil && !errors.Is(err, ErrProtocol)
		if again || !late && !stale {
			return nil, err
		}
	}
}

// open opens the lane over the link for it, which is made if there is none.
func (s *Sender) open() error {
	l, err := s.e.connect(s.to, s.key.Purpose.class())
	if err != nil {
		if _, refused := err.(*ErrRefused); refused {
			return err
		}
		return laneError(err, s.to, s.key, 0)
	}
	s.link = l
	s.heads = make([]byte, l.perTurn*mostHead)
	if err := l.add(s); err != nil {
		return laneError(err, s.to, s.key, 0)
	}
	o := open{key: s.key, max: uint32(s.max), shared: s.share != nil}
	if err := l.writeShort(header{kind: frameOpen, lane: s.number}, o.append(nil)); err != nil {
		return laneError(err, s.to, s.key, 0)
	}
	if err := s.awaitCredit(time.Now().Add(s.e.c.DialTimeout)); err != nil {
		s.Close()
		return err
	}
	return nil
}

// checkLane is what Sender and Receiver ask of their arguments.
func checkLane(node string, key LaneKey, maxMessage int) error {
	if err := checkName("node", node); err != nil {
		return err
	}
	if err := key.valid(); err != nil {
		return err
	}
	if maxMessage < 0 || int64(maxMessage) > math.MaxUint32 {
		return fmt.Errorf("transport: lane %s: messages of %d bytes, want 0 to %d", key, maxMessage, uint32(math.MaxUint32))
	}
	return nil
}

// Send sends header and the parts of payload as one message. It returns when they have been handed to
// the operating system, and may then be changed; that they were received is for the peer to say. A zero
// deadline means MaxWait from now. Send does not copy, and does not allocate.
func (s *Sender) Send(deadline time.Time, header []byte, payload ...[]byte) error {
	total := len(header)
	for _, p := range payload {
		total += len(p)
	}
	if total > s.max {
		return fmt.Errorf("transport: lane %s to peer %s: a message of %d bytes, the largest allowed is %d",
			s.key, s.to, total, s.max)
	}
	if deadline.IsZero() {
		deadline = time.Now().Add(s.e.c.MaxWait)
	}
	if !s.takeToken(deadline) {
		return s.abort(&ErrTimeout{Node: s.to, Lane: s.key, Seq: s.sent.Load()})
	}
	var err error
	if s.local != nil {
		err = s.sendLocal(deadline, total, header, payload)
	} else {
		err = s.sendFrames(deadline, total, header, payload)
	}
	<-s.token
	if err == nil {
		s.e.traffic[s.key.Purpose].out(total)
		return nil
	}
	return s.abort(err)
}

func (s *Sender) takeToken(deadline time.Time) bool {
	select {
	case s.token <- struct{}{}:
		return true
	default:
	}
	t := startTimer(deadline)
	defer stopTimer(t)
	select {
	case s.token <- struct{}{}:
		return true
	case <-t.C:
		return false
	}
}

// sendFrames sends one message over the link, in the caller's goroutine.
func (s *Sender) sendFrames(deadline time.Time, total int, first []byte, rest [][]byte) error {
	h := header{kind: frameData, flags: flagFirst, lane: s.number, seq: s.sent.Load(), total: uint32(total)}
	for left := total; ; {
		if err := s.awaitCredit(deadline); err != nil {
			return err
		}
		frames := 0
		s.iov = s.iov[:0]
		for most := min(int(s.credits.Load()), s.link.perTurn); frames < most && h.flags&flagLast == 0; frames++ {
			n := min(left, s.link.frameBytes)
			left -= n
			h.length = uint32(n)
			if left == 0 {
				h.flags |= flagLast
			}
			head := s.heads[frames*mostHead:][:s.link.frames.head]
			h.put(head)
			h.flags &^= flagFirst
			s.iov = append(s.iov, head)
			sum := uint32(0)
			for n > 0 {
				for len(first) == 0 {
					first, rest = rest[0], rest[1:]
				}
				k := min(n, len(first))
				s.iov = append(s.iov, first[:k])
				if s.link.sums() {
					sum = addSum(sum, first[:k])
				}
				first, n = first[k:], n-k
			}
			if s.link.sums() {
				putSums(head, sum)
			}
		}
		s.credits.Add(-int32(frames))
		if err := s.link.takeTurn(deadline); err != nil {
			return &ErrTimeout{Node: s.to, Lane: s.key, Seq: s.sent.Load()}
		}
		s.part = true
		s.bufs = s.iov
		err := s.link.write(&s.bufs)
		s.link.endTurn()
		if err != nil {
			return laneError(err, s.to, s.key, s.sent.Load())
		}
		if left == 0 {
			s.part = false
			s.sent.Add(1)
			s.refill()
			return nil
		}
	}
}

// refill looks for credits while there are still some, and while the peer is busy with what was sent.
func (s *Sender) refill() {
	if s.credits.Load() <= int32(s.link.window/4) && s.link.sock != nil {
		s.drain = drainFrames
		s.link.readIdle(&s.drain)
	}
}

// awaitCredit waits until a frame may be sent.
func (s *Sender) awaitCredit(deadline time.Time) error {
	if !s.satisfied() {
		s.refill() // to attend costs more
	}
	if !s.satisfied() {
		s.link.attend(s, deadline)
	}
	select {
	case <-s.dead:
		return s.failure()
	default:
	}
	if s.credits.Load() > 0 {
		return nil
	}
	s.link.park()
	defer s.link.unpark()
	t := startTimer(deadline)
	defer stopTimer(t)
	for s.credits.Load() == 0 {
		select {
		case <-s.wake:
		case <-s.dead:
			return s.failure()
		case <-t.C:
			return &ErrTimeout{Node: s.to, Lane: s.key, Seq: s.sent.Load()}
		}
	}
	return nil
}

// satisfied says that there is a credit, or none will come.
func (s *Sender) satisfied() bool {
	select {
	case <-s.dead:
		return true
	default:
		return s.credits.Load() > 0
	}
}

// credit is called by the link's reader.
func (s *Sender) credit(frames uint32) error {
	if have := s.credits.Load(); frames == 0 || int64(frames)+int64(have) > int64(s.link.window) {
		return protocolError("lane %s: %d credits over a window of %d", s.key, frames, s.link.window)
	}
	s.credits.Add(int32(frames))
	select {
	case s.wake <- struct{}{}:
	default:
	}
	return nil
}

// poison makes the lane fail from now on; the first cause stays.
func (s *Sender) poison(cause error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cause == nil {
		s.cause = cause
		close(s.dead)
	}
}

// failure is the error of a call that found the lane poisoned, by the one that has the token.
func (s *Sender) failure() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.sent.Load()
	if s.share != nil {
		n = s.share.count()
	}
	return laneError(s.cause, s.to, s.key, n)
}

// abort poisons the lane because a call failed. After a timeout the receiver does not know yet, and is
// told without making the caller wait.
func (s *Sender) abort(err error) error {
	s.poison(err)
	if _, timeout := err.(*ErrTimeout); timeout {
		s.mu.Lock()
		s.gaveUp = true
		s.mu.Unlock()
		s.e.async(s.leave)
	}
	return err
}

// Close ends the lane: a call of Send under way fails, the receiver gets the messages sent before and
// then io.EOF. It waits for at most three WriteTimeouts.
func (s *Sender) Close() {
	s.poison(ErrClosed)
	s.leave()
}

func (s *Sender) leave() {
	if !s.takeToken(time.Now().Add(s.e.c.WriteTimeout)) {
		return // the writer that has it fails, and with it the link
	}
	defer func() { <-s.token }()
	s.mu.Lock()
	cut := s.part || s.gaveUp
	s.mu.Unlock()
	if s.local != nil {
		s.local.finish(cut)
		return
	}
	s.link.finish(s, cut)
}
