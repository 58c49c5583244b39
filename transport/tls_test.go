package transport

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/orrery-ai/orrery/ca"
)

func TestMessagesCrossTLSWhole(t *testing.T) {
	a, b := securePair(t, Config{})
	const most = 300_000
	for _, purpose := range []Purpose{Step, KVMove} {
		s, r := lane(t, a, b, LaneKey{1, purpose}, most)
		body := randomBytes(3, most)
		for i, n := range []int{0, 1, headerBytes, recordBytes - headerBytes - 1, recordBytes - headerBytes, recordBytes - headerBytes + 1,
			recordBytes, 3 * recordBytes, 64<<10 - headerBytes, 64 << 10, 4*recordBytes + 1, most} {
			if err := s.Send(soon(), body[:n/3], body[n/3:n/3], body[n/3:n/2], body[n/2:n]); err != nil {
				t.Fatal(err)
			}
			if got, seq := receive(t, r); !bytes.Equal(got, body[:n]) || seq != uint64(i) {
				t.Fatalf("%s: message %d of %d bytes came as message %d of %d", purpose, i, n, seq, len(got))
			}
		}
	}
}

func TestActorsAnswerUnderTLS(t *testing.T) {
	a, b := securePair(t, Config{})
	sa, sb := attach(t, a), attach(t, b)
	spawn(t, b, sb, "echo", echo)
	if got, err := ask(sa, actor.NewPID("b", "echo"), "hello"); err != nil || got != "hello from b" {
		t.Errorf("got %q, %v", got, err)
	}
}

func TestFramesFillTheirRecords(t *testing.T) {
	for n := MinFrame; n <= MaxFrame; n += 997 {
		got := wholeRecords(n, headerBytes)
		switch {
		case got > n:
			t.Fatalf("%d became %d", n, got)
		case n < recordBytes && got != n:
			t.Fatalf("%d, which is less than a record, became %d", n, got)
		case n >= recordBytes && ((got+headerBytes)%recordBytes != 0 || n-got >= recordBytes):
			t.Fatalf("%d became %d, which does not fill records, or leaves one out", n, got)
		}
	}
}

// issued is a certificate that is valid from one day to another, counted from today.
func issued(t testing.TB, a *ca.Authority, node string, from, until int) *ca.Identity {
	t.Helper()
	id, err := a.Issue(node, ca.Period{From: time.Now().AddDate(0, 0, from), Until: time.Now().AddDate(0, 0, until)})
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// oldAuthority is that of a cluster which has been there for a while.
func oldAuthority(t testing.TB, cluster string) *ca.Authority {
	t.Helper()
	a, err := ca.New(cluster, ca.Period{From: time.Now().AddDate(-1, 0, 0), Until: time.Now().AddDate(1, 0, 0)})
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func TestAPeerWithoutAGoodCertificateIsRefusedOnBothSides(t *testing.T) {
	ours, foreign := oldAuthority(t, "test"), oldAuthority(t, "test")
	elsewhere := oldAuthority(t, "elsewhere")
	good := func(node string) *ca.Identity { return issued(t, ours, node, -1, 1) }
	for name, c := range map[string]struct {
		dialler, accepter  *ca.Identity
		cluster            string // of the dialler
		dialled            string // node, if not b
		toDialler, toOther string // what each logs
	}{
		"another authority": {
			dialler: issued(t, foreign, "a", -1, 1), accepter: good("b"),
			toDialler: "the peer's certificate is not good: that of b of cluster test, from another authority",
			toOther:   "the peer turned down this node's certificate",
		},
		"another cluster": {
			dialler: issued(t, elsewhere, "a", -1, 1), accepter: good("b"), cluster: "elsewhere",
			toDialler: "the peer's certificate is not good: that of b of cluster test, from another authority",
			toOther:   "the peer turned down this node's certificate",
		},
		"another authority, which trusts ours": {
			dialler: trusting(t, foreign, "a", ours), accepter: good("b"),
			toDialler: "the peer turned down this node's certificate: it does not trust the authority",
			toOther:   "the peer's certificate is not good: that of a of cluster test, from another authority",
		},
		"expired": {
			dialler: issued(t, ours, "a", -9, -1), accepter: good("b"),
			toDialler: "the peer turned down this node's certificate: it has expired",
			toOther:   "the peer's certificate is not good: that of a of cluster test, expired on",
		},
		"not yet valid": {
			dialler: issued(t, ours, "a", 1, 9), accepter: good("b"),
			toDialler: "the peer turned down this node's certificate: it has expired, or the clocks differ",
			toOther:   "the peer's certificate is not good: that of a of cluster test, not valid before",
		},
		"the other's has expired": {
			dialler: good("a"), accepter: issued(t, ours, "b", -9, -1),
			toDialler: "the peer's certificate is not good: that of b of cluster test, expired on",
			toOther:   "the peer turned down this node's certificate",
		},
		"the dialler has none": {
			accepter:  good("b"),
			toDialler: "this node talks TLS alone: issue a certificate with orrery ca issue",
			toOther:   "it talks without TLS: it has no certificate",
		},
		"the other has none": {
			dialler:   good("a"),
			toDialler: "the peer does not talk TLS: it has no certificate",
			toOther:   "a TLS handshake, and this node has no certificate",
		},
		"another node answers": {
			dialler: good("a"), accepter: good("b"), dialled: "c",
			toDialler: "the certificate is of b of cluster test, not of c of cluster test",
			toOther:   "the certificate is of b of cluster test, not of c of cluster test",
		},
	} {
		t.Run(name, func(t *testing.T) {
			b, logB := endpoint(t, "b", Config{Identity: c.accepter})
			a, logA := endpoint(t, "a", Config{Identity: c.dialler, Cluster: c.cluster})
			dialled := "b"
			if c.dialled != "" {
				dialled = c.dialled
			}
			a.SetPeer(dialled, b.Addr())
			_, err := a.Sender(dialled, LaneKey{1, Step}, 1)
			var refused *ErrRefused
			if !errors.As(err, &refused) || refused.Peer != dialled || !strings.Contains(refused.Reason, c.toDialler) {
				t.Errorf("the dialler's error is %v, want a refusal with %q", err, c.toDialler)
			}
			if !logA.contains(c.toDialler) {
				t.Errorf("the dialler did not log %q: %s", c.toDialler, logA)
			}
			eventually(t, "the other logs "+c.toOther, func() bool { return logB.contains(c.toOther) })
			b.mu.Lock()
			defer b.mu.Unlock()
			if len(b.in) > 0 {
				t.Error("there is a connection")
			}
		})
	}
}

// trusting is the identity of a node whose own authority is a, and that trusts another one too.
func trusting(t testing.TB, a *ca.Authority, node string, other *ca.Authority) *ca.Identity {
	t.Helper()
	id, err := a.Issue(node, ca.Days(time.Now(), 1), other)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// tlsStranger is a TLS connection to an endpoint, made by hand.
func tlsStranger(t *testing.T, e *Endpoint, config *tls.Config) *tls.Conn {
	t.Helper()
	nc := tls.Client(stranger(t, e), config)
	if err := nc.Handshake(); err != nil {
		t.Fatal(err)
	}
	return nc
}

func TestTLSWithoutACertificateIsRefused(t *testing.T) {
	root := authority(t, "test")
	b, log := endpoint(t, "b", Config{Identity: identity(t, root, "b")})
	client := newSecurity(identity(t, root, "a")).client
	client.GetClientCertificate = nil
	nc := tlsStranger(t, b, client)
	say(t, nc, goodHello().append(nil))
	if _, err := readHello(nc); err == nil || !strings.Contains(err.Error(), "certificate required") {
		t.Errorf("error is %v", err)
	}
	eventually(t, "it is logged", func() bool { return log.contains("the peer has no certificate") })
}

func TestOlderTLSIsRefused(t *testing.T) {
	root := authority(t, "test")
	b, log := endpoint(t, "b", Config{Identity: identity(t, root, "b")})
	client := newSecurity(identity(t, root, "a")).client
	client.MinVersion, client.MaxVersion = tls.VersionTLS12, tls.VersionTLS12
	if err := tls.Client(stranger(t, b), client).Handshake(); err == nil {
		t.Error("TLS 1.2 passes")
	}
	eventually(t, "it is logged", func() bool { return log.contains("unsupported versions") })
}

// A node of the cluster may not pass for another one, in either direction.
func TestACertificateDoesNotPassForAnothersName(t *testing.T) {
	root := authority(t, "test")
	b, log := endpoint(t, "b", Config{Identity: identity(t, root, "b")})
	mallory := newSecurity(identity(t, root, "mallory"))

	nc := tlsStranger(t, b, mallory.client)
	say(t, nc, goodHello().append(nil)) // in the name of a
	const reason = "the certificate is of mallory of cluster test, not of a of cluster test"
	if answer, err := readHello(nc); err != nil || answer.kind != helloRefuse || answer.reason != reason {
		t.Errorf("answer is %+v, %v", answer, err)
	}
	eventually(t, "it is logged", func() bool { return log.contains(reason) })

	ln, err := tls.Listen("tcp", "127.0.0.1:0", mallory.server)
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	heard := make(chan hello, 1)
	go func() {
		nc, err := ln.Accept()
		if err != nil {
			return
		}
		defer nc.Close()
		h, _ := readHello(nc)
		heard <- h
		h.kind, h.from, h.to = helloAccept, "a", "b"
		nc.Write(h.append(nil))
	}()
	b.SetPeer("a", ln.Addr().String())
	_, err = b.Sender("a", LaneKey{1, Step}, 1)
	var refused *ErrRefused
	if !errors.As(err, &refused) || !strings.Contains(refused.Reason, reason) {
		t.Errorf("error is %v", err)
	}
	if h := <-heard; h.kind != helloRefuse || h.reason != reason {
		t.Errorf("mallory was told %+v", h)
	}
}

func TestSessionsOfANodeMayConnectInItsName(t *testing.T) {
	root := authority(t, "test")
	b, _ := endpoint(t, "b", Config{Identity: identity(t, root, "b")})
	laptop := identity(t, root, "laptop")
	for _, name := range []string{"laptop", laptop.Name().Session(), laptop.Name().Session()} {
		a, _ := endpoint(t, name, Config{Identity: laptop})
		a.SetPeer("b", b.Addr())
		b.SetPeer(name, a.Addr())
		there, r := lane(t, a, b, LaneKey{1, Step}, 10)
		if err := there.Send(soon(), []byte("well")); err != nil {
			t.Error(err)
		}
		receive(t, r)
		lane(t, b, a, LaneKey{1, Result}, 10)
	}
}

func TestAnIdentityOfAnotherNodeIsNotConfigured(t *testing.T) {
	id := identity(t, authority(t, "test"), "a")
	for _, c := range []Config{
		{Cluster: "test", Node: "b", Identity: id},
		{Cluster: "other", Node: "a", Identity: id},
		{Cluster: "test", Node: "a", Identity: new(ca.Identity)},
	} {
		if e, err := Listen("127.0.0.1:0", c); err == nil {
			e.Close()
			t.Errorf("%s of cluster %s with the certificate of %s", c.Node, c.Cluster, c.Identity.Name())
		}
	}
}

func TestProtocolErrorsUnderTLSCostOnlyTheConnection(t *testing.T) {
	root := authority(t, "test")
	b, log := endpoint(t, "b", Config{Identity: identity(t, root, "b")})
	nc := tlsStranger(t, b, newSecurity(identity(t, root, "a")).client)
	say(t, nc, goodHello().append(nil))
	if answer, err := readHello(nc); err != nil || answer.kind != helloAccept {
		t.Fatalf("answer is %+v, %v", answer, err)
	}
	say(t, nc, randomBytes(2, 5000))
	wantClosed(t, nc)
	eventually(t, "it is logged", func() bool { return log.contains("protocol error") })

	a, _ := endpoint(t, "honest", Config{Identity: identity(t, root, "honest")})
	a.SetPeer("b", b.Addr())
	s, r := lane(t, a, b, LaneKey{1, Step}, 10)
	if err := s.Send(soon(), []byte("well")); err != nil {
		t.Error(err)
	}
	receive(t, r)
}

func TestWhatIsNeitherHelloNorTLSIsHungUpOn(t *testing.T) {
	b, log := endpoint(t, "b", Config{DialTimeout: 100 * time.Millisecond, Identity: identity(t, authority(t, "test"), "b")})
	hello := goodHello().append(nil)
	for name, words := range map[string][]byte{
		"garbage":          randomBytes(1, 1000),
		"http":             []byte("GET / HTTP/1.1\r\nHost: b\r\n\r\n"),
		"a cut hello":      hello[:20],
		"a cut magic":      hello[:2],
		"a cut TLS record": {0x16, 3, 1, 2, 0, 1},
		"an odd record":    append([]byte{0x16, 3, 1, 2, 0}, randomBytes(5, 512)...),
		"nothing":          nil,
	} {
		nc := stranger(t, b)
		say(t, nc, words)
		wantClosed(t, nc)
		if !log.contains("connection without a good hello") {
			t.Errorf("%s: not logged", name)
		}
	}
}

func TestHandshakesThatStallAreBounded(t *testing.T) {
	b, log := endpoint(t, "b", Config{MaxHandshakes: 2, DialTimeout: time.Hour, Identity: identity(t, authority(t, "test"), "b")})
	for range 2 {
		say(t, stranger(t, b), []byte{0x16, 3, 1, 2, 0, 1}) // the begin of a record
	}
	eventually(t, "both wait for the rest", func() bool { return len(b.handshakes) == 2 })
	wantClosed(t, stranger(t, b))
	if !log.contains("too many connections without a hello") {
		t.Error("not logged")
	}
}

// flip forwards to addr and changes the n-th byte on its way there.
func flip(t testing.TB, addr string, n int64) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	t.Cleanup(func() { ln.Close(); <-done })
	go func() {
		defer close(done)
		from, err := ln.Accept()
		if err != nil {
			return
		}
		defer from.Close()
		to, err := net.Dial("tcp", addr)
		if err != nil {
			return
		}
		defer to.Close()
		back := make(chan struct{})
		go func() { defer close(back); io.Copy(from, to); from.Close() }()
		io.CopyN(to, from, n)
		var b [1]byte
		if _, err := io.ReadFull(from, b[:]); err == nil {
			to.Write([]byte{b[0] ^ 1})
			io.Copy(to, from)
		}
		to.Close()
		<-back
	}()
	return ln.Addr().String()
}

func TestAFlippedBitIsNeverDelivered(t *testing.T) {
	a, b := securePair(t, Config{NoSharedMemory: true})
	a.SetPeer("b", flip(t, b.Addr(), 100_000))
	s, r := lane(t, a, b, LaneKey{1, KVMove}, 30_000)
	body := randomBytes(4, 30_000)
	go func() {
		for s.Send(soon(), body) == nil {
		}
	}()
	for n := 0; ; n++ {
		m, err := r.Next()
		if err != nil {
			wantLost(t, err, "a", LaneKey{1, KVMove})
			if !strings.Contains(err.Error(), "bad record MAC") {
				t.Errorf("after %d messages: %v", n, err)
			}
			return
		}
		if !bytes.Equal(m.Bytes, body) {
			t.Fatalf("message %d was changed on its way", n)
		}
		m.Release()
	}
}

func TestConnectionsOfAPeerAreBoundedHoweverManyItMakes(t *testing.T) {
	root := authority(t, "test")
	b, _ := endpoint(t, "b", Config{Identity: identity(t, root, "b")})
	client := newSecurity(identity(t, root, "a")).client
	var last net.Conn
	for i := range 30 {
		h := goodHello()
		h.class = classControl + class(i%3)
		nc := tlsStranger(t, b, client)
		say(t, nc, h.append(nil))
		if answer, err := readHello(nc); err != nil || answer.kind != helloAccept {
			t.Fatalf("connection %d: %+v, %v", i, answer, err)
		}
		b.mu.Lock()
		n := len(b.in)
		b.mu.Unlock()
		if n > int(numClasses)-1 {
			t.Fatalf("%d connections of one peer", n)
		}
		if i >= 27 {
			last = nc
			continue
		}
		t.Cleanup(func() { wantClosed(t, nc) }) // another of its class has taken its place
	}
	last.Close()
}

func TestLanesOfAConnectionAreBounded(t *testing.T) {
	a, b := pair(t, Config{MaxLanes: 3})
	senders := make([]*Sender, 0, 3)
	for i := range uint64(4) {
		if _, err := b.Receiver("a", LaneKey{i, Step}, 10); err != nil {
			t.Fatal(err)
		}
		s, err := a.Sender("b", LaneKey{i, Step}, 10)
		if i < 3 {
			if err != nil {
				t.Fatal(err)
			}
			senders = append(senders, s)
			continue
		}
		var none *ErrNoReceiver
		if !errors.As(err, &none) || !strings.Contains(none.Reason, "has 3 lanes already") {
			t.Errorf("lane %d: %v", i, err)
		}
	}
	senders[0].Close()
	if _, err := b.Receiver("a", LaneKey{9, Step}, 10); err != nil {
		t.Fatal(err)
	}
	if _, err := a.Sender("b", LaneKey{9, Step}, 10); err != nil {
		t.Errorf("in the place of one that was closed: %v", err)
	}
	if err := senders[1].Send(soon(), []byte("well")); err != nil {
		t.Errorf("the others: %v", err)
	}
}

func TestStrangersCannotFloodTheLog(t *testing.T) {
	b, log := endpoint(t, "b", Config{})
	for range 3 * strangersLines {
		nc := stranger(t, b)
		say(t, nc, []byte("GET / HTTP/1.1\r\n"))
		wantClosed(t, nc)
	}
	if n := strings.Count(log.String(), "without a good hello"); n != strangersLines {
		t.Errorf("%d lines, want %d", n, strangersLines)
	}
}
