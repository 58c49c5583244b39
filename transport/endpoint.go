package transport

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/orrery-ai/orrery/transport/rdma"
	"github.com/orrery-ai/orrery/transport/shm"
)

// Endpoint is a node's end of all its connections. Its methods may be called from several goroutines.
type Endpoint struct {
	c         Config
	security  *security      // nil without an identity
	fabric    *rdma.Provider // nil if RDMA is not used
	memory    *shm.Server    // nil if memory is not shared
	ln        net.Listener
	traffic   [numPurposes]traffic
	actors    actors
	strangers strangers

	ctx        context.Context // ends at Close
	cancel     context.CancelFunc
	goroutines sync.WaitGroup
	handshakes chan struct{} // one for each inbound connection without a hello yet

	synch   atomic.Uint32 // Synch
	spins   spinGuard
	turn    atomic.Uint64       // changes when who spins is to stop: somebody else spins now, or has something to do
	mayHold int32               // how many goroutines may wait with their threads
	pollers [numClasses]*poller // made with the first link of the class

	mu        sync.Mutex
	closed    bool
	peers     map[string]string // addresses of nodes
	out       map[linkKey]*dialling
	in        map[linkKey]*inlink
	receivers map[receiverKey]*Receiver
	remotes   map[string]*remote
	onLost    []func(node string, err error)
	offers    map[shm.Secret]*inlink // what peers may ask for memory with
	noSharing sync.Once              // that the device cannot use shared memory has been logged
	declined  map[declined]string    // why, as it was logged last
}

// declined is what is not used with a peer.
type declined struct{ what, peer string }

// linkKey identifies a connection in one direction.
type linkKey struct {
	node  string // the peer
	class class
}

type receiverKey struct {
	from string
	lane LaneKey
}

// Listen starts an endpoint that takes connections at addr, such as "127.0.0.1:0".
func Listen(addr string, c Config) (*Endpoint, error) {
	c, err := c.withDefaults()
	if err != nil {
		return nil, err
	}
	fabric, err := c.RDMA.open(c.Logger)
	if err != nil {
		return nil, fmt.Errorf("transport: %w", err)
	}
	lc := net.ListenConfig{KeepAliveConfig: keepAlive}
	ln, err := lc.Listen(context.Background(), "tcp", addr)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("transport: %w", err), closeFabric(fabric))
	}
	e := newEndpoint(c)
	e.ln, e.fabric = ln, fabric
	e.beginSharing()
	e.async(e.acceptAll)
	return e, nil
}

func newEndpoint(c Config) *Endpoint {
	e := &Endpoint{
		c:          c,
		handshakes: make(chan struct{}, c.MaxHandshakes),
		peers:      make(map[string]string),
		out:        make(map[linkKey]*dialling),
		in:         make(map[linkKey]*inlink),
		receivers:  make(map[receiverKey]*Receiver),
		remotes:    make(map[string]*remote),
		offers:     make(map[shm.Secret]*inlink),
		declined:   make(map[declined]string),
		mayHold:    mayHold(),
		spins:      spinGuard{began: time.Now()},
	}
	if c.Identity != nil {
		e.security = newSecurity(c.Identity)
	}
	e.ctx, e.cancel = context.WithCancel(context.Background())
	e.SetSynch(c.Synch)
	return e
}

// Addr is the address at which the endpoint listens, host:port.
func (e *Endpoint) Addr() string { return e.ln.Addr().String() }

// Close ends every lane, connection and goroutine of the endpoint, and waits for the goroutines. What
// was sent but not yet received may be lost: what must arrive has to be answered first. Close must not
// be called from a callback of [Endpoint.OnPeerLost].
func (e *Endpoint) Close() error {
	e.mu.Lock()
	if e.closed {
		e.mu.Unlock()
		e.goroutines.Wait()
		return nil
	}
	e.closed = true
	links := e.linksLocked("")
	receivers := e.receiversLocked("")
	remotes := e.remotes
	e.remotes = nil
	e.mu.Unlock()

	e.cancel()
	err := e.ln.Close()
	for _, r := range remotes {
		r.end(ErrClosed)
	}
	for _, l := range links {
		l.fail(ErrClosed, true)
	}
	for _, r := range receivers {
		r.fail(ErrClosed)
	}
	e.goroutines.Wait()
	for _, p := range e.pollers {
		if p != nil {
			p.stop()
		}
	}
	if e.memory != nil {
		err = errors.Join(err, e.memory.Close())
	}
	return errors.Join(err, closeFabric(e.fabric))
}

// poller is the one of a class, made if there is none.
func (e *Endpoint) poller(c class) (_ *poller, err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return nil, ErrClosed
	}
	if e.pollers[c] == nil {
		e.pollers[c], err = newPoller(e.c.Logger)
	}
	return e.pollers[c], err
}

// maxPeers bounds the nodes whose addresses are known, and maxAddress the bytes of one: peers tell of peers.
const (
	maxPeers   = 1 << 12
	maxAddress = 300
)

// SetPeer says where a node can be dialled, as host:port. A connection that exists is not touched. What cannot be a node's
// name or address, or is one more than the 4,096 there may be, is logged and not taken up: nobody sends to it then.
func (e *Endpoint) SetPeer(node, addr string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	_, known := e.peers[node]
	if err := checkName("peer", node); err != nil || len(addr) > maxAddress || !known && len(e.peers) >= maxPeers {
		e.c.Logger.Warn("a peer's address is not taken up", "peer", fmt.Sprintf("%.40q", node), "addr", fmt.Sprintf("%.40q", addr), "known", len(e.peers))
		return
	}
	e.peers[node] = addr
}

// DropPeer says that a node is dead: every lane and connection with it fails at once, with an
// [ErrPeerLost] whose cause is reason. It is not dialled again before the next SetPeer.
func (e *Endpoint) DropPeer(node string, reason error) {
	if node == e.c.Node {
		return
	}
	e.mu.Lock()
	delete(e.peers, node)
	delete(e.declined, declined{"RDMA", node})
	delete(e.declined, declined{"shared memory", node})
	links := e.linksLocked(node)
	receivers := e.receiversLocked(node)
	remote := e.remotes[node]
	delete(e.remotes, node)
	e.mu.Unlock()

	for _, l := range links {
		l.fail(reason, true)
	}
	for _, r := range receivers {
		r.fail(reason)
	}
	if remote != nil {
		remote.end(reason)
	}
}

// OnPeerLost adds a function that is called when a connection with a node was lost other than by Close
// or DropPeer: a hint that the node may be dead. Each of up to six connections with a node gives one.
// The function runs in the connection's last goroutine and must return soon.
func (e *Endpoint) OnPeerLost(f func(node string, err error)) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.onLost = append(e.onLost, f)
}

// linksLocked is every link with a node, or with all if node is empty. Dials under way notice for
// themselves, when they are done.
func (e *Endpoint) linksLocked(node string) []*link {
	var links []*link
	for k, d := range e.out {
		if d.link != nil && (node == "" || node == k.node) {
			links = append(links, &d.link.link)
		}
	}
	for k, l := range e.in {
		if node == "" || node == k.node {
			links = append(links, &l.link)
		}
	}
	return links
}

func (e *Endpoint) receiversLocked(node string) []*Receiver {
	var rs []*Receiver
	for k, r := range e.receivers {
		if node == "" || node == k.from {
			rs = append(rs, r)
		}
	}
	return rs
}

func (e *Endpoint) register(r *Receiver) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	k := receiverKey{r.from, r.key}
	if e.closed {
		return laneError(ErrClosed, r.from, r.key, 0)
	}
	if e.receivers[k] != nil {
		return fmt.Errorf("transport: lane %s from peer %s has a receiver already", r.key, r.from)
	}
	e.receivers[k] = r
	return nil
}

func (e *Endpoint) unregister(r *Receiver) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if k := (receiverKey{r.from, r.key}); e.receivers[k] == r {
		delete(e.receivers, k)
	}
}

func (e *Endpoint) receiver(from string, key LaneKey) *Receiver {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.receivers[receiverKey{from, key}]
}

// async runs f in a goroutine that Close waits for; after Close it does nothing.
func (e *Endpoint) async(f func()) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.asyncLocked(f)
}

func (e *Endpoint) asyncLocked(f func()) bool {
	if e.closed {
		return false
	}
	e.goroutines.Go(f)
	return true
}

// ended is the last thing that happens to a link: its reader has stopped and its lanes know.
func (e *Endpoint) ended(l *link, outbound bool) {
	cause := l.failure()
	if l.class == classControl {
		e.controlLost(l, outbound, cause)
	}
	l.mu.Lock()
	quiet := l.quiet
	l.mu.Unlock()
	if quiet {
		return
	}
	direction := "in"
	if outbound {
		direction = "out"
	}
	e.c.Logger.Info("connection lost", "peer", l.node, "class", l.class.String(), "direction", direction, "err", cause)
	e.mu.Lock()
	onLost := e.onLost
	e.mu.Unlock()
	for _, f := range onLost {
		f(l.node, cause)
	}
}

// sleep waits, or until Close.
func (e *Endpoint) sleep(d time.Duration) {
	t := startTimer(time.Now().Add(d))
	defer stopTimer(t)
	select {
	case <-t.C:
	case <-e.ctx.Done():
	}
}
