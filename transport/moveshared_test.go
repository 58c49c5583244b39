//go:build linux

package transport

import (
	"errors"
	"reflect"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/orrery-ai/orrery/device"
	"github.com/orrery-ai/orrery/transport/shm"
)

// TestLanesBehaveAlikeOverTCP runs tests of lanes with connections that stay what they are; elsewhere they share memory.
func TestLanesBehaveAlikeOverTCP(t *testing.T) {
	for _, test := range []func(*testing.T){
		TestMessagesArriveWholeAndInOrder, TestSendersOfOneLaneTakeTurns, TestSlowConsumerStopsOnlyItsWriter,
		TestWindowOfOneFrameSuffices, TestEndsMayDifferInFrameAndWindow, TestSenderCloseLetsTheReceiverFinish,
		TestReceiverCloseStopsTheSender, TestLaneWithoutFittingReceiverIsRefused,
		TestCountersCountMessagesAndBytes, TestCloseEndsEveryGoroutineAndWait,
		TestPeerThatClosesIsNamed, TestDropPeerFailsEverythingWithIt, TestReceiveDeadlineEndsTheLaneAtBothEnds,
		TestSendDeadlineEndsTheLaneAtBothEnds, TestZeroDeadlineMeansMaxWait, TestPeerThatComesBackReplacesItsOldConnection,
		TestWhoeverReadsTheConnectionEachGetsHisMessages, TestADeadlineEndsAWaitWhereverItIs, TestCloseEndsAWaitWhereverItIs,
	} {
		name := runtime.FuncForPC(reflect.ValueOf(test).Pointer()).Name()
		t.Run(name[strings.LastIndex(name, ".Test")+len(".Test"):], func(t *testing.T) {
			overTCP = true
			defer func() { overTCP = false }()
			test(t)
		})
	}
}

// moved says whether both ends of the connections from a to b go through shared memory.
func moved(t *testing.T, a, b *Endpoint, c class) bool {
	t.Helper()
	a.mu.Lock()
	out := a.out[linkKey{"b", c}].link
	a.mu.Unlock()
	b.mu.Lock()
	in := b.in[linkKey{"a", c}]
	b.mu.Unlock()
	_, x := out.sock.(*mapped)
	_, y := in.sock.(*mapped)
	if x != y {
		t.Errorf("at one end the connection has moved, at the other not")
	}
	return x
}

func TestConnectionsOfOneMachineMoveToSharedMemoryWhereBothEndsMay(t *testing.T) {
	for name, c := range map[string]struct {
		a, b Config
		want bool
	}{
		"fast":               {Config{Synch: Fast}, Config{Synch: Fast}, true},
		"safe":               {Config{Synch: Safe}, Config{Synch: Safe}, true},
		"one of each":        {Config{Synch: Safe}, Config{Synch: Fast}, true},
		"who dials may not":  {Config{NoSharedMemory: true}, Config{}, false},
		"who answers no":     {Config{}, Config{NoSharedMemory: true}, false},
		"dialled in its way": {Config{Dial: dialTCP}, Config{}, false},
	} {
		t.Run(name, func(t *testing.T) {
			a, log := endpoint(t, "a", c.a)
			b, _ := endpoint(t, "b", c.b)
			a.SetPeer("b", b.Addr())
			for _, p := range []Purpose{Query, KVMove} {
				s, r := lane(t, a, b, LaneKey{1, p}, 1<<20)
				want := randomBytes(uint64(p), 1<<20)
				if err := s.Send(soon(), want[:100], want[100:]); err != nil {
					t.Fatal(err)
				}
				if got, _ := receive(t, r); string(got) != string(want) {
					t.Error("the message changed on its way")
				}
				if got := moved(t, a, b, p.class()); got != c.want {
					t.Errorf("%s: it has moved: %v, want %v", p, got, c.want)
				}
			}
			if got := log.contains("connection through shared memory"); got != c.want {
				t.Errorf("it is logged: %v, want %v:\n%s", got, c.want, log.String())
			}
		})
	}
}

func TestConnectionsUnderTLSMoveToo(t *testing.T) {
	a, b := securePair(t, Config{})
	s, r := lane(t, a, b, LaneKey{1, Query}, 10)
	if err := s.Send(soon(), []byte("well")); err != nil {
		t.Fatal(err)
	}
	receive(t, r)
	if !moved(t, a, b, classSmall) {
		t.Error("they do not")
	}
}

// What the peer refuses, and what the system does, leaves the connection as it is, and the log says why, once.
func TestAConnectionWhoseMemoryIsRefusedStaysAndTheLogSaysWhy(t *testing.T) {
	rooms := streamRooms
	t.Cleanup(func() { streamRooms = rooms })
	a, log := endpoint(t, "a", Config{})
	b, _ := endpoint(t, "b", Config{})
	a.SetPeer("b", b.Addr())
	for _, c := range []class{classSmall, classBulk} {
		streamRooms[c].Out = 1 << 50 // no system has so much
	}
	for _, p := range []Purpose{Query, KVMove} {
		s, r := lane(t, a, b, LaneKey{1, p}, 10)
		if err := s.Send(soon(), []byte("well")); err != nil {
			t.Fatal(err)
		}
		receive(t, r)
		if moved(t, a, b, p.class()) {
			t.Error("it has moved")
		}
	}
	if n := strings.Count(log.String(), "connections to the node do not go through shared memory"); n != 1 {
		t.Errorf("that is logged %d times:\n%s", n, log.String())
	}
}

func TestAPeerThatSaysItHasMovedWithoutAskingIsRefused(t *testing.T) {
	b, log := endpoint(t, "b", Config{})
	for i, said := range []byte{moves, 7} {
		nc := stranger(t, b)
		h := goodHello()
		h.features = featureShared
		say(t, nc, h.append(nil))
		if answer, err := readHello(nc); err != nil || answer.features&featureShared == 0 {
			t.Fatalf("the answer is %+v, %v", answer, err)
		}
		say(t, nc, []byte{said})
		wantClosed(t, nc)
		eventually(t, "it is logged", func() bool { return strings.Count(log.String(), "where no stream was asked for") > i })
	}
	wantAlive(t, b)
}

// A stream is handed out once, and not after the peer has said what it does.
func TestAStreamIsHandedOutOnce(t *testing.T) {
	a, b := pair(t, Config{})
	s, r := lane(t, a, b, LaneKey{1, Query}, 10)
	if err := s.Send(soon(), []byte("well")); err != nil {
		t.Fatal(err)
	}
	receive(t, r)
	if got, err := shm.FetchStream(time.Now().Add(time.Second), *s.link.offer, nil, streamRooms[classSmall]); err == nil {
		got.Close()
		t.Error("it was handed out again")
	}
}

// The process at the other end was killed: the system closes its connection, and says nothing in the memory.
func TestAPeerThatEndsWithoutAWordIsNoticedByTheConnection(t *testing.T) {
	eachSynch(t, func(t *testing.T, synch Synch) {
		a, b := pair(t, Config{Synch: synch})
		key := LaneKey{1, Query}
		s, r := lane(t, a, b, key, 10)
		if err := s.Send(soon(), []byte("last")); err != nil {
			t.Fatal(err)
		}
		syscall.Shutdown(s.link.sock.(*mapped).fd, syscall.SHUT_RDWR)
		m, err := r.Receive(soon())
		if err != nil || string(m.Bytes) != "last" {
			t.Fatalf("what was sent before gives %v", err)
		}
		m.Release()
		_, err = r.Receive(soon())
		wantLost(t, err, "a", key)
		eventually(t, "the sender is told", func() bool { return s.Send(soon(), []byte("more")) != nil })
		wantLost(t, s.Send(soon(), nil), "b", key)
	})
}

// Counts that cannot be cost the connection, not the process.
func TestWrongCountsInTheMemoryOfAConnectionCostTheConnection(t *testing.T) {
	eachSynch(t, func(t *testing.T, synch Synch) {
		a, b := pair(t, Config{Synch: synch})
		key := LaneKey{1, Query}
		s, r := lane(t, a, b, key, 10)
		counts := s.link.sock.(*mapped).stream.Memory().Bytes() // before anything else, since the poller closes it
		if err := s.Send(soon(), []byte("well")); err != nil {
			t.Fatal(err)
		}
		receive(t, r)
		counts[7] = 0xff // of what was put in, the highest byte
		_, err := r.Receive(soon())
		wantLost(t, err, "a", key)
		if lost := new(ErrPeerLost); errors.As(err, &lost) && !strings.Contains(lost.Error(), "counts that cannot be") {
			t.Errorf("the error is %v", err)
		}
	})
}

func TestWaysSaysWhatIsUsedWithWhom(t *testing.T) {
	for want, c := range map[Over]Config{OverSharedMemory: {}, OverConnection: {NoSharedMemory: true}} {
		a, _ := endpoint(t, "a", Config{})
		b, _ := endpoint(t, "b", c)
		a.SetPeer("b", b.Addr())
		b.SetPeer("a", a.Addr())
		if ways := a.Ways(); len(ways) != 0 {
			t.Errorf("before there is a connection: %+v", ways)
		}
		lane(t, a, b, LaneKey{1, Query}, 10)
		memory := int64(0)
		check := func(e *Endpoint, peer string) {
			t.Helper()
			if ways := e.Ways(); len(ways) != 1 || ways[0] != (Way{Peer: peer, Over: want, Memory: memory}) {
				t.Errorf("node %s says %+v, want %s with %d bytes", e.c.Node, ways, want, memory)
			}
		}
		one := int64(streamRooms[classSmall].Bytes())
		if want == OverConnection {
			one = 0
		}
		memory = one
		check(a, "b")
		check(b, "a")
		lane(t, b, a, LaneKey{1, Partial}, 10)
		memory = 2 * one
		check(a, "b")
		check(b, "a")
	}
}

// The memory of lanes of devices counts at both ends.
func TestWaysCountsTheLanesOfDevices(t *testing.T) {
	a, b, x, y := parties(t, Config{Synch: Fast})
	once(t, x, y)
	want := int64(2*streamRooms[classSmall].Bytes() + 2*device.LaneBytes(sizes.Shared))
	for _, e := range []*Endpoint{a, b} {
		if ways := e.Ways(); len(ways) != 1 || ways[0].Memory != want {
			t.Errorf("node %s says %+v, want %d bytes", e.c.Node, ways, want)
		}
	}
}
