package cluster

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/memberlist"
	"go.uber.org/goleak"
	"golang.org/x/sync/errgroup"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const patience = 30 * time.Second // for what must happen; far above what it takes

var quiet = slog.New(slog.NewTextHandler(io.Discard, nil))

func config(name string) Config {
	return Config{
		Name: name, Cluster: "test", Bind: "127.0.0.1:0", Logger: quiet,
		Self: Node{Transport: name + ":7000", Memory: 1 << 30, Bandwidth: 1e9, Cores: 2, Device: "cpu", Version: "1"},
	}
}

// open starts a node that is closed with the test.
func open(t *testing.T, c Config) *Membership {
	t.Helper()
	return opened(t)(Start(c))
}

func opened(t *testing.T) func(*Membership, error) *Membership {
	return func(m *Membership, err error) *Membership {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := m.Close(); err != nil {
				t.Error(err)
			}
		})
		return m
	}
}

func join(t *testing.T, m, seed *Membership) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := m.Join(ctx, []string{m.Addr(), seed.Addr()}); err != nil {
		t.Fatal(err)
	}
}

// expect reads the next event.
func expect(t *testing.T, m *Membership, kind EventKind, name string) Node {
	t.Helper()
	select {
	case e, open := <-m.Events():
		if !open {
			t.Fatalf("%s: events ended, want %s %s", m.name, name, kind)
		}
		if e.Kind != kind || e.Node.Name != name {
			t.Fatalf("%s: %s %s, want %s %s", m.name, e.Node.Name, e.Kind, name, kind)
		}
		return e.Node
	case <-time.After(patience):
		t.Fatalf("%s: no event, want %s %s", m.name, name, kind)
	}
	return Node{}
}

func names(m *Membership) string {
	var s []string
	for _, n := range m.Nodes() {
		s = append(s, n.Name)
	}
	return strings.Join(s, " ")
}

// three opens a, b and c, which have all seen each other.
func three(t *testing.T) (a, b, c *Membership) {
	t.Helper()
	a, b = open(t, config("a")), open(t, config("b"))
	join(t, b, a)
	expect(t, a, Joined, "b")
	expect(t, b, Joined, "a")
	c = open(t, config("c"))
	join(t, c, a)
	expect(t, a, Joined, "c")
	expect(t, b, Joined, "c")
	got := []string{next(t, c), next(t, c)}
	slices.Sort(got)
	if fmt.Sprint(got) != "[joined a joined b]" {
		t.Fatalf("c was told %v", got)
	}
	return a, b, c
}

func next(t *testing.T, m *Membership) string {
	t.Helper()
	select {
	case e := <-m.Events():
		return e.Kind.String() + " " + e.Node.Name
	case <-time.After(patience):
		t.Fatalf("%s: no event", m.name)
	}
	return ""
}

func TestMembersSeeEachOtherAndWhatTheyOffer(t *testing.T) {
	t.Parallel()
	a, b, c := three(t)
	for _, m := range []*Membership{a, b, c} {
		if got := names(m); got != "a b c" {
			t.Errorf("%s sees %q", m.name, got)
		}
	}
	want := config("c").Self
	want.Name, want.Gossip = "c", c.Addr()
	if got := a.Nodes()[2]; got != want {
		t.Errorf("a sees c as %+v, want %+v", got, want)
	}
	if got := c.Self(); got != want {
		t.Errorf("c sees itself as %+v, want %+v", got, want)
	}
}

func TestAKilledNodeIsLostAndALeavingOneHasLeft(t *testing.T) {
	t.Parallel()
	a, b, c := three(t)
	if err := c.Leave(patience); err != nil {
		t.Fatal(err)
	}
	c.Close()
	expect(t, a, Left, "c")
	expect(t, b, Left, "c")
	b.Close()
	expect(t, a, Lost, "b")
	if got := names(a); got != "a" {
		t.Errorf("a sees %q", got)
	}
	if err := b.Leave(time.Second); !errors.Is(err, errClosed) {
		t.Errorf("leaving after Close: %v", err)
	}
}

func TestNodesThatLeaveTogetherDoNotWaitForEachOther(t *testing.T) {
	t.Parallel()
	a, b, c := three(t)
	var g errgroup.Group
	for _, m := range []*Membership{a, b, c} {
		g.Go(func() error { return errors.Join(m.Leave(patience), m.Close()) })
	}
	if err := g.Wait(); err != nil {
		t.Error(err)
	}
}

func TestALeavingNodeMayComeBackAtAnotherAddress(t *testing.T) {
	t.Parallel()
	a, _, c := three(t)
	if err := c.Leave(patience); err != nil {
		t.Fatal(err)
	}
	c.Close()
	expect(t, a, Left, "c")
	again := open(t, config("c"))
	join(t, again, a)
	if got := expect(t, a, Joined, "c"); got.Gossip != again.Addr() {
		t.Errorf("c is at %s, want %s", got.Gossip, again.Addr())
	}
}

func TestACrashedNodeMayComeBackWithoutWaitingToBeMissed(t *testing.T) {
	t.Parallel()
	a, _, c := three(t)
	c.Close()
	again := open(t, config("c"))
	join(t, again, a)
	expect(t, a, Lost, "c")
	if got := expect(t, a, Joined, "c"); got.Gossip != again.Addr() {
		t.Errorf("c is at %s, want %s", got.Gossip, again.Addr())
	}
}

func TestUpdatesAreGossiped(t *testing.T) {
	t.Parallel()
	a, b, c := three(t)
	err := c.Update(func(n *Node) { n.Memory, n.Name = 5, "other" })
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range []*Membership{a, b} {
		if got := expect(t, m, Updated, "c"); got.Memory != 5 {
			t.Errorf("%s was told %d bytes, want 5", m.name, got.Memory)
		}
	}
	before := c.Self()
	if err := c.Update(func(n *Node) { n.Device = strings.Repeat("x", 600) }); err == nil {
		t.Error("600 bytes of device were accepted")
	}
	if c.Self() != before {
		t.Error("a refused update changed the node")
	}
}

// recorder keeps log lines.
type recorder struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (r *recorder) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.b.Write(p)
}

func (r *recorder) count(s string) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return strings.Count(r.b.String(), s)
}

func TestStrangersAreRefusedAndToldWhy(t *testing.T) {
	key1, key2 := [][]byte{bytes.Repeat([]byte{1}, 32)}, [][]byte{bytes.Repeat([]byte{2}, 32)}
	cases := []struct {
		name     string
		seedKeys [][]byte
		stranger func(*Config)
		want     error
		says     string
		logs     string // what the seed logs, with the stranger's address or name
	}{
		{"AnotherCluster", nil, func(c *Config) { c.Cluster = "prod" }, ErrCluster, `"test", here "prod"`, "node stranger at"},
		{"AnotherKey", key1, func(c *Config) { c.Keys = key2 }, ErrKey, "the seed has another key", "peer refused: gossip keys do not match: it has another key from=127.0.0.1"},
		{"NoKey", key1, func(c *Config) { c.Keys = nil }, ErrKey, "the seed has a key and this node has none", "peer refused: gossip keys do not match: it has none from=127.0.0.1"},
		{"NeedlessKey", nil, func(c *Config) { c.Keys = key2 }, ErrKey, "this node has a key and the seed has none", "peer refused: gossip keys do not match: it has a key and this node has none from=127.0.0.1"},
		{"TakenName", nil, func(c *Config) { c.Name = "seed" }, ErrNameTaken, "node seed at 127.0.0.1", "node seed at"},
	}
	for _, k := range cases {
		t.Run(k.name, func(t *testing.T) {
			t.Parallel()
			var lines recorder
			c := config("seed")
			c.Keys = k.seedKeys
			c.Logger = slog.New(slog.NewTextHandler(&lines, nil))
			seed := open(t, c)
			c = config("stranger")
			k.stranger(&c)
			stranger := open(t, c)
			err := stranger.Join(t.Context(), []string{seed.Addr()})
			var failed *JoinError
			if !errors.Is(err, k.want) || !errors.As(err, &failed) {
				t.Fatalf("Join says %v, want %v", err, k.want)
			}
			if failed.Seeds[0].Seed != seed.Addr() || !strings.Contains(err.Error(), k.says) || strings.Contains(err.Error(), "\n") {
				t.Errorf("Join says %q, want seed %s and %q in one line", err, seed.Addr(), k.says)
			}
			for deadline := time.Now().Add(patience); lines.count(k.logs) == 0; time.Sleep(5 * time.Millisecond) {
				if time.Now().After(deadline) {
					t.Fatalf("the seed logged no %q:\n%s", k.logs, &lines.b)
				}
			}
			if len(seed.Nodes()) != 1 || len(stranger.Nodes()) != 1 {
				t.Errorf("seed sees %s, stranger sees %s", names(seed), names(stranger))
			}
		})
	}
}

func TestAClusterPassesFromOneKeyToAnotherWhileItRuns(t *testing.T) {
	t.Parallel()
	old, next := bytes.Repeat([]byte{1}, 32), bytes.Repeat([]byte{2}, 32)
	keyed := func(name string, keys ...[]byte) *Membership {
		c := config(name)
		c.Keys = keys
		return open(t, c)
	}
	before, first, second, after := keyed("before", old), keyed("first", old, next), keyed("second", next, old), keyed("after", next)
	join(t, first, before)
	join(t, second, first)
	expect(t, first, Joined, "before")
	expect(t, first, Joined, "second")
	if err := after.Join(t.Context(), []string{before.Addr()}); !errors.Is(err, ErrKey) {
		t.Errorf("the two ends of the way understand each other: %v", err)
	}
	join(t, after, second)
}

func TestAnotherProtocolIsRefused(t *testing.T) {
	t.Parallel()
	m := open(t, config("a"))
	old := meta{Protocol + 1, "test", Node{}}
	packed, err := old.encode()
	if err != nil {
		t.Fatal(err)
	}
	peer := memberlist.Node{Name: "new", Addr: net.IPv4(127, 0, 0, 1), Port: 1, Meta: packed}
	if err := (admission{m}).NotifyAlive(&peer); !errors.Is(err, ErrProtocol) {
		t.Errorf("alive: %v", err)
	}
	if err := (admission{m}).NotifyMerge([]*memberlist.Node{&peer}); !errors.Is(err, ErrProtocol) {
		t.Errorf("merge: %v", err)
	}
}

func TestJoinNamesTheSeedsThatDidNotAnswer(t *testing.T) {
	t.Parallel()
	m := open(t, config("a"))
	gone, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	gone.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	err = m.Join(ctx, []string{gone.Addr().String(), "no-port"})
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Join says %v, want the deadline", err)
	}
	for _, s := range []string{gone.Addr().String(), "no-port"} {
		if !strings.Contains(fmt.Sprint(err), "seed "+s+": ") {
			t.Errorf("Join says %v, want seed %s", err, s)
		}
	}
	if err := m.Join(t.Context(), []string{"no-port"}); err == nil {
		t.Error("a seed without a port was joined")
	}
}

// patient makes memberlist find no death by itself.
func patient(c *memberlist.Config) { c.ProbeInterval, c.PushPullInterval = time.Hour, 0 }

func TestAHintFindsADeathWithoutWaitingForTheGossip(t *testing.T) {
	t.Parallel()
	a := opened(t)(start(config("a"), patient))
	b := opened(t)(start(config("b"), patient))
	join(t, b, a)
	expect(t, a, Joined, "b")
	b.Close()
	a.Hint("b")
	a.Hint("b")
	a.Hint("nobody")
	expect(t, a, Lost, "b")
	if got := names(a); got != "a" {
		t.Errorf("a sees %q", got)
	}
}

// muted is a transport that can be made to send nothing.
type muted struct {
	*memberlist.NetTransport
	off atomic.Bool
}

func (t *muted) WriteToAddress(b []byte, a memberlist.Address) (time.Time, error) {
	if t.off.Load() {
		return time.Now(), nil
	}
	return t.NetTransport.WriteToAddress(b, a)
}

func TestANodeThatAnswersAgainAfterAHintJoinsAgain(t *testing.T) {
	t.Parallel()
	a := opened(t)(start(config("a"), patient))
	mb, b := openMuted(t, config("b"), patient)
	join(t, mb, a)
	expect(t, a, Joined, "b")

	a.Hint("b") // it answers: nothing is told
	if err := mb.Update(func(n *Node) { n.Cores = 7 }); err != nil {
		t.Fatal(err)
	}
	expect(t, a, Updated, "b")
	for deadline := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		a.mu.Lock()
		checking := a.members["b"].checking
		a.mu.Unlock()
		if !checking {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the hint is still being followed up")
		}
	}

	b.off.Store(true)
	a.Hint("b")
	expect(t, a, Lost, "b")
	b.off.Store(false)
	expect(t, a, Joined, "b")
}

// openMuted starts a node that can be made to send nothing.
func openMuted(t *testing.T, c Config, tune func(*memberlist.Config)) (*Membership, *muted) {
	t.Helper()
	b := new(muted)
	m := opened(t)(start(c, func(c *memberlist.Config) {
		tune(c)
		nt, err := memberlist.NewNetTransport(&memberlist.NetTransportConfig{BindAddrs: []string{"127.0.0.1"}, Logger: c.Logger})
		if err != nil {
			t.Fatal(err)
		}
		b.NetTransport = nt
		c.Transport = b
	}))
	return m, b
}

// What the node says is lost for as long as memberlist needs to find it dead, as it is if it gets no processor.
func TestANodeThatAnswersWhenItIsHeldForDeadIsNotLost(t *testing.T) {
	t.Parallel()
	a := opened(t)(start(config("a"), func(c *memberlist.Config) {
		c.ProbeInterval, c.SuspicionMult, c.DisableTcpPings = 50*time.Millisecond, 1, true
		c.ProbeTimeout = time.Second // of the pings that follow too, so that one is answered however busy the machine is
	}))
	mb, b := openMuted(t, config("b"), func(*memberlist.Config) {})
	join(t, mb, a)
	expect(t, a, Joined, "b")
	for range 2 {
		b.off.Store(true)
		for doubted, deadline := false, time.Now().Add(patience); !doubted; time.Sleep(time.Millisecond) {
			a.mu.Lock()
			doubted = a.members["b"].doubted
			a.mu.Unlock()
			if time.Now().After(deadline) {
				t.Fatal("nobody holds b for dead")
			}
		}
		if got := names(a); got != "a b" {
			t.Errorf("a sees %q", got)
		}
		b.off.Store(false)
		var cores int
		if err := mb.Update(func(n *Node) { n.Cores++; cores = n.Cores }); err != nil {
			t.Fatal(err)
		}
		if got := expect(t, a, Updated, "b"); got.Cores != cores {
			t.Errorf("b has %d cores, want %d", got.Cores, cores)
		}
	}
}

func TestCloseEndsEventsAndMayBeRepeated(t *testing.T) {
	t.Parallel()
	a, b, _ := three(t)
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	if _, open := <-a.Events(); open {
		t.Error("an event after Close")
	}
	if err := a.Join(t.Context(), []string{b.Addr()}); !errors.Is(err, errClosed) {
		t.Errorf("joining after Close: %v", err)
	}
	if err := a.Update(func(n *Node) { n.Cores++ }); !errors.Is(err, errClosed) {
		t.Errorf("updating after Close: %v", err)
	}
}

func TestBadConfigsNameTheField(t *testing.T) {
	t.Parallel()
	for field, spoil := range map[string]func(*Config){
		"name":         func(c *Config) { c.Name = "a b" },
		"cluster name": func(c *Config) { c.Cluster = "" },
		"keys":         func(c *Config) { c.Keys = [][]byte{make([]byte, 15)} },
		"bind":         func(c *Config) { c.Bind = "127.0.0.1" },
		"advertise":    func(c *Config) { c.Advertise = "0.0.0.0:1" },
		"memory":       func(c *Config) { c.Self.Memory = -1 },
		"role":         func(c *Config) { c.Self.Role = 9 },
	} {
		c := config("a")
		spoil(&c)
		m, err := Start(c)
		if err == nil {
			m.Close()
		}
		if !strings.Contains(fmt.Sprint(err), field) {
			t.Errorf("%s: error is %v", field, err)
		}
	}
}

func TestAdvertiseIsWhatOthersSee(t *testing.T) {
	t.Parallel()
	c := config("a")
	c.Bind, c.Advertise = ":0", "localhost"
	m := open(t, c)
	_, port, err := net.SplitHostPort(m.Addr())
	if err != nil || port == "0" || m.Self().Gossip != m.Addr() {
		t.Errorf("address %s, gossip %s", m.Addr(), m.Self().Gossip)
	}
	other := open(t, config("b"))
	if err := other.Join(t.Context(), []string{"localhost:" + port}); err != nil {
		t.Fatal(err)
	}
	if got := expect(t, other, Joined, "a").Gossip; got != m.Addr() {
		t.Errorf("a is seen at %s, want %s", got, m.Addr())
	}
}
