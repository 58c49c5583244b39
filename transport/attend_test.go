package transport

import (
	"bytes"
	"errors"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Lanes that share a connection, waited for by as many goroutines, some of them often and some seldom: at
// any time another one reads the connection, or the poller, or nobody.
func TestWhoeverReadsTheConnectionEachGetsHisMessages(t *testing.T) {
	connect := map[string]func(testing.TB, Config) (a, b *Endpoint){"plain": pair, "tls": securePair}
	for name, connect := range connect {
		t.Run(name, func(t *testing.T) {
			eachSynch(t, func(t *testing.T, synch Synch) {
				a, b := connect(t, Config{Synch: synch})
				exchangeOnManyLanes(t, a, b, func() {})
			})
			t.Run("changing", func(t *testing.T) {
				a, b := connect(t, Config{})
				exchangeOnManyLanes(t, a, b, func() {
					a.SetSynch(Safe + Synch(rand.IntN(2)))
					b.SetSynch(Safe + Synch(rand.IntN(2)))
				})
			})
		})
	}
}

func exchangeOnManyLanes(t *testing.T, a, b *Endpoint, between func()) {
	var wg sync.WaitGroup
	for model := range uint64(6) {
		there, receiver := lane(t, a, b, LaneKey{model, Query}, 200_000)
		back, answers := lane(t, b, a, LaneKey{model, Partial}, 200_000)
		wg.Go(func() {
			for {
				m, err := receiver.Next()
				if err != nil {
					return
				}
				if err := back.Send(soon(), m.Bytes); err != nil {
					t.Error(err)
				}
				m.Release()
			}
		})
		wg.Go(func() {
			defer receiver.Close()
			pause := attendFor / 2 * time.Duration(model) // from none to longer than anybody attends
			for i := range 40 {
				want := randomBytes(model<<8|uint64(i), rand.IntN(100)*rand.IntN(1000))
				if err := there.Send(soon(), want); err != nil {
					t.Error(err)
					return
				}
				if got, _ := receive(t, answers); !bytes.Equal(got, want) {
					t.Errorf("lane %d: message %d of %d bytes came back as %d", model, i, len(want), len(got))
				}
				between()
				time.Sleep(pause)
			}
		})
	}
	wg.Wait()
}

func TestADeadlineEndsAWaitWhereverItIs(t *testing.T) {
	eachSynch(t, func(t *testing.T, synch Synch) {
		a, b := pair(t, Config{Synch: synch})
		for model, wait := range []time.Duration{-time.Second, 0, attendFor / 2, 3 * attendFor} { // while attending, and after
			key := LaneKey{uint64(model), Partial}
			_, r := lane(t, a, b, key, 10)
			_, err := r.Receive(time.Now().Add(wait))
			var timeout *ErrTimeout
			if !errors.As(err, &timeout) || *timeout != (ErrTimeout{"a", key, 0}) {
				t.Errorf("after %s: %v", wait, err)
			}
		}
	})
}

func TestALateReceiveStillGetsWhatHasCome(t *testing.T) {
	eachSynch(t, func(t *testing.T, synch Synch) {
		a, b := pair(t, Config{Synch: synch, NoSharedMemory: true})
		s, r := lane(t, a, b, LaneKey{1, Partial}, 10)
		for range 20 {
			if err := s.Send(soon(), []byte("here")); err != nil {
				t.Fatal(err)
			}
			eventually(t, "it is there", func() bool {
				l := r.link.Load()
				return r.satisfied() || l.sock.(*socket).await(1, 0)
			})
			m, err := r.Receive(past())
			if err != nil {
				t.Fatal(err)
			}
			m.Release()
		}
	})
}

func TestCloseEndsAWaitWhereverItIs(t *testing.T) {
	eachSynch(t, func(t *testing.T, synch Synch) {
		for _, end := range []func(a, b *Endpoint, r *Receiver){
			func(_, _ *Endpoint, r *Receiver) { r.Close() },
			func(a, _ *Endpoint, _ *Receiver) { a.Close() },
			func(_, b *Endpoint, _ *Receiver) { b.Close() },
			func(_, b *Endpoint, _ *Receiver) { b.DropPeer("a", errors.New("dead")) },
		} {
			a, b := pair(t, Config{Synch: synch})
			_, r := lane(t, a, b, LaneKey{1, Query}, 10)
			done := make(chan error)
			go func() {
				_, err := r.Receive(soon())
				done <- err
			}()
			eventually(t, "somebody waits", func() bool {
				l := r.link.Load()
				l.at.mu.Lock()
				defer l.at.mu.Unlock()
				return l.at.last > 0 || l.at.parked.Load() > 0
			})
			end(a, b, r)
			if err := <-done; err == nil || errors.As(err, new(*ErrTimeout)) {
				t.Errorf("error is %v", err)
			}
		}
	})
}

func TestWhoSpinsReadsWhatOthersWaitForAndMakesRoomForThem(t *testing.T) {
	a, b := pair(t, Config{Synch: Safe, NoSharedMemory: true})
	s, r := lane(t, a, b, LaneKey{1, Query}, 10)
	done := make(chan error)
	go func() {
		m, err := r.Receive(soon())
		if err == nil {
			m.Release()
		}
		done <- err
	}()
	eventually(t, "somebody waits who does not attend", func() bool { return r.parked.Load() })
	l := r.link.Load()
	// As if the poller had no processor to run on: it does not learn of what comes.
	l.at.mu.Lock()
	err := l.poller.set.set(l.sock.(*socket).fd, watchNothing)
	l.at.mu.Unlock()
	if err != nil {
		t.Fatal(err)
	}
	turn := b.turn.Load()
	if err := s.Send(soon(), []byte("query")); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the message has come", func() bool { return l.sock.(*socket).await(1, 0) })
	l.poller.glance()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if b.turn.Load() == turn {
		t.Error("who spins is not told that somebody else has something to do")
	}
}

func TestAPollerThatBreaksEndsTheWaitsThatItWouldHaveEnded(t *testing.T) {
	a, _ := endpoint(t, "a", Config{})
	b, err := Listen("127.0.0.1:0", Config{Cluster: "test", Node: "b", Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	a.SetPeer("b", b.Addr())
	_, r := lane(t, a, b, LaneKey{1, Query}, 10)
	done := make(chan error, 1)
	go func() {
		_, err := r.Next()
		done <- err
	}()
	eventually(t, "somebody waits who does not attend", func() bool { return r.parked.Load() })
	b.pollers[classSmall].set.stop()
	select {
	case err := <-done:
		var lost *ErrPeerLost
		if !errors.As(err, &lost) || lost.Node != "a" || !strings.Contains(err.Error(), "waiting for messages") {
			t.Errorf("error is %v", err)
		}
	case <-time.After(time.Until(soon())):
		t.Error("the wait goes on, and nobody reads the connection")
	}
}

// dribble gives what is on the tape in pieces of all sizes, with nothing to read in between.
type dribble struct {
	tape []byte
	r    *rand.Rand
}

func (d *dribble) Read(b []byte) (int, error) {
	if d.r.IntN(2) == 0 {
		return 0, errNotYet
	}
	if len(d.tape) == 0 {
		return 0, io.EOF
	}
	n := copy(b, d.tape[:min(len(d.tape), 1+d.r.IntN(1+d.r.IntN(3000)))])
	d.tape = d.tape[n:]
	return n, nil
}

// collector takes frames in.
type collector struct {
	frames [][]byte
	drop   bool // every second payload
}

func (c *collector) begin(h header) ([]byte, error) {
	c.frames = append(c.frames, nil)
	if n := len(c.frames); !c.drop || n%2 == 0 {
		c.frames[n-1] = make([]byte, h.length)
	}
	return c.frames[len(c.frames)-1], nil
}

func (c *collector) end(header) error { return nil }
func (c *collector) dry() error       { return nil }

func TestReadingFramesMayStopAnywhere(t *testing.T) {
	for seed := range uint64(200) {
		r := rand.New(rand.NewPCG(seed, 1))
		var want [][]byte
		var tape []byte
		for i := range 20 {
			b := randomBytes(seed+uint64(i), r.IntN(1+r.IntN(5000)))
			want = append(want, b)
			tape = append(tape, frame(header{kind: frameData, lane: 1, total: 5000}, b)...)
		}
		c := &collector{drop: seed%2 == 1}
		f := frameReader{src: &dribble{tape, r}, limit: 5000, head: headerBytes, buf: make([]byte, headerBytes+r.IntN(2000))}
		err := error(errNotYet)
		for err == nil || err == errNotYet {
			err = f.next(c)
		}
		if err != errHangup || len(c.frames) != len(want) {
			t.Fatalf("%d frames of %d, then %v", len(c.frames), len(want), err)
		}
		for i, b := range c.frames {
			if b != nil && !bytes.Equal(b, want[i]) {
				t.Fatalf("frame %d changed", i)
			}
		}
	}
}

func TestPausesOfSpinningDoubleWhileTheyDoNotHelp(t *testing.T) {
	var now time.Time
	g := spinGuard{began: now}
	if !g.maySpin(now) {
		t.Fatal("does not begin by spinning")
	}
	for want := minPause; want < 4*maxPause; want *= 2 {
		g.stopped(now)
		want := min(want, maxPause)
		if g.maySpin(now.Add(want-1)) || !g.maySpin(now.Add(want)) {
			t.Fatalf("a pause of %s, want %s", g.pause, want)
		}
		g.stopped(now) // another thread, which does not count
		now = now.Add(want)
	}
	now = now.Add(5 * maxPause)
	g.stopped(now)
	if !g.maySpin(now.Add(minPause)) {
		t.Errorf("after a long time without harm, a pause of %s", g.pause)
	}
}

// sockets is both ends of a connection, the first one detached.
func sockets(t *testing.T) (*socket, net.Conn) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	x, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	y, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	s := &socket{Conn: x}
	if err := s.detach(20 * time.Second); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close(); y.Close() })
	return s, y
}

func TestADetachedSocketWritesAllOrEndsAtItsDeadline(t *testing.T) {
	s, peer := sockets(t)
	want := randomBytes(1, 20<<20) // more than the kernel takes at once
	done := make(chan error)
	go func() {
		if _, err := s.Write(want[:10<<20]); err != nil {
			done <- err
			return
		}
		done <- s.writev(&net.Buffers{want[10<<20 : 11<<20], nil, want[11<<20:]})
	}()
	got := make([]byte, len(want))
	if _, err := io.ReadFull(peer, got); err != nil || !bytes.Equal(got, want) {
		t.Fatalf("what was written came otherwise, %v", err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	s.most = 20 * time.Millisecond
	if _, err := s.Write(want); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("a write that nobody reads: %v", err)
	}
	if err := s.writev(&net.Buffers{want}); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("once more: %v", err)
	}
}

func TestADetachedSocketReadsWithoutWaiting(t *testing.T) {
	s, peer := sockets(t)
	b := make([]byte, 10)
	if n, err := s.Read(b); n != 0 || err != errNotYet {
		t.Errorf("read %d bytes of nothing, %v", n, err)
	}
	if s.await(1, time.Millisecond) {
		t.Error("nothing is there, and it is ready")
	}
	if _, err := peer.Write([]byte("words")); err != nil {
		t.Fatal(err)
	}
	if !s.await(1, 20*time.Second) {
		t.Error("the peer wrote, and it is not ready")
	}
	s.quiet = true
	if n, err := s.Read(b); n != 0 || err != errNotYet {
		t.Errorf("a quiet socket read %d bytes, %v", n, err)
	}
	s.quiet = false
	if n, err := s.Read(b); string(b[:n]) != "words" || err != nil {
		t.Errorf("read %q, %v", b[:n], err)
	}
	if n, err := s.Read(b); n != 0 || err != errNotYet {
		t.Errorf("read %d bytes after the last, %v", n, err)
	}
	peer.Close()
	s.await(1, 20*time.Second)
	s.drained = false
	if _, err := s.Read(b); err != io.EOF {
		t.Errorf("after the end: %v", err)
	}
}

func TestClosingASocketEndsEveryUseOfIt(t *testing.T) {
	s, _ := sockets(t)
	var wg sync.WaitGroup
	var begun atomic.Int32
	wg.Go(func() {
		begun.Add(1)
		s.await(1, -1)
	})
	wg.Go(func() {
		begun.Add(1)
		if _, err := s.Write(make([]byte, 50<<20)); err == nil {
			t.Error("wrote to nobody")
		}
	})
	for range 2 {
		wg.Go(func() {
			begun.Add(1)
			b := make([]byte, 1)
			for {
				if _, err := s.Read(b); err != errNotYet {
					return
				}
			}
		})
	}
	eventually(t, "all are at it", func() bool { return begun.Load() == 4 })
	s.Close()
	s.Close()
	wg.Wait()
	if _, err := s.Read(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Read after Close: %v", err)
	}
	if _, err := s.Write([]byte{1}); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Write after Close: %v", err)
	}
	if !s.released.Load() {
		t.Error("the descriptor is still open")
	}
}

func TestAWaitThatReadsLosesNothing(t *testing.T) {
	s, peer := sockets(t)
	s.stageReads(100)
	want := randomBytes(1, 100_000)
	go func() {
		for rest := want; len(rest) > 0; {
			n := min(len(rest), 1+len(rest)%317)
			peer.Write(rest[:n])
			rest = rest[n:]
		}
		peer.Close()
	}()
	r := rand.New(rand.NewPCG(1, 2))
	var got []byte
	for {
		s.await(unix.POLLIN, 20*time.Second)
		s.quiet, s.drained = r.IntN(4) == 0, false // then nothing more is taken, and what was taken is given all the same
		for {
			var n int
			var err error
			b := make([]byte, 60)
			if r.IntN(2) == 0 {
				n, err = s.Read(b)
			} else {
				n, err = s.readv([][]byte{b[:7], b[7:]})
			}
			got = append(got, b[:n]...)
			if err == io.EOF {
				if !bytes.Equal(got, want) {
					t.Errorf("%d bytes of %d came, or others", len(got), len(want))
				}
				return
			}
			if err == errNotYet {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
		}
	}
}

func TestAWaitThatReadsKeepsTheError(t *testing.T) {
	s, peer := sockets(t)
	s.stageReads(100)
	if s.stage == nil {
		t.Skip("waits and reads are two system calls here")
	}
	if err := peer.(*net.TCPConn).SetLinger(0); err != nil {
		t.Fatal(err)
	}
	peer.Close() // which resets the connection
	if !s.await(unix.POLLIN, 20*time.Second) || !s.await(unix.POLLIN, 0) {
		t.Error("nothing to read")
	}
	for range 2 {
		if _, err := s.Read(make([]byte, 10)); !errors.Is(err, unix.ECONNRESET) {
			t.Errorf("reading gives %v, want that the connection was reset", err)
		}
		if _, err := s.readv([][]byte{make([]byte, 10)}); !errors.Is(err, unix.ECONNRESET) {
			t.Errorf("reading into pieces gives %v, want that the connection was reset", err)
		}
	}
}
