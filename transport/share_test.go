//go:build linux

package transport

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/orrery-ai/orrery/device"
	"github.com/orrery-ai/orrery/transport/shm"
)

// shares says whether the messages of both parties go through shared memory.
func shares(x, y *party) bool {
	for _, p := range []*party{x, y} {
		if !p.outbox.Shared() || !p.inbox.Shared() {
			return false
		}
	}
	return true
}

// once has two parties exchange a message and its answer.
func once(t *testing.T, x, y *party) {
	t.Helper()
	x.send()
	x.receive(soon())
	y.receive(soon())
	y.send()
	x.seq, y.seq = x.seq+1, y.seq+1
	if err := errors.Join(x.stream.Wait(), y.stream.Wait()); err != nil {
		t.Fatal(err)
	}
}

func TestDevicesShareMemoryWhereBothEndsMay(t *testing.T) {
	for name, c := range map[string]struct {
		a, b Config
		want bool
	}{
		"both spin":                 {Config{Synch: Fast}, Config{Synch: Fast}, true},
		"one does not spin":         {Config{Synch: Fast}, Config{Synch: Safe}, false},
		"one may not":               {Config{Synch: Fast}, Config{Synch: Fast, NoSharedMemory: true}, false},
		"neither spins":             {Config{Synch: Safe}, Config{Synch: Safe}, false},
		"one dials in its own way":  {Config{Synch: Fast}, Config{Synch: Fast, Dial: dialTCP}, false},
		"frames have other lengths": {Config{Synch: Fast, FrameBytes: MinFrame}, Config{Synch: Fast}, true},
	} {
		t.Run(name, func(t *testing.T) {
			a, log := endpoint(t, "a", c.a)
			b, _ := endpoint(t, "b", c.b)
			a.SetPeer("b", b.Addr())
			b.SetPeer("a", a.Addr())
			x, y := between(t, a, b)
			once(t, x, y)
			if got := shares(x, y); got != c.want {
				t.Errorf("memory is shared: %v, want %v", got, c.want)
			}
			if got := log.contains("devices exchange through shared memory"); got != c.want {
				t.Errorf("it is logged: %v, want %v", got, c.want)
			}
		})
	}
}

func TestDevicesShareMemoryUnderTLS(t *testing.T) {
	a, b := securePair(t, Config{Synch: Fast})
	x, y := between(t, a, b)
	once(t, x, y)
	if !shares(x, y) {
		t.Error("they do not")
	}
}

// Counters tell of messages that no host has seen.
func TestMessagesInSharedMemoryAreCountedAsToldAndOthersOnce(t *testing.T) {
	eachPath(t, func(t *testing.T, c Config) {
		a, b, x, y := parties(t, c)
		once(t, x, y)
		x.outbox.Passed(1, 4*vector)
		y.inbox.Passed(1, 4*vector)
		want := Traffic{MessagesOut: 1, BytesOut: 4 * vector}
		if got := a.Counters()[Query]; got != want {
			t.Errorf("the sender counts %+v, want %+v", got, want)
		}
		want = Traffic{MessagesIn: 1, BytesIn: 4 * vector}
		if got := b.Counters()[Query]; got != want {
			t.Errorf("the receiver counts %+v, want %+v", got, want)
		}
	})
}

func TestADeviceThatCannotUseSharedMemoryExchangesOverConnections(t *testing.T) {
	for name, which := range map[string]int{"the sender's": 0, "the receiver's": 1} {
		t.Run(name, func(t *testing.T) {
			a, _ := endpoint(t, "a", Config{Synch: Fast})
			b, log := endpoint(t, "b", Config{Synch: Fast})
			a.SetPeer("b", b.Addr())
			b.SetPeer("a", a.Addr())
			x, y := newParty(t, a, "b", LaneKey{1, Partial}), &party{stream: newEmulated(t), sum: device.NewTensor(1, vector), on: device.NewTensor(1, vector)}
			made := 0
			picky := func(out bool) MakeLane {
				return func(size int, memory []byte, free func()) (*device.Lane, error) {
					if memory != nil && out == (which == 0) {
						made++
						return nil, errors.New("cannot be registered")
					}
					return y.maker(out)(size, memory, free)
				}
			}
			var err error
			if y.inbox, err = b.Inbox("a", LaneKey{1, Query}, sizes, picky(false)); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(y.inbox.Close)
			y.in = y.inbox.Lane()
			x.open(t, a, "b", LaneKey{1, Query})
			if y.outbox, err = b.Outbox("a", LaneKey{1, Partial}, sizes, picky(true)); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(y.outbox.Close)
			y.out = y.outbox.Lane()
			once(t, x, y)
			if made != 1 || strings.Count(log.String(), "cannot be registered") != 1 {
				t.Errorf("it was tried %d times, and logged so:\n%s", made, log.String())
			}
		})
	}
}

func TestAMessageOverTheConnectionOfALaneInSharedMemoryIsAnError(t *testing.T) {
	_, b, x, y := parties(t, Config{Synch: Fast})
	once(t, x, y)
	x.outbox.s.Send(soon(), make([]byte, 8)) // whether or not it goes out, the peer must not take it
	y.receive(soon())
	if err := y.stream.Wait(); err == nil || !strings.Contains(err.Error(), "a") || !errors.Is(err, ErrProtocol) {
		t.Errorf("the error of %s is %v", b.c.Node, err)
	}
}

// What the other process has written into the memory is not believed further than a message is.
func TestWrongWordsInSharedMemoryDoNoHarm(t *testing.T) {
	_, _, x, y := parties(t, Config{Synch: Fast})
	once(t, x, y)
	y.in.Words.Bytes[1].Store(1 << 31) // a message longer than its slot
	y.in.Words.Ready.Store(2)
	y.receive(soon())
	var wrong *device.LengthError
	if err := y.stream.Wait(); !errors.As(err, &wrong) || wrong.Have != 1<<31 {
		t.Errorf("the error is %v", err)
	}
}

func TestMemoryIsHandedOutToThePeerOfTheLaneAlone(t *testing.T) {
	a, b := pair(t, Config{Synch: Fast})
	x := newParty(t, b, "a", LaneKey{1, Query})
	other, _ := endpoint(t, "c", Config{Synch: Fast})
	other.SetPeer("b", b.Addr())
	ask := func(e *Endpoint, key LaneKey, size int) error {
		t.Helper()
		l, err := e.connect("b", classSmall)
		if err != nil {
			t.Fatal(err)
		}
		m, err := shm.Fetch(time.Now().Add(time.Second), *l.offer, open{key: key, max: uint32(size)}.append(nil), device.LaneBytes(size))
		if err == nil {
			m.Close()
		}
		return err
	}
	if err := ask(other, LaneKey{1, Query}, sizes.Shared); err == nil {
		t.Error("another node was given it")
	}
	if err := ask(a, LaneKey{2, Query}, sizes.Shared); err == nil {
		t.Error("that of a lane that there is not was given")
	}
	if err := ask(a, LaneKey{1, Query}, sizes.Sent); err == nil {
		t.Error("that for messages of another size was given")
	}
	if err := ask(a, LaneKey{1, Query}, sizes.Shared); err != nil {
		t.Error(err)
	}
	x.inbox.Close()
	if err := ask(a, LaneKey{1, Query}, sizes.Shared); err == nil {
		t.Error("that of a lane that has ended was given")
	}
	l, err := a.connect("b", classSmall)
	if err != nil {
		t.Fatal(err)
	}
	a.DropPeer("b", errors.New("dead"))
	eventually(t, "what was offered over a connection ends with it", func() bool {
		b.mu.Lock()
		defer b.mu.Unlock()
		return b.offers[l.offer.Ask] == nil
	})
}
