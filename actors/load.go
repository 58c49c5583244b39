package actors

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"golang.org/x/sync/errgroup"

	"github.com/orrery-ai/orrery/attention"
	"github.com/orrery-ai/orrery/engine"
	"github.com/orrery-ai/orrery/model"
	"github.com/orrery-ai/orrery/placement"
	"github.com/orrery-ai/orrery/proto"
	"github.com/orrery-ai/orrery/residence"
	"github.com/orrery-ai/orrery/trace"
	"github.com/orrery-ai/orrery/transport"
)

// Spec is what to load, and where.
type Spec struct {
	Model       *model.Model
	Ref         string // by which the nodes find the model
	Mode        placement.Mode
	Nodes       []string            // members, by index
	Addresses   []string            // of their transports
	Address     string              // of our own
	Layers      []residence.Span    // of each node, in pipeline
	Weights     []float64           // share of the tokens of each node, in pooled and ring
	Blocks      []int               // of each node of a whole context; nil: by weight
	Staged      int                 // blocks for which owners have room, in pooled, until they reach their holder
	RingOwner   int                 // the node that owns every layer in ring
	Memory      []placement.Promise // of each node
	Refused     map[placement.Mode]string
	Chunk       int // tokens
	BlockTokens int
	KV          attention.Format
	Context     int           // tokens that a sequence may come to at the most
	MaxWaiting  int           // sequences that wait to be admitted
	WaitTimeout time.Duration // how long each does
	StepTimeout time.Duration // bound on every wait within a step
	LoadTimeout time.Duration
	OnLoading   func(node string, done, total int64) // told of the bytes of weights that a node has read, in the conductor's turn; may be nil
	Logger      *slog.Logger
}

func (s *Spec) policy() (*residence.Policy, error) {
	l := residence.Layout{Layers: s.Model.Config.Layers, BlockTokens: s.BlockTokens, Chunk: s.Chunk, RingOwner: s.RingOwner, Weights: s.Weights, Blocks: s.Blocks, Staged: s.Staged}
	for n, layers := range s.Layers {
		if layers.Len() > 0 {
			l.Pipeline = append(l.Pipeline, residence.Owner{Layers: layers, Node: n})
		}
	}
	return residence.NewPolicy(l)
}

// Conductor is a loaded model, as who loaded it sees it. Its methods may be called from any goroutine.
type Conductor struct {
	spec   Spec
	system *actor.ActorSystem
	pid    *actor.PID
	driver *engine.Driver
	model  uint64
	expose *transport.Endpoint

	lastSeq  atomic.Uint64                  // the last id given to a sequence
	recorder atomic.Pointer[trace.Recorder] // of steps and switches; nil: they are not recorded
	turns    turns

	mu     sync.Mutex
	sinks  map[uint64]*logitSink // by sequence
	broken error
}

// Load loads a model on its nodes, connects them, and starts its Conductor. On failure nothing stays
// loaded.
func Load(ctx context.Context, system *actor.ActorSystem, endpoint *transport.Endpoint, s Spec) (*Conductor, error) {
	policy, err := s.policy()
	if err != nil {
		return nil, err
	}
	c := &Conductor{spec: s, system: system, model: rand.Uint64(), expose: endpoint, sinks: map[uint64]*logitSink{}}
	props := actor.PropsFromProducer(func() actor.Actor { return newConductor(c, policy) })
	c.pid, err = system.Root.Copy().WithGuardian(stopOnPanic(s.Logger)).SpawnNamed(props, conductorName(c.model)) // a copy: WithGuardian changes its receiver
	if err != nil {
		return nil, err
	}
	endpoint.Expose(c.pid.Id)
	if err := c.load(ctx, policy, endpoint); err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

func (c *Conductor) load(ctx context.Context, policy *residence.Policy, endpoint *transport.Endpoint) error {
	s := &c.spec
	for n, name := range s.Nodes {
		if name != c.pid.Address {
			endpoint.SetPeer(name, s.Addresses[n]) // the news of a member may be on its way yet
		}
	}
	room := s.room()
	d, err := engine.NewDriver(engine.DriverConfig{Model: s.Model, Endpoint: endpoint, ModelID: c.model, Nodes: s.Nodes,
		Rows: room.rows(), RoundTokens: policy.Round(), BlockTokens: s.BlockTokens, KV: s.KV, StepTimeout: s.StepTimeout, Logger: s.Logger, OnResult: c.result})
	if err != nil {
		return err
	}
	c.driver = d
	everything := residence.Span{First: 0, End: s.Model.Config.Layers}
	err = c.onEveryNode(ctx, func(ctx context.Context, n int, name string) error {
		layers := s.Layers[n]
		if s.Mode == placement.Ring {
			layers = everything
		}
		reply, err := Ask[*proto.Loaded](ctx, c.system, NodePID(name), &proto.LoadModel{
			Model: c.model, Ref: s.Ref, Fingerprint: fmt.Sprintf("%x", s.Model.Fingerprint()), Nodes: s.Nodes, Node: uint32(n),
			ConductorNode: c.pid.Address, ConductorId: c.pid.Id, Layers: spanToProto(layers),
			Chunk: uint32(s.Chunk), Rows: uint32(room.rows()), OwnRows: uint32(room.nodes[n].Rows), Asking: uint32(room.nodes[n].Asking), Askers: room.askers, RoundTokens: uint32(policy.Round()), BlockTokens: uint32(s.BlockTokens), KvFormat: uint32(s.KV), Addresses: s.Addresses, ConductorAddress: s.Address,
			Context: uint32(s.Context), KvBytes: s.Memory[n].KV, FixedBytes: s.Memory[n].Fixed,
			StepTimeoutMs: s.StepTimeout.Milliseconds()})
		if err != nil {
			return err
		}
		return errorOf(reply.Error)
	})
	if err != nil {
		return err
	}
	err = c.onEveryNode(ctx, func(ctx context.Context, n int, name string) error {
		reply, err := Ask[*proto.Connected](ctx, c.system, layerShardPID(name, c.model), &proto.Connect{Model: c.model})
		if err != nil {
			return err
		}
		return errorOf(reply.Error)
	})
	if err != nil {
		return err
	}
	return d.Connect()
}

// onEveryNode does something for all nodes at once, and returns the first failure with the node's name.
func (c *Conductor) onEveryNode(ctx context.Context, do func(ctx context.Context, n int, name string) error) error {
	ctx, cancel := context.WithTimeout(ctx, c.spec.LoadTimeout)
	defer cancel()
	g, ctx := errgroup.WithContext(ctx)
	for n, name := range c.spec.Nodes {
		g.Go(func() error {
			if err := do(ctx, n, name); err != nil {
				return fmt.Errorf("node %s: %w", name, err)
			}
			return nil
		})
	}
	return g.Wait()
}

func errorOf(text string) error {
	if text == "" {
		return nil
	}
	return errors.New(text)
}

// Ask sends a message to an actor and waits for its answer until ctx ends; if it has no deadline, for at
// most half a minute.
func Ask[T any](ctx context.Context, system *actor.ActorSystem, pid *actor.PID, msg any) (T, error) {
	if _, bounded := ctx.Deadline(); !bounded {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, askTimeout)
		defer cancel()
	}
	q := transport.NewQuestion(system)
	defer q.Close()
	system.Root.RequestWithCustomSender(pid, msg, q.PID())
	return transport.Answer[T](ctx, q)
}

const askTimeout = 30 * time.Second

// Turn is how long this process takes from a step's result until it hands out the next step: the median of the last
// ones. It is 0 before there were any.
func (c *Conductor) Turn() time.Duration { return c.turns.median() }

// Close unloads the model on every node that is there, and ends what was going on with an error.
func (c *Conductor) Close() {
	future := c.system.Root.StopFuture(c.pid)
	if err := future.Wait(); err != nil { // at the future's own deadline
		c.spec.Logger.Error("the conductor did not stop", "err", err)
	}
	c.expose.Unexpose(c.pid.Id)
	if c.driver != nil {
		c.driver.Close()
	}
	for _, name := range c.spec.Nodes {
		c.system.Root.Send(NodePID(name), &proto.UnloadModel{Model: c.model})
	}
}

// Broken is why the model can do nothing more, or nil.
func (c *Conductor) Broken() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.broken
}

func (c *Conductor) setBroken(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.broken == nil {
		c.broken = err
	}
}

// Nodes are the model's members.
func (c *Conductor) Nodes() []string { return c.spec.Nodes }

// NodeLost tells the model that a node is gone. What is going on ends with a *NodeLostError.
func (c *Conductor) NodeLost(name string, cause error) {
	c.system.Root.Send(c.pid, &nodeLost{name, cause})
}

// Open admits a sequence of up to so many tokens, in a mode, and waits for its turn if there is no room for it
// now. The error is an *AdmissionError if too many wait already, or it has waited for too long.
func (c *Conductor) Open(ctx context.Context, mode placement.Mode, tokens int) (uint64, error) {
	if why := c.spec.Refused[mode]; why != "" { // of Auto nothing is refused: its modes are those that are possible
		return 0, fmt.Errorf("mode %v is not possible here: %s", mode, why)
	}
	if tokens < 1 || tokens > c.spec.Context {
		return 0, fmt.Errorf("a context of %d is not between 1 and %d, for which the model was loaded", tokens, c.spec.Context)
	}
	id := c.lastSeq.Add(1)
	ctx, cancel := context.WithTimeout(ctx, c.spec.WaitTimeout+askTimeout)
	defer cancel()
	if _, err := Ask[*sequenceReady](ctx, c.system, c.pid, &openSequence{id, mode, tokens}); err != nil {
		c.CloseSequence(id) // it may be open by now, if ctx has ended
		return 0, err
	}
	return id, nil
}

// Start begins a job on a sequence that has none.
func (c *Conductor) Start(ctx context.Context, seq uint64, j Job) (*Running, error) {
	if err := j.Sampling.Validate(); err != nil {
		return nil, err
	}
	t := new(ticket)
	started, err := Ask[*jobStarted](ctx, c.system, c.pid, &startJob{seq, j, t})
	if err != nil {
		c.system.Root.Send(c.pid, &cancelJob{seq, t, err}) // it may have begun by now, if ctx has ended
		return nil, err
	}
	return &Running{Events: started.job.events, Base: started.job.base, Feed: started.job.feeding, ticket: t}, nil
}

// Cancel ends a job once the steps in flight are done. The sequence stays, with what it has.
func (c *Conductor) Cancel(seq uint64, r *Running, cause error) {
	c.system.Root.Send(c.pid, &cancelJob{seq, r.ticket, cause})
}

// Switch changes the mode of a sequence, and returns when that has taken effect or failed.
func (c *Conductor) Switch(ctx context.Context, seq uint64, mode placement.Mode) (*SwitchReport, error) {
	r, err := Ask[*SwitchReport](ctx, c.system, c.pid, &switchMode{seq, mode})
	if err != nil {
		return nil, err
	}
	return r, r.Err
}

// Fill puts made-up keys and values of so many tokens after what a sequence has, which must have no job.
func (c *Conductor) Fill(ctx context.Context, seq uint64, tokens int) error {
	_, err := Ask[*sequenceFilled](ctx, c.system, c.pid, &fillSequence{seq, tokens})
	return err
}

// CloseSequence gives back what a sequence holds on all nodes. A job that it has ends with an error.
func (c *Conductor) CloseSequence(seq uint64) {
	c.setSink(seq, nil)
	c.system.Root.Send(c.pid, &closeSequence{seq})
}

// logitSink is where the logits of a sequence's job go. The first error sticks.
type logitSink struct {
	write func(first int, rows []float32) error
	mu    sync.Mutex
	err   error
}

func (c *Conductor) setSink(seq uint64, s *logitSink) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if s == nil {
		delete(c.sinks, seq)
	} else {
		c.sinks[seq] = s
	}
}

func (c *Conductor) sink(seq uint64) *logitSink {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.sinks[seq]
}

// result takes what a node says of a step. Logits go straight to the job's sink, so that a slow one holds
// up its lane and nothing else; the rest is for the conductor to decide on.
func (c *Conductor) result(r engine.Result) {
	if r.Logits == nil {
		c.system.Root.Send(c.pid, &r)
		return
	}
	if s := c.sink(r.Seq); s != nil {
		if err := s.write(r.First, r.Logits); err != nil {
			s.mu.Lock()
			s.err = errors.Join(s.err, err)
			s.mu.Unlock()
		}
	}
}

func (s *logitSink) failure() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}
