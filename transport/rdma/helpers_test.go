package rdma

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/orrery-ai/orrery/internal/standin"
)

func TestMain(m *testing.M) {
	if os.Getenv(childVariable) != "" {
		child()
		return
	}
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		standin.Clean()
		os.Exit(code)
	}))
}

// soon is a deadline that no sound test reaches.
func soon() time.Time { return time.Now().Add(20 * time.Second) }

// provider opens the stand-in, until the end of the test.
func provider(t testing.TB, f *standin.Fabric) *Provider {
	t.Helper()
	p, err := Open(Options{Library: f.Library})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
	return p
}

// tcpPair is a connection over loopback.
func tcpPair(t testing.TB) (x, y net.Conn) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	if x, err = net.Dial("tcp", ln.Addr().String()); err != nil {
		t.Fatal(err)
	}
	if y, err = ln.Accept(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { x.Close(); y.Close() })
	return x, y
}

// upgrade upgrades both ends of a connection of a and b.
func upgrade(p, q *Provider, x, y net.Conn) (a, b *Conn, errA, errB error) {
	var wg sync.WaitGroup
	wg.Go(func() { a, errA = p.Upgrade(x, "b", soon()) })
	b, errB = q.Upgrade(y, "a", soon())
	wg.Wait()
	return a, b, errA, errB
}

// connect connects a and b, until the end of the test.
func connect(t testing.TB, p, q *Provider) (a, b *Conn) {
	t.Helper()
	x, y := tcpPair(t)
	a, b, errA, errB := upgrade(p, q, x, y)
	if err := errors.Join(errA, errB); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.Close(); b.Close() })
	return a, b
}

// kinds are the ways in which connections differ.
var kinds = map[string]func(*standin.Fabric, *Provider){
	"reliable": func(*standin.Fabric, *Provider) {},
	"without channels": func(f *standin.Fabric, _ *Provider) {
		f.Set("fail_channel", 95)
	},
	"thunderbolt": func(f *standin.Fabric, p *Provider) {
		f.Set("thunderbolt", 1)
		p.profile = thunderbolt
	},
	"late completions": func(f *standin.Fabric, p *Provider) {
		f.Set("delay_us", 100)
	},
}

// overKinds runs a test with a connection of each kind, safe and fast.
func overKinds(t *testing.T, test func(t *testing.T, f *standin.Fabric, a, b *Conn)) {
	for name, set := range kinds {
		for mode, spin := range map[string]time.Duration{"safe": 0, "fast": 50 * time.Microsecond} {
			t.Run(name+", "+mode, func(t *testing.T) {
				f := standin.Start(t)
				p := provider(t, f)
				set(f, p)
				a, b := connect(t, p, p)
				a.SetSpin(spin, freely{})
				b.SetSpin(spin, freely{})
				test(t, f, a, b)
			})
		}
	}
}

func send(t testing.TB, c *Conn, b []byte) {
	t.Helper()
	c.SetWriteDeadline(soon())
	if _, err := c.Write(b); err != nil {
		t.Fatal(err)
	}
}

func want(t testing.TB, c *Conn, b []byte) {
	t.Helper()
	c.SetReadDeadline(soon())
	got := make([]byte, len(b))
	if _, err := io.ReadFull(c, got); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, b) {
		t.Fatalf("%d bytes came changed", len(b))
	}
}

// eventually waits for something that must happen.
func eventually(t testing.TB, what string, f func() bool) {
	t.Helper()
	for end := soon(); !f(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("never happened: %s", what)
		}
	}
}

// soonest is a deadline that a test waits for.
func soonest() time.Time { return time.Now().Add(50 * time.Millisecond) }

// freely lets calls poll as long as they like.
type freely struct{}

func (freely) MaySpin(_, _ time.Time) bool { return true }
