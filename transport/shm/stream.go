package shm

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sync/atomic"
	"syscall"
	"time"
)

// Room is how many bytes each direction of a stream holds: whole pages of 4 KiB.
type Room struct {
	Out  int // from the end that has fetched the stream to the one that has made it
	Back int // the other way
}

// Bytes is the memory that a stream takes.
func (r Room) Bytes() int { return HeadsBytes + r.Out + r.Back }

// HeadsBytes is what a stream's memory begins with: the heads of both rings, alone in their page.
const HeadsBytes = 4 << 10

func (r Room) check() error {
	for _, n := range []int{r.Out, r.Back} {
		if n < HeadsBytes || n%HeadsBytes != 0 {
			return fmt.Errorf("a stream with room for %d bytes, want a multiple of %d", n, HeadsBytes)
		}
	}
	return nil
}

// Stream is one end of a stream of bytes in both directions through shared memory. One goroutine at a time may read, one write, and any close it.
//
// A Stream does not notice that the other process has died: somebody else must, and call [Stream.Hangup].
type Stream struct {
	memory  *Memory
	room    Room
	in, out ring
	mine    wakers // of this end's reader
	other   wakers
	hide    func(bell int)
	uses    atomic.Int64 // of the memory, under way; closedStream is added once no more may begin
	gone    atomic.Bool  // the other end has
	free    atomic.Bool  // the memory is
}

const closedStream = 1 << 32

// NewStream makes a stream, and is one end of it. The other end fetches the memory of it.
func NewStream(room Room) (*Stream, error) {
	if err := room.check(); err != nil {
		return nil, err
	}
	m, err := New(room.Bytes())
	if err != nil {
		return nil, err
	}
	if err := m.addWakers(); err != nil {
		return nil, errors.Join(err, m.Close())
	}
	return newStream(m, room, true)
}

// FetchStream asks the peer that made an offer for the other end of a stream, as [Fetch] asks for memory.
func FetchStream(deadline time.Time, o Offer, request []byte, room Room) (*Stream, error) {
	if err := room.check(); err != nil {
		return nil, err
	}
	m, err := Fetch(deadline, o, request, room.Bytes())
	if err != nil {
		return nil, err
	}
	return newStream(m, room, false)
}

// Pair is both ends of a stream, in this process: as if the second had fetched it from the first.
func Pair(room Room) (made, fetched *Stream, err error) {
	if made, err = NewStream(room); err != nil {
		return nil, nil, err
	}
	m, err := made.memory.again()
	if err == nil {
		fetched, err = newStream(m, room, false)
	}
	if err != nil {
		return nil, nil, errors.Join(err, made.Close())
	}
	return made, fetched, nil
}

// newStream is an end of the stream in m, which it closes if that cannot be.
func newStream(m *Memory, room Room, made bool) (*Stream, error) {
	if len(m.files) != wakerFiles {
		return nil, errors.Join(errors.New("the memory of a stream came without what wakes its readers"), m.Close())
	}
	b := m.Bytes()
	heads, data := b[:HeadsBytes], b[HeadsBytes:]
	s := &Stream{memory: m, room: room, mine: wakersIn(m.files, 1), other: wakersIn(m.files, 0)}
	s.out, s.in = newRing(heads, data[:room.Out]), newRing(heads[HeadsBytes/2:], data[room.Out:])
	if made {
		s.out, s.in, s.mine, s.other = s.in, s.out, s.other, s.mine
	}
	return s, nil
}

// Room is how much each direction holds.
func (s *Stream) Room() Room { return s.room }

// Memory is what the other end fetches.
func (s *Stream) Memory() *Memory { return s.memory }

// ShowBell calls show with the bell, a descriptor that can be read when it was rung: see [Stream.Watch]. Before that is closed here it calls hide,
// because it stays open at the other end.
func (s *Stream) ShowBell(show func(fd int) error, hide func(fd int)) error {
	if !s.enter() {
		return os.ErrClosed
	}
	defer s.leave()
	s.hide = hide
	return show(int(s.mine.bell))
}

// enter begins a use of the memory, which stays until leave.
func (s *Stream) enter() bool {
	if s.uses.Add(1) < closedStream {
		return true
	}
	s.leave()
	return false
}

func (s *Stream) leave() {
	if s.uses.Add(-1) == closedStream && s.free.CompareAndSwap(false, true) {
		if s.hide != nil {
			s.hide(int(s.mine.bell))
		}
		s.memory.Close()
	}
}

// Close ends the stream at both ends. What the other has not read yet it still can. A second call does nothing.
func (s *Stream) Close() error {
	for {
		n := s.uses.Load()
		if n >= closedStream {
			return nil
		}
		if s.uses.CompareAndSwap(n, n+closedStream+1) {
			break
		}
	}
	s.out.head.closed.Store(1)
	s.wake(s.out.head.idle.Swap(0))
	s.wakeAll()
	s.leave()
	return nil
}

// Hangup says that the other end has gone. Reads end when everything is read, and writes at once.
func (s *Stream) Hangup() {
	s.gone.Store(true)
	if s.enter() {
		s.wakeAll()
		s.leave()
	}
}

// wakeAll wakes whoever waits at this end, and the writer at the other.
func (s *Stream) wakeAll() {
	s.mine.rest.wake()
	for _, r := range []*ring{&s.in, &s.out} {
		r.head.full.Store(0)
		wakeOn(&r.head.full)
	}
}

// over says that the other end writes no more.
func (s *Stream) over() bool { return s.gone.Load() || s.in.head.closed.Load() != 0 }

// wake wakes the other end as it wants to be.
func (s *Stream) wake(idle uint32) {
	if idle&idleAsleep != 0 {
		s.other.rest.wake()
	}
	if idle&idleWatched != 0 {
		s.other.bell.ring()
	}
}

// TryRead reads what is there, and does not wait: then 0 is no error. When the other end has closed, and everything is read, it is io.EOF.
func (s *Stream) TryRead(b []byte) (int, error) {
	if !s.enter() {
		return 0, os.ErrClosed
	}
	defer s.leave()
	over := s.over() // before looking for the last that it wrote
	n, err := s.in.take(b)
	if n > 0 && s.in.head.full.Load() != 0 && s.in.head.full.Swap(0) != 0 {
		wakeOn(&s.in.head.full)
	}
	if n == 0 && err == nil && over && len(b) > 0 {
		err = io.EOF
	}
	return n, err
}

// Await lets the thread sleep until there is something to read, but no longer than most. It may return too early.
func (s *Stream) Await(most time.Duration) {
	if !s.enter() {
		return
	}
	defer s.leave()
	idle := &s.in.head.idle
	idle.Or(idleAsleep)
	if !s.in.readable() && !s.over() && s.uses.Load() < closedStream {
		s.mine.rest.sleep(most)
	}
	idle.And(^uint32(idleAsleep))
}

// Watch has the bell rung when there is something to read: once, then Watch must be called again. If there is something already it rings now. Unwatch takes it back; the
// bell may have been rung.
func (s *Stream) Watch() {
	if !s.enter() {
		return
	}
	defer s.leave()
	s.in.head.idle.Or(idleWatched)
	if s.in.readable() || s.over() {
		s.in.head.idle.And(^uint32(idleWatched))
		s.mine.bell.ring()
	}
}

// Unwatch: see [Stream.Watch].
func (s *Stream) Unwatch() {
	if s.enter() {
		s.in.head.idle.And(^uint32(idleWatched))
		s.leave()
	}
}

// Silence takes back that the bell was rung.
func (s *Stream) Silence() {
	if s.enter() {
		s.mine.bell.silence()
		s.leave()
	}
}

// WriteBuffers writes all of bufs, and waits for room for up to most: then the error is os.ErrDeadlineExceeded.
func (s *Stream) WriteBuffers(bufs [][]byte, most time.Duration) error {
	if !s.enter() {
		return os.ErrClosed
	}
	defer s.leave()
	if s.over() {
		return syscall.EPIPE
	}
	var until time.Time
	fresh := 0 // bytes that the reader does not know of
	for _, b := range bufs {
		for len(b) > 0 {
			n, err := s.out.put(b[:min(len(b), publishBytes)])
			if err != nil {
				return err
			}
			b, fresh = b[n:], fresh+n
			if fresh >= publishBytes || n == 0 {
				s.wake(s.out.publish())
				fresh = 0
			}
			if n == 0 {
				if until.IsZero() {
					until = time.Now().Add(most)
				}
				if err := s.awaitRoom(until); err != nil {
					return err
				}
			}
		}
	}
	s.wake(s.out.publish())
	return nil
}

// awaitRoom sleeps until the reader has taken something out.
func (s *Stream) awaitRoom(until time.Time) error {
	full := &s.out.head.full
	full.Store(1)
	defer full.Store(0)
	left := time.Until(until)
	switch {
	case s.uses.Load() >= closedStream:
		return os.ErrClosed
	case s.over():
		return syscall.EPIPE
	case left <= 0:
		return os.ErrDeadlineExceeded
	}
	if s.out.head.taken.Load() == s.out.seen {
		sleepOn(full, 1, min(left, maxSleep))
	}
	return nil
}

// maxSleep bounds one sleep of a writer, which the other process might not end.
const maxSleep = 20 * time.Millisecond

// Read waits until there is something to read.
func (s *Stream) Read(b []byte) (int, error) {
	for {
		n, err := s.TryRead(b)
		if n > 0 || err != nil || len(b) == 0 {
			return n, err
		}
		s.Await(maxSleep)
	}
}

// Write writes all of b, and waits for room as long as there is the other end.
func (s *Stream) Write(b []byte) (int, error) {
	if err := s.WriteBuffers([][]byte{b}, time.Hour); err != nil {
		return 0, err
	}
	return len(b), nil
}
