package transport

import (
	"errors"
	"net"
	"sync"
	"testing"
	"time"
)

func past() time.Time { return time.Now().Add(-time.Second) }

func isNoReceiver(err error) bool {
	var e *ErrNoReceiver
	return errors.As(err, &e)
}

// wantLost checks that err says which peer was lost, on which lane.
func wantLost(t *testing.T, err error, node string, key LaneKey) {
	t.Helper()
	var lost *ErrPeerLost
	if !errors.As(err, &lost) || lost.Node != node || lost.Lane != key {
		t.Errorf("error is %v, want the loss of peer %s on lane %s", err, node, key)
	}
}

func TestConnectionCutInAMessageIsAnErrorOnBothSides(t *testing.T) {
	eachSynch(t, func(t *testing.T, synch Synch) {
		a, _ := endpoint(t, "a", Config{Synch: synch, NoSharedMemory: true})
		b, _ := endpoint(t, "b", Config{Synch: synch, NoSharedMemory: true})
		a.SetPeer("b", cutAfter(t, b.Addr(), 300_000))
		lost := make(chan string, 2)
		a.OnPeerLost(func(node string, err error) { lost <- "a lost " + node })
		b.OnPeerLost(func(node string, err error) { lost <- "b lost " + node })
		key := LaneKey{1, Hidden}
		s, r := lane(t, a, b, key, 10<<20)
		var wg sync.WaitGroup
		wg.Go(func() {
			for range 2 {
				wantLost(t, s.Send(soon(), make([]byte, 10<<20)), "b", key)
			}
		})
		for range 2 {
			_, err := r.Receive(soon())
			wantLost(t, err, "a", key)
		}
		wg.Wait()
		if x, y := <-lost, <-lost; x == y || x != "a lost b" && y != "a lost b" {
			t.Errorf("hints are %q and %q", x, y)
		}

		// A new lane over a fresh connection works.
		a.SetPeer("b", b.Addr())
		s, r = lane(t, a, b, LaneKey{2, Hidden}, 10)
		if err := s.Send(soon(), []byte("again")); err != nil {
			t.Error(err)
		}
		receive(t, r)
		r.Close()
		if _, err := b.Receiver("a", key, 1); err == nil {
			t.Error("a lost lane's receiver was replaced without being closed")
		}
	})
}

func TestPeerThatClosesIsNamed(t *testing.T) {
	eachSynch(t, func(t *testing.T, synch Synch) {
		a, b := pair(t, Config{Synch: synch})
		key := LaneKey{1, KVMove}
		s, _ := lane(t, a, b, key, 10<<20)
		fill(t, s)
		_, r := lane(t, b, a, key, 10)
		var wg sync.WaitGroup
		wg.Go(func() { wantLost(t, s.Send(soon(), make([]byte, 10<<20)), "b", key) })
		wg.Go(func() {
			_, err := r.Next()
			wantLost(t, err, "b", key)
		})
		eventually(t, "the message is under way", func() bool { return s.credits.Load() == 0 })
		b.Close()
		wg.Wait()
		_, err := a.Sender("b", LaneKey{2, Step}, 1)
		wantLost(t, err, "b", LaneKey{2, Step})
	})
}

func TestDropPeerFailsEverythingWithIt(t *testing.T) {
	eachSynch(t, func(t *testing.T, synch Synch) {
		a, b := pair(t, Config{Synch: synch})
		c, _ := endpoint(t, "c", Config{Synch: synch})
		a.SetPeer("c", c.Addr())
		key := LaneKey{1, Step}
		toB, fromA := lane(t, a, b, key, 10<<20)
		fill(t, toB)
		_, fromB := lane(t, b, a, key, 10)
		unopened, err := a.Receiver("b", LaneKey{2, Query}, 10)
		if err != nil {
			t.Fatal(err)
		}
		toC, atC := lane(t, a, c, key, 10)

		reason := errors.New("membership says so")
		var wg sync.WaitGroup
		for _, r := range []*Receiver{fromB, unopened} {
			wg.Go(func() {
				_, err := r.Next()
				wantLost(t, err, "b", r.key)
				if !errors.Is(err, reason) {
					t.Errorf("cause is lost in %v", err)
				}
			})
		}
		wg.Go(func() {
			err := toB.Send(soon(), make([]byte, 10<<20))
			wantLost(t, err, "b", key)
			if !errors.Is(err, reason) {
				t.Errorf("cause is lost in %v", err)
			}
		})
		eventually(t, "the message is under way", func() bool { return toB.credits.Load() == 0 })
		a.DropPeer("b", reason)
		wg.Wait()
		for range messagesPerLane {
			receive(t, fromA) // what was whole can still be had
		}
		_, err = fromA.Next()
		wantLost(t, err, "a", key)
		if _, err := a.Sender("b", LaneKey{3, Step}, 1); err == nil {
			t.Error("dialled a peer that was dropped")
		}
		if err := toC.Send(soon(), []byte("well")); err != nil {
			t.Errorf("lane with another peer: %v", err)
		}
		receive(t, atC)
	})
}

func TestReceiveDeadlineEndsTheLaneAtBothEnds(t *testing.T) {
	eachSynch(t, func(t *testing.T, synch Synch) {
		a, b := pair(t, Config{Synch: synch})
		key := LaneKey{1, Partial}
		s, r := lane(t, a, b, key, 10)
		if err := s.Send(soon(), []byte("first")); err != nil {
			t.Fatal(err)
		}
		receive(t, r)
		for range 2 {
			_, err := r.Receive(past())
			var timeout *ErrTimeout
			if !errors.As(err, &timeout) || *timeout != (ErrTimeout{"a", key, 1}) {
				t.Fatalf("error is %v, want a timeout for message 1", err)
			}
		}
		eventually(t, "the sender learns that its receiver gave up", func() bool {
			return isNoReceiver(s.Send(soon(), []byte("late")))
		})
	})
}

func TestSendDeadlineEndsTheLaneAtBothEnds(t *testing.T) {
	eachSynch(t, func(t *testing.T, synch Synch) {
		a, b := pair(t, Config{Synch: synch})
		key := LaneKey{1, Partial}
		s, r := lane(t, a, b, key, 10<<20)
		fill(t, s)
		for range 2 {
			err := s.Send(time.Now().Add(50*time.Millisecond), make([]byte, 10<<20))
			var timeout *ErrTimeout
			if !errors.As(err, &timeout) || *timeout != (ErrTimeout{"b", key, 2}) {
				t.Fatalf("error is %v, want a timeout for message 2", err)
			}
		}
		for range messagesPerLane {
			receive(t, r)
		}
		_, err := r.Receive(soon())
		wantLost(t, err, "a", key)

		other, others := lane(t, a, b, LaneKey{2, Partial}, 10)
		if err := other.Send(soon(), []byte("well")); err != nil {
			t.Errorf("another lane of the connection: %v", err)
		}
		receive(t, others)
	})
}

func TestZeroDeadlineMeansMaxWait(t *testing.T) {
	eachSynch(t, func(t *testing.T, synch Synch) {
		a, b := pair(t, Config{Synch: synch, MaxWait: 50 * time.Millisecond})
		var timeout *ErrTimeout
		s, _ := lane(t, a, b, LaneKey{1, Step}, 10<<20)
		fill(t, s)
		if err := s.Send(time.Time{}, make([]byte, 10<<20)); !errors.As(err, &timeout) {
			t.Errorf("Send: %v", err)
		}
		_, r := lane(t, a, b, LaneKey{2, Step}, 10)
		if _, err := r.Receive(time.Time{}); !errors.As(err, &timeout) {
			t.Errorf("Receive: %v", err)
		}
	})
}

// frozen is a listener that takes connections and never says a word.
func frozen(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	return ln.Addr().String()
}

func TestFrozenPeerEndsTheDial(t *testing.T) {
	eachSynch(t, func(t *testing.T, synch Synch) {
		a, _ := endpoint(t, "a", Config{Synch: synch, DialTimeout: 50 * time.Millisecond})
		a.SetPeer("b", frozen(t))
		var wg sync.WaitGroup
		for model := range uint64(3) { // they share the attempt
			wg.Go(func() {
				key := LaneKey{model, Step}
				_, err := a.Sender("b", key, 1)
				wantLost(t, err, "b", key)
			})
		}
		wg.Wait()
	})
}

func TestCloseEndsADial(t *testing.T) {
	eachSynch(t, func(t *testing.T, synch Synch) {
		a, _ := endpoint(t, "a", Config{Synch: synch, DialTimeout: time.Hour})
		a.SetPeer("b", frozen(t))
		var wg sync.WaitGroup
		wg.Go(func() {
			if _, err := a.Sender("b", LaneKey{1, Step}, 1); err == nil {
				t.Error("a lane to a frozen peer")
			}
		})
		eventually(t, "the dial begins", func() bool {
			a.mu.Lock()
			defer a.mu.Unlock()
			return len(a.out) == 1
		})
		a.Close()
		wg.Wait()
	})
}

func TestPeerThatComesBackReplacesItsOldConnection(t *testing.T) {
	eachSynch(t, func(t *testing.T, synch Synch) {
		a, b := pair(t, Config{Synch: synch})
		_, r := lane(t, a, b, LaneKey{1, Step}, 10)
		reborn, _ := endpoint(t, "a", Config{Synch: synch})
		reborn.SetPeer("b", b.Addr())
		s, fresh := lane(t, reborn, b, LaneKey{2, Step}, 10)
		_, err := r.Next()
		wantLost(t, err, "a", LaneKey{1, Step})
		if err := s.Send(soon(), []byte("new")); err != nil {
			t.Error(err)
		}
		receive(t, fresh)
	})
}

// slowToClose is a connection that takes its time to close.
type slowToClose struct {
	net.Conn
	may chan struct{}
}

func (c slowToClose) Close() error { <-c.may; return nil }

func TestClosingAConnectionHoldsUpNobodyElse(t *testing.T) {
	e, _ := endpoint(t, "a", Config{})
	l := newInlink(e, "b", classSmall, slowToClose{may: make(chan struct{})})
	cause := errors.New("broken")
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() { l.fail(cause, false) })
	}
	eventually(t, "the cause is known while the connection closes", func() bool { return l.failure() == cause })
	select {
	case <-l.failed:
		t.Error("it has ended before it was closed")
	default:
	}
	close(l.nc.(slowToClose).may)
	wg.Wait()
	<-l.failed
}
