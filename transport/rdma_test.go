package transport

import (
	"crypto/tls"
	"errors"
	"net"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/orrery-ai/orrery/internal/standin"
	"github.com/orrery-ai/orrery/transport/rdma"
	"github.com/orrery-ai/orrery/transport/verbs"
)

// overRDMA makes the endpoints of a test use the stand-in for RDMA.
func overRDMA(t testing.TB) *standin.Fabric {
	t.Helper()
	f := standin.Start(t)
	fabric = f
	t.Cleanup(func() { fabric = nil })
	return f
}

// TestLanesBehaveAlikeOverRDMA runs tests of lanes and of actors with connections of the other kind.
func TestLanesBehaveAlikeOverRDMA(t *testing.T) {
	standin.Library(t)
	for _, test := range []func(*testing.T){
		TestMessagesArriveWholeAndInOrder, TestSendersOfOneLaneTakeTurns, TestSlowConsumerStopsOnlyItsWriter,
		TestWindowOfOneFrameSuffices, TestEndsMayDifferInFrameAndWindow, TestSenderCloseLetsTheReceiverFinish,
		TestReceiverCloseStopsTheSender, TestLaneWithoutFittingReceiverIsRefused, TestBadArgumentsAreErrors,
		TestCountersCountMessagesAndBytes, TestCloseEndsEveryGoroutineAndWait,
		TestPeerThatClosesIsNamed, TestDropPeerFailsEverythingWithIt, TestReceiveDeadlineEndsTheLaneAtBothEnds,
		TestSendDeadlineEndsTheLaneAtBothEnds, TestZeroDeadlineMeansMaxWait, TestPeerThatComesBackReplacesItsOldConnection,
		TestDiallerLearnsWhyItWasRefused, TestProtocolErrorsCostOnlyTheConnection, TestWindowIsEnforced,
	} {
		name := runtime.FuncForPC(reflect.ValueOf(test).Pointer()).Name()
		t.Run(name[strings.LastIndex(name, ".Test")+len(".Test"):], func(t *testing.T) {
			overRDMA(t)
			test(t)
		})
	}
}

func TestConnectionsMoveToRDMAAndSaySo(t *testing.T) {
	f := overRDMA(t)
	a, logA := endpoint(t, "a", Config{})
	b, logB := endpoint(t, "b", Config{})
	a.SetPeer("b", b.Addr())
	for i, p := range []Purpose{Query, KVMove} {
		s, r := lane(t, a, b, LaneKey{1, p}, 1<<20)
		want := randomBytes(1, 1<<20)
		if err := s.Send(soon(), want[:100], want[100:]); err != nil {
			t.Fatal(err)
		}
		if got, _ := receive(t, r); string(got) != string(want) {
			t.Error("message changed on its way")
		}
		if n := f.Get("qps"); n != 2*(i+1) {
			t.Errorf("%d connections have %d queue pairs at their ends", i+1, n)
		}
		if n := f.Get("mrs"); n != 2*(i+1) {
			t.Errorf("%d connections have %d registrations at their ends", i+1, n)
		}
	}
	for _, log := range []*logBook{logA, logB} {
		if !log.contains("connection over RDMA") || !log.contains("standin0 port 1, reliable connection") {
			t.Errorf("not logged: %s", log.String())
		}
	}
}

func TestFailedCompletionIsTheLossOfThePeerAndNamesTheStatus(t *testing.T) {
	f := overRDMA(t)
	a, b := pair(t, Config{})
	key := LaneKey{1, Hidden}
	s, r := lane(t, a, b, key, 10<<20)
	f.Set("fail_status", int(verbs.RetriesExhausted))
	f.Set("fail_send_in", 3)
	big := make([]byte, 10<<20)
	for range 2 {
		err := s.Send(soon(), big)
		wantLost(t, err, "b", key)
		var c *rdma.CompletionError
		if !errors.As(err, &c) || c.Status != verbs.RetriesExhausted || !strings.Contains(err.Error(), "retries exhausted") {
			t.Errorf("error is %v", err)
		}
	}
	_, err := r.Receive(soon())
	wantLost(t, err, "a", key)

	// A new lane over a fresh connection works.
	s, r = lane(t, a, b, LaneKey{2, Hidden}, 10)
	if err := s.Send(soon(), []byte("again")); err != nil {
		t.Error(err)
	}
	receive(t, r)
}

func TestWithoutRDMAAtOneEndLanesUseTCPAndTheLogSaysWhy(t *testing.T) {
	for why, set := range map[string]func(f *standin.Fabric, a, b *Config){
		"peer b does not offer it":   func(f *standin.Fabric, a, b *Config) { b.RDMA.Use = "off" },
		"/nonexistent.so: cannot op": func(f *standin.Fabric, a, b *Config) { a.RDMA.Library = "/nonexistent.so" },
		"no RDMA adapter":            func(f *standin.Fabric, a, b *Config) { f.Set("devices", 0) },
		"no port of standin0":        func(f *standin.Fabric, a, b *Config) { f.Set("port_down", 1) },
		"no active RDMA port has":    func(f *standin.Fabric, a, b *Config) { f.Set("no_address", 1) },
		"ibv_create_qp":              func(f *standin.Fabric, a, b *Config) { f.Set("fail_qp", 12) },
		"peer's adapter does not an": func(f *standin.Fabric, a, b *Config) { f.Set("unreachable", 1) },
	} {
		t.Run(why, func(t *testing.T) {
			f := overRDMA(t)
			ca := Config{RDMA: RDMA{Use: "auto", Library: f.Library}}
			cb := ca
			set(f, &ca, &cb)
			a, log := endpoint(t, "a", ca)
			b, _ := endpoint(t, "b", cb)
			a.SetPeer("b", b.Addr())
			for _, p := range []Purpose{Query, KVMove} {
				s, r := lane(t, a, b, LaneKey{1, p}, 10)
				if err := s.Send(soon(), []byte("well")); err != nil {
					t.Fatal(err)
				}
				receive(t, r)
			}
			if !log.contains(why) {
				t.Errorf("the log does not say why: %s", log.String())
			}
			if n := strings.Count(log.String(), "RDMA is not used"); n != 1 {
				t.Errorf("the log says it %d times", n)
			}
			if n := f.Get("qps"); n != 0 {
				t.Errorf("%d queue pairs are left", n)
			}
		})
	}
}

func TestNamedAdapterHasToBeThere(t *testing.T) {
	f := overRDMA(t)
	var none *rdma.NoDeviceError
	_, err := Listen("127.0.0.1:0", Config{Cluster: "c", Node: "n", RDMA: RDMA{Use: "mlx5_0", Library: f.Library}})
	if !errors.As(err, &none) || !strings.Contains(err.Error(), "standin0") {
		t.Errorf("error is %v", err)
	}
	e, err := Listen("127.0.0.1:0", Config{Cluster: "c", Node: "n", RDMA: RDMA{Use: "standin0", Library: f.Library}})
	if err != nil {
		t.Fatal(err)
	}
	e.Close()
}

func TestEncryptedConnectionsAreNotMovedUnlessAllowed(t *testing.T) {
	f := overRDMA(t)
	for _, allowed := range []bool{false, true} {
		e, log := endpoint(t, "a", Config{RDMA: RDMA{Use: "auto", Library: f.Library, Unencrypted: allowed}})
		x, y := net.Pipe()
		defer x.Close()
		defer y.Close()
		if e.features(x) != featureRDMA {
			t.Error("not offered on a connection in the clear")
		}
		nc := tls.Client(x, &tls.Config{ServerName: "b"})
		if offered := e.features(nc); (offered == featureRDMA) != allowed {
			t.Errorf("allowed %t: offers %b", allowed, offered)
		}
		if allowed {
			continue
		}
		same, err := e.upgrade(nc, "b", featureRDMA)
		if err != nil || same != nc {
			t.Errorf("upgraded to %v, %v", same, err)
		}
		if !log.contains("the connection is encrypted") {
			t.Error("not logged")
		}
	}
}

func TestConnectionsWithCertificatesStayWithTLSUnlessRDMAIsAllowed(t *testing.T) {
	f := overRDMA(t)
	for _, allowed := range []bool{false, true} {
		a, b := securePair(t, Config{RDMA: RDMA{Use: "auto", Library: f.Library, Unencrypted: allowed}})
		want := randomBytes(3, 1<<20)
		for i, p := range []Purpose{Query, KVMove} {
			s, r := lane(t, a, b, LaneKey{1, p}, len(want))
			if err := s.Send(soon(), want); err != nil {
				t.Fatal(err)
			}
			if got, _ := receive(t, r); string(got) != string(want) {
				t.Errorf("allowed %t: message changed on its way", allowed)
			}
			if n := f.Get("qps"); allowed && n != 2*(i+1) || !allowed && n != 0 {
				t.Errorf("allowed %t: %d connections have %d queue pairs", allowed, i+1, n)
			}
		}
		// Who a peer is still depends on its certificate.
		c, _ := endpoint(t, "c", Config{Identity: identity(t, authority(t, "test"), "c"), RDMA: a.c.RDMA})
		c.SetPeer("b", b.Addr())
		var refused *ErrRefused
		if _, err := c.Sender("b", LaneKey{2, Query}, 10); !errors.As(err, &refused) {
			t.Errorf("allowed %t: another authority's node gets %v", allowed, err)
		}
		a.Close()
		b.Close()
	}
}

// spinnable is a connection that remembers how long it was told to spin.
type spinnable struct {
	net.Conn
	spins []time.Duration
}

func (s *spinnable) SetSpin(d time.Duration, guard rdma.SpinGuard) { s.spins = append(s.spins, d) }

func TestSmallLinksOverRDMASpinWhileTheEndpointIsFast(t *testing.T) {
	for class, want := range map[class][]time.Duration{classSmall: {0, attendFor, 0}, classBulk: nil, classControl: nil} {
		e, _ := endpoint(t, "a", Config{Synch: Safe})
		near, far := net.Pipe()
		far.Close()
		nc := &spinnable{Conn: near}
		l := newInlink(e, "b", class, nc)
		if reason := e.admit(l); reason != "" {
			t.Fatal(reason)
		}
		l.serve() // until it finds that the peer has gone
		e.SetSynch(Fast)
		e.SetSynch(Safe)
		if !slices.Equal(nc.spins, want) {
			t.Errorf("a link of class %s spun for %v, want %v", class, nc.spins, want)
		}
	}
}

func TestStrangerWhoOffersRDMAIsHungUpOn(t *testing.T) {
	f := overRDMA(t)
	b, log := endpoint(t, "b", Config{})
	for _, words := range [][]byte{make([]byte, 100), nil} {
		nc := stranger(t, b)
		h := goodHello()
		h.features = featureRDMA
		say(t, nc, h.append(nil))
		if answer, err := readHello(nc); err != nil || answer.features != featureRDMA {
			t.Fatalf("%+v, %v", answer, err)
		}
		say(t, nc, words)
		nc.(*net.TCPConn).CloseWrite()
		wantClosed(t, nc)
	}
	eventually(t, "it is logged", func() bool { return log.contains("not an offer") && log.contains("reading the peer's offer") })
	eventually(t, "nothing is left", func() bool { return f.Get("qps") == 0 })
	wantAlive(t, b)
}
