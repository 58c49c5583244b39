package transport

import (
	"bytes"
	"cmp"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/orrery-ai/orrery/ca"
	"github.com/orrery-ai/orrery/internal/standin"
)

func TestMain(m *testing.M) {
	runtime.GOMAXPROCS(max(2, runtime.GOMAXPROCS(0))) // on one core nobody spins, and devices share no memory
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		standin.Clean()
		os.Exit(code)
	}))
}

// fabric makes the endpoints of a test use RDMA, if they do not say otherwise; see overRDMA.
var fabric *standin.Fabric

// overTCP has the connections of the endpoints of a test stay what they are, on which tests else share memory where there is some.
var overTCP bool

// eachSynch runs a test for each way to wait.
func eachSynch(t *testing.T, f func(t *testing.T, synch Synch)) {
	for _, synch := range []Synch{Safe, Fast} {
		t.Run(synch.String(), func(t *testing.T) { f(t, synch) })
	}
}

// logBook is where the endpoints of a test log to.
type logBook struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBook) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBook) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func (l *logBook) contains(s string) bool { return strings.Contains(l.String(), s) }

// endpoint starts one that ends with the test.
func endpoint(t testing.TB, node string, c Config) (*Endpoint, *logBook) {
	t.Helper()
	log := new(logBook)
	c.Node = node
	if c.Cluster == "" {
		c.Cluster = "test"
	}
	// None is up in a test that does not set it, however busy the machine.
	c.DialTimeout, c.WriteTimeout = cmp.Or(c.DialTimeout, patience), cmp.Or(c.WriteTimeout, patience)
	if fabric != nil && c.RDMA.Use == "" {
		c.RDMA = RDMA{Use: "auto", Library: fabric.Library}
	}
	if overTCP || c.RDMA.Use != "" {
		c.NoSharedMemory = true
	}
	c.Logger = slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	e, err := Listen("127.0.0.1:0", c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		e.Close()
		if log.contains("level=ERROR") {
			t.Errorf("node %s had an error of its own:\n%s", node, log.b.String())
		}
	})
	return e, log
}

// pair is two endpoints, a and b, that know each other.
func pair(t testing.TB, c Config) (a, b *Endpoint) {
	t.Helper()
	a, _ = endpoint(t, "a", c)
	b, _ = endpoint(t, "b", c)
	a.SetPeer("b", b.Addr())
	b.SetPeer("a", a.Addr())
	return a, b
}

// authority is that of a cluster.
func authority(t testing.TB, cluster string) *ca.Authority {
	t.Helper()
	a, err := ca.New(cluster, ca.Days(time.Now(), 100))
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// identity is a certificate for a node.
func identity(t testing.TB, a *ca.Authority, node string) *ca.Identity {
	t.Helper()
	id, err := a.Issue(node, ca.Days(time.Now(), 10))
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// securePair is two endpoints, a and b, that know each other and have certificates of one authority.
func securePair(t testing.TB, c Config) (a, b *Endpoint) {
	t.Helper()
	root := authority(t, "test")
	c.Identity = identity(t, root, "a")
	a, _ = endpoint(t, "a", c)
	c.Identity = identity(t, root, "b")
	b, _ = endpoint(t, "b", c)
	a.SetPeer("b", b.Addr())
	b.SetPeer("a", a.Addr())
	return a, b
}

// lane opens a lane between two endpoints, which may be the same.
func lane(t testing.TB, from, to *Endpoint, key LaneKey, size int) (*Sender, *Receiver) {
	t.Helper()
	r, err := to.Receiver(from.c.Node, key, size)
	if err != nil {
		t.Fatal(err)
	}
	s, err := from.Sender(to.c.Node, key, size)
	if err != nil {
		t.Fatal(err)
	}
	return s, r
}

// fill sends as many messages as the receiver holds, so that the next one, if it is of more frames than
// the window, waits until one is read.
func fill(t testing.TB, s *Sender) {
	t.Helper()
	for range messagesPerLane {
		if err := s.Send(soon(), []byte("kept")); err != nil {
			t.Fatal(err)
		}
	}
}

// patience is how long tests wait for what should come at once.
const patience = 30 * time.Second

// soon is a deadline that no sound test reaches.
func soon() time.Time { return time.Now().Add(patience) }

// eventually waits for something that must happen.
func eventually(t testing.TB, what string, f func() bool) {
	t.Helper()
	for end := soon(); !f(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("never happened: %s", what)
		}
	}
}

func randomBytes(seed uint64, n int) []byte {
	b := make([]byte, n)
	c := rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8)})
	c.Read(b)
	return b
}

// receive gets one message, releases it and returns its bytes and number.
func receive(t testing.TB, r *Receiver) ([]byte, uint64) {
	t.Helper()
	m, err := r.Receive(soon())
	if err != nil {
		t.Fatal(err)
	}
	defer m.Release()
	return bytes.Clone(m.Bytes), m.Seq
}

// cutAfter listens, forwards to addr, and breaks everything off when n bytes have gone there.
func cutAfter(t testing.TB, addr string, n int64) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	t.Cleanup(func() { ln.Close(); wg.Wait() })
	wg.Go(func() {
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
		wg.Go(func() { io.Copy(from, to) })
		io.CopyN(to, from, n)
	})
	return ln.Addr().String()
}
