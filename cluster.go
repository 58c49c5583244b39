package orrery

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/orrery-ai/orrery/actors"
	"github.com/orrery-ai/orrery/calibrate"
	"github.com/orrery-ai/orrery/cluster"
	"github.com/orrery-ai/orrery/device"
	"github.com/orrery-ai/orrery/internal/resident"
	"github.com/orrery-ai/orrery/metalkern"
	"github.com/orrery-ai/orrery/model"
	"github.com/orrery-ai/orrery/placement"
	"github.com/orrery-ai/orrery/proto"
	"github.com/orrery-ai/orrery/recall"
	"github.com/orrery-ai/orrery/transport"
)

// Cluster is this process's part in a cluster. Its methods may be called from any goroutine.
type Cluster struct {
	cfg        Config
	log        *slog.Logger
	endpoint   *transport.Endpoint
	system     *actor.ActorSystem
	membership *cluster.Membership
	device     device.Device // nil in a client
	node       *actor.PID    // nil in a client
	watching   sync.WaitGroup
	leaving    atomic.Bool
	links      *linkBook
	machines   *machineBook
	memory     *memoryNews
	runtime    atomic.Int64  // bytes that the process takes before a model is loaded
	turn       atomic.Uint64 // seconds as a float64, see MeasureTurn

	mu     sync.Mutex
	models map[*Model]bool
	short  map[string]bool // nodes that are known to be short of memory
	change chan struct{}   // closed and replaced when the members change
	closed bool
}

// Times of starting and leaving.
const (
	leaveTimeout = 2 * time.Second
	goneTimeout  = 3 * time.Second
)

// Start starts this process's node, and joins the cluster if there are others to join. The node lives
// until Close, whatever becomes of ctx.
func Start(ctx context.Context, cfg Config) (*Cluster, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, fmt.Errorf("orrery: %w", err)
	}
	if err := cfg.guard(ctx); err != nil {
		return nil, fmt.Errorf("orrery: %w", err)
	}
	c := &Cluster{cfg: cfg, log: cfg.Logger.With("node", cfg.Name), links: newLinkBook(), machines: newMachineBook(), models: map[*Model]bool{}, short: map[string]bool{}, change: make(chan struct{}), memory: newMemoryNews()}
	if err := c.start(ctx); err != nil {
		c.Close()
		return nil, fmt.Errorf("orrery: starting %s: %w", cfg.Name, err)
	}
	return c, nil
}

func (c *Cluster) start(ctx context.Context) (err error) {
	c.endpoint, err = transport.Listen(c.cfg.Listen, transport.Config{
		Cluster: c.cfg.Cluster, Node: c.cfg.Name, Identity: c.cfg.Identity, RDMA: c.cfg.RDMA, NoSharedMemory: c.cfg.NoSharedMemory, Synch: c.cfg.Synch,
		Checksums: c.cfg.Checksums, Dial: c.cfg.Dial, Share: c.cfg.Share, Logger: c.cfg.Logger,
	})
	if err != nil {
		return err
	}
	c.system = actor.NewActorSystem(actor.WithLoggerFactory(func(*actor.ActorSystem) *slog.Logger { return warningsOf(c.log) }))
	if err := c.endpoint.AttachActors(c.system); err != nil {
		return err
	}
	self := cluster.Node{Role: cluster.Client, Transport: transportAddress(c.endpoint.Addr(), c.cfg.Advertise), Version: Version}
	if !c.cfg.Client {
		if err := c.startNode(ctx, &self); err != nil {
			return err
		}
	}
	var keys [][]byte
	if c.cfg.Identity != nil {
		keys = c.cfg.Identity.GossipKeys()
	}
	c.membership, err = cluster.Start(cluster.Config{Name: c.cfg.Name, Bind: c.cfg.Bind, Advertise: c.cfg.Advertise, Cluster: c.cfg.Cluster,
		Keys: keys, Self: self, Logger: c.log})
	if err != nil {
		return err
	}
	c.endpoint.OnPeerLost(func(node string, err error) { c.membership.Hint(node) })
	c.watching.Add(1)
	go c.watch()
	c.tellMemory()
	if len(c.cfg.Join) > 0 {
		if err := c.membership.Join(ctx, c.cfg.Join); err != nil {
			return err
		}
	}
	return c.measureRuntime()
}

// runtimeGrowth is what a process grows by when it runs its first model, besides what is counted for that:
// code that is read from the disk when it first runs, stacks of threads, heap.
const runtimeGrowth = 7 << 19

// measureRuntime finds out what this process takes by itself of the memory that it offers, which placement counts too. A node that
// computes on a GPU offers that one's.
func (c *Cluster) measureRuntime() error {
	if c.cfg.Client || c.runtime.Load() > 0 {
		return nil
	}
	debug.FreeOSMemory() // what measuring bandwidth took is still there
	n, err := resident.Bytes()
	if err != nil {
		return fmt.Errorf("what memory the process takes is not known: %w", err)
	}
	c.runtime.Store(n + runtimeGrowth)
	return nil
}

// startNode makes what a node that computes has: a device, memory, a bandwidth, and its Node actor.
func (c *Cluster) startNode(ctx context.Context, self *cluster.Node) (err error) {
	choice, err := ChooseDevice(c.cfg.Device)
	if err != nil {
		return err
	}
	for _, why := range choice.Without {
		c.log.Info("a GPU is not used", "because", why)
	}
	if c.device, err = openDevice(choice.Kind, c.cfg.Threads); err != nil {
		return err
	}
	self.Role, self.Device = cluster.Compute, c.device.Name()
	if self.Cores = c.cfg.Threads; self.Cores == 0 {
		self.Cores = runtime.GOMAXPROCS(0)
	}
	if self.Memory = c.cfg.Memory; self.Memory == 0 {
		self.Memory = choice.Memory
	} else if self.Memory-choice.Memory > choice.Memory/8 { // what is free comes and goes by less
		c.log.Warn("this node offers more memory than is free: a model that takes it may end the process", "offered", placement.FormatBytes(self.Memory),
			"free", placement.FormatBytes(choice.Memory))
	}
	measured := measureMemory()
	if onGPU(choice.Kind) { // other programs take memory of the host
		measured = nil
		c.runtime.Store(deviceReserve)
	}
	self.Machine, self.CPUs = calibrate.Machine(), calibrate.CPUs()
	if g, ok := c.device.(*metalkern.Device); ok && g.Info().Place != "" {
		self.CPUs = cluster.GPU + g.Info().Place
	}
	if self.Bandwidth, self.Rates, err = c.cfg.measure(ctx, c.device, self.Memory); err != nil {
		return err
	}
	c.node, err = actors.SpawnNode(c.system, actors.Machine{Name: c.cfg.Name, Device: c.device, Memory: self.Memory, Endpoint: c.endpoint,
		Open: c.open, Leaving: &c.leaving, Runtime: &c.runtime, Logger: c.log, MeasureMemory: measured, OnMemory: c.memory.set})
	return err
}

// open finds a model: the embedded one by its name, another by its directory.
func (c *Cluster) open(ref string) (*model.Model, error) {
	switch ref {
	case "":
		return nil, errors.New("no model is named: give its directory, its GGUF file, or \"recall\"")
	case recall.Name:
		return recall.Open()
	}
	if !filepath.IsAbs(ref) {
		ref = filepath.Join(c.cfg.DataDir, ref)
	}
	return model.Open(ref)
}

// watch follows the membership: it tells the transport where the others are, and who is gone. It ends
// with the membership.
func (c *Cluster) watch() {
	defer c.watching.Done()
	for e := range c.membership.Events() {
		n := e.Node
		switch e.Kind {
		case cluster.Joined, cluster.Updated:
			c.endpoint.SetPeer(n.Name, n.Transport)
			c.log.Debug("node is there", "peer", n.Name, "address", n.Transport)
			c.warnShort(n)
		case cluster.Left:
			c.gone(n.Name, errors.New("it left the cluster"))
		case cluster.Lost:
			c.gone(n.Name, errors.New("it does not answer"))
		}
		c.mu.Lock()
		close(c.change)
		c.change = make(chan struct{})
		c.mu.Unlock()
	}
}

func (c *Cluster) gone(name string, cause error) {
	c.log.Debug("node is gone", "peer", name, "cause", cause)
	c.endpoint.DropPeer(name, cause)
	if c.node != nil {
		c.system.Root.Send(c.node, &actors.PeerGone{Name: name})
	}
	c.mu.Lock()
	delete(c.short, name)
	models := make([]*Model, 0, len(c.models))
	for m := range c.models {
		models = append(models, m)
	}
	c.mu.Unlock()
	for _, m := range models {
		m.nodeLost(name, cause)
	}
}

// Name is this node's name.
func (c *Cluster) Name() string { return c.cfg.Name }

// Addr is the host:port that others join.
func (c *Cluster) Addr() string { return c.membership.Addr() }

// Nodes lists the members that compute, this one included if it does, by name.
func (c *Cluster) Nodes() []cluster.Node {
	return slices.DeleteFunc(c.membership.Nodes(), func(n cluster.Node) bool { return n.Role != cluster.Compute })
}

// WaitNodes waits until at least n members that compute are there.
func (c *Cluster) WaitNodes(ctx context.Context, n int) error {
	for {
		c.mu.Lock()
		change := c.change
		c.mu.Unlock()
		have := c.Nodes()
		if len(have) >= n {
			return nil
		}
		select {
		case <-change:
		case <-ctx.Done():
			return fmt.Errorf("orrery: %d of %d nodes are there: %w", len(have), n, context.Cause(ctx))
		}
	}
}

// waitGone waits until membership has seen that a node is gone, which transport may know earlier, and
// reports whether it has.
func (c *Cluster) waitGone(ctx context.Context, name string) bool {
	late := time.NewTimer(goneTimeout)
	defer late.Stop()
	for {
		c.mu.Lock()
		change := c.change
		c.mu.Unlock()
		if !slices.ContainsFunc(c.Nodes(), func(n cluster.Node) bool { return n.Name == name }) {
			return true
		}
		select {
		case <-change:
		case <-late.C:
			return false
		case <-ctx.Done():
			return false
		}
	}
}

// Traffic is what the members have sent since they started, in bytes.
type Traffic struct {
	Lanes   int64 // tensors and steps
	Control int64 // messages between actors
}

// Traffic sums up what all members that compute, and this process, have sent.
func (c *Cluster) Traffic(ctx context.Context) (Traffic, error) {
	var t Traffic
	for _, n := range c.Nodes() {
		s, err := c.stats(ctx, n.Name)
		if err != nil {
			return t, fmt.Errorf("orrery: traffic: %w", err)
		}
		t.Lanes += s.LaneBytes
		t.Control += s.ControlBytes
	}
	if c.node == nil {
		for purpose, n := range c.endpoint.Counters() {
			if purpose == transport.Control {
				t.Control += int64(n.BytesOut)
			} else {
				t.Lanes += int64(n.BytesOut)
			}
		}
	}
	return t, nil
}

// stats asks a node what it holds and has sent.
func (c *Cluster) stats(ctx context.Context, node string) (*proto.Stats, error) {
	if c.isClosed() {
		return nil, fmt.Errorf("this node %w", ErrClosed)
	}
	s, err := actors.Ask[*proto.Stats](ctx, c.system, actors.NodePID(node), &proto.StatsRequest{Address: c.membership.Self().Transport})
	if err != nil {
		return nil, fmt.Errorf("node %s: %w", node, err)
	}
	return s, nil
}

// ErrClosed is in the chain of errors about a cluster, a model or a session that was closed.
var ErrClosed = actors.ErrClosed

func (c *Cluster) isClosed() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.closed
}

func (c *Cluster) wasClosed() error { return fmt.Errorf("orrery: node %s %w", c.cfg.Name, ErrClosed) }

// Close unloads the models that were loaded here, leaves the cluster, and ends everything that Start began.
func (c *Cluster) Close() error {
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return nil
	}
	c.closed = true
	models := c.models
	c.models = map[*Model]bool{}
	c.mu.Unlock()
	for m := range models {
		m.close()
	}
	c.memory.stop()
	var errs []error
	if c.membership != nil {
		// First, so that who needs this node hears that it left, and not of steps that fail on it.
		c.leaving.Store(true)
		if err := c.membership.Leave(leaveTimeout); err != nil {
			c.log.Debug("not everybody was told of our leaving", "err", err)
		}
	}
	if c.node != nil {
		errs = append(errs, c.system.Root.StopFuture(c.node).Wait())
	}
	if c.membership != nil {
		errs = append(errs, c.membership.Close())
		c.watching.Wait()
	}
	if c.endpoint != nil {
		errs = append(errs, c.endpoint.Close())
	}
	if c.device != nil {
		errs = append(errs, c.device.Close())
	}
	if c.system != nil {
		c.system.Shutdown()
	}
	return errors.Join(errs...)
}
