package cluster

import (
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/memberlist"
)

var errClosed = errors.New("cluster: membership is closed")

// updateWithin bounds the wait for an update to be gossiped; it takes about 0.2 s.
const updateWithin = 2 * time.Second

// Membership is a node's part in a cluster. Its methods may be called from any goroutine.
type Membership struct {
	name, cluster string
	log           *slog.Logger
	once          onceLog

	list     *memberlist.Memberlist // set, like addr, before ready is closed
	addr     string                 // host:port of the gossip endpoint, as advertised
	ready    chan struct{}
	done     chan struct{}
	running  sync.WaitGroup // our goroutines
	events   chan Event
	wake     chan struct{} // queue is not empty
	accepted chan string   // names that acknowledged the farewell

	packets atomic.Uint64 // of gossip, that could carry news

	updating sync.Mutex // one Update at a time
	stopping sync.Mutex // one Leave or Close at a time

	mu      sync.Mutex // under memberlist's own lock: memberlist is not called while it is held
	closed  bool
	leaving bool // whoever goes now goes with us, or is not missed
	self    Node
	meta    []byte             // self, packed
	members map[string]*member // the others, until their end has been told
	queue   []string           // members with a change to tell, each once
}

// Start opens the gossip endpoint of a node, which is then alone in its cluster. Errors name the
// field of c that is at fault.
func Start(c Config) (*Membership, error) { return start(c, func(*memberlist.Config) {}) }

// start is Start with the last word on memberlist's configuration.
func start(c Config, tune func(*memberlist.Config)) (*Membership, error) {
	conf, err := c.memberlistConfig()
	if err != nil {
		return nil, fmt.Errorf("cluster: %w", err)
	}
	log := c.Logger
	if log == nil {
		log = slog.Default()
	}
	m := &Membership{
		name:     c.Name,
		cluster:  c.Cluster,
		log:      log,
		once:     onceLog{log: log, said: map[string]time.Time{}},
		ready:    make(chan struct{}),
		done:     make(chan struct{}),
		events:   make(chan Event),
		wake:     make(chan struct{}, 1),
		accepted: make(chan string, 64),
		self:     c.Self,
		members:  map[string]*member{},
	}
	m.self.Name = c.Name
	if m.meta, err = m.pack(m.self); err != nil {
		return nil, fmt.Errorf("cluster: self: %w", err)
	}
	conf.Logger = newBridge(log)
	conf.Delegate = messenger{m}
	conf.Events = observer{m}
	conf.Alive = admission{m}
	conf.Merge = admission{m}
	conf.Conflict = admission{m}
	tune(conf)

	m.list, err = memberlist.Create(conf)
	if err != nil {
		close(m.done)
		return nil, fmt.Errorf("cluster: bind %q: %w", c.Bind, err)
	}
	m.addr = m.list.LocalNode().Address()
	m.mu.Lock()
	m.self.Gossip = m.addr
	m.mu.Unlock()
	close(m.ready)
	m.running.Add(1)
	go m.deliver()
	return m, nil
}

func (m *Membership) pack(n Node) ([]byte, error) {
	meta := meta{Protocol, m.cluster, n}
	return meta.encode()
}

// Addr is the gossip address, host:port, that others can give to Join.
func (m *Membership) Addr() string { return m.addr }

// Self is this node as it is gossiped.
func (m *Membership) Self() Node {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.self
}

// Update changes what this node offers and gossips it: f gets a copy to edit, of which Name and
// Gossip are not taken over. It returns when the news has gone out, which takes about 0.2 s. A node
// that cannot be packed is refused and nothing changes; when the news is not out in 2 s there is an
// error, but the change holds and the others learn of it at the next exchange of states.
func (m *Membership) Update(f func(*Node)) error {
	m.updating.Lock()
	defer m.updating.Unlock()
	n := m.Self()
	f(&n)
	n.Name, n.Gossip = m.name, m.addr
	packed, err := m.pack(n)
	if err != nil {
		return fmt.Errorf("cluster: update: %w", err)
	}
	m.mu.Lock()
	if m.closed {
		m.mu.Unlock()
		return errClosed
	}
	same := n == m.self
	m.self, m.meta = n, packed
	m.mu.Unlock()
	if same {
		return nil
	}
	if err := m.list.UpdateNode(updateWithin); err != nil {
		return fmt.Errorf("cluster: update: %w", err)
	}
	return nil
}

// Leave tells the others that this node goes of its own accord, in the given time at most. The node
// still has to be closed. Those who did not hear it in time will take it for lost.
func (m *Membership) Leave(timeout time.Duration) error {
	m.stopping.Lock()
	defer m.stopping.Unlock()
	select {
	case <-m.done:
		return errClosed
	default:
	}
	end := time.Now().Add(timeout)
	m.mu.Lock()
	m.leaving = true
	m.mu.Unlock()
	m.sayFarewell(min(farewellWithin, timeout/2))
	return m.tellLeaving(end)
}

// Close ends the node's part without a word to the others, to whom it looks like a crash unless
// Leave came first. Events is closed. Closing again does nothing.
func (m *Membership) Close() error {
	m.stopping.Lock()
	defer m.stopping.Unlock()
	m.mu.Lock()
	if m.closed {
		m.mu.Unlock()
		return nil
	}
	m.closed = true
	m.mu.Unlock()
	close(m.done)
	err := m.list.Shutdown()
	m.running.Wait()
	if err != nil {
		return fmt.Errorf("cluster: close: %w", err)
	}
	return nil
}

// messenger carries this node's metadata and packets. It implements memberlist.Delegate.
type messenger struct{ m *Membership }

func (d messenger) NodeMeta(int) []byte {
	d.m.mu.Lock()
	defer d.m.mu.Unlock()
	return d.m.meta
}

func (d messenger) NotifyMsg(b []byte)              { d.m.receive(b) }
func (d messenger) GetBroadcasts(int, int) [][]byte { d.m.packets.Add(1); return nil }
func (messenger) LocalState(bool) []byte            { return nil }
func (messenger) MergeRemoteState(_ []byte, _ bool) {}
