package actors

import (
	"fmt"
	"log/slog"
	"slices"
	"sync/atomic"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/orrery-ai/orrery/attention"
	"github.com/orrery-ai/orrery/device"
	"github.com/orrery-ai/orrery/kvcache"
	"github.com/orrery-ai/orrery/model"
	"github.com/orrery-ai/orrery/proto"
	"github.com/orrery-ai/orrery/transport"
)

// Machine is what a node computes with.
type Machine struct {
	Name     string
	Device   device.Device
	Memory   int64 // bytes offered for weights, KV cache and activations
	Endpoint *transport.Endpoint
	Open     func(ref string) (*model.Model, error) // finds a model by the reference in LoadModel
	Leaving  *atomic.Bool                           // set when the node has begun to leave; may be nil
	Runtime  *atomic.Int64                          // bytes that the process takes without a model, 0 while that is not known; may be nil
	Logger   *slog.Logger

	// MeasureMemory tells, in bytes, what other programs leave available on the machine, and what this process
	// holds. Nil: nobody else takes any.
	MeasureMemory func() (available, held int64, err error)
	MeasureEvery  time.Duration // default 2 s
	// OnMemory is told, in bytes, what of Memory is promised to models, and what of that other programs took,
	// whenever one of them changes. It must not block.
	OnMemory func(promised, short int64)

	settling *settling // of the node's models
}

// PeerGone tells a Node that a member of the cluster is not there any more. What it had loaded goes.
type PeerGone struct{ Name string }

// node supervises everything on one machine. Its children are the LayerShards.
type node struct {
	machine  Machine
	memory   *kvcache.Budget
	pressure pressure
	watch    memoryWatch
	prober   *prober
	models   map[uint64]*loadedModel
	waiting  []waitingLoad // until the models that are being unloaded have given their memory back
	stopping bool
}

type loadedModel struct {
	pid       *actor.PID
	ref       string
	client    string // the conductor's node
	stats     *shardStats
	promised  int64 // bytes that are kept for it
	unloading bool
}

type waitingLoad struct {
	msg    *proto.LoadModel
	sender *actor.PID
}

// maxWaiting bounds the loads that wait.
const maxWaiting = 16

// SpawnNode starts the Node actor of a machine, and lets other nodes reach it.
func SpawnNode(system *actor.ActorSystem, m Machine) (*actor.PID, error) {
	m.settling = new(settling)
	props := actor.PropsFromProducer(func() actor.Actor {
		return &node{machine: m, memory: kvcache.NewBudget(m.Memory), prober: newProber(system, &m), models: map[uint64]*loadedModel{}}
	},
		actor.WithSupervisor(stopOnPanic(m.Logger)))
	pid, err := system.Root.SpawnNamed(props, nodeID)
	if err != nil {
		return nil, fmt.Errorf("node %s: %w", m.Name, err)
	}
	m.Endpoint.Expose(pid.Id)
	return pid, nil
}

// stopOnPanic ends an actor whose handler panicked, and says so: what it was responsible for fails with
// an error at the conductor, and nothing goes on in a state that nobody intended.
func stopOnPanic(log *slog.Logger) actor.SupervisorStrategy {
	return actor.NewOneForOneStrategy(0, 0, func(reason any) actor.Directive {
		log.Error("an actor failed and is stopped", "reason", reason)
		return actor.StopDirective
	})
}

// Receive handles the messages to a node.
func (n *node) Receive(ctx actor.Context) {
	switch msg := ctx.Message().(type) {
	case *actor.Started:
		n.watch.start(&n.machine, ctx.ActorSystem().Root, ctx.Self())
	case *actor.Stopping:
		n.stopping = true
		n.watch.stop()
		n.prober.close()
	case *memoryMeasured:
		n.memoryMeasured(msg)
	case *proto.LoadModel:
		n.load(ctx, msg)
	case *proto.UnloadModel:
		n.unload(ctx, msg.Model)
	case *PeerGone:
		n.waiting = slices.DeleteFunc(n.waiting, func(w waitingLoad) bool { return w.msg.ConductorNode == msg.Name })
		for id, m := range n.models {
			if m.client == msg.Name && !m.unloading {
				n.machine.Logger.Warn("unloading a model: the node that loaded it is gone", "client", msg.Name)
				n.unload(ctx, id)
			}
		}
	case *proto.StatsRequest:
		if asker := ctx.Sender(); asker != nil && msg.Address != "" {
			n.meet(asker.Address, msg.Address)
		}
		ctx.Respond(n.stats())
	case *proto.MeasureLink:
		if ctx.Sender() != nil {
			n.meet(ctx.Sender().Address, msg.Asker)
			n.meet(msg.Peer, msg.Address)
			n.prober.measure(msg, ctx.Sender())
		}
	case *proto.TakeSeat:
		if ctx.Sender() != nil {
			n.meet(msg.From, msg.Address)
			n.prober.seat(msg, n.memory, ctx.Sender())
		}
	case *proto.MeasureNode:
		if ctx.Sender() != nil {
			n.meet(ctx.Sender().Address, msg.Asker)
			n.prober.node(msg, n.memory, ctx.Sender())
		}
	case *proto.MakeEcho:
		if ctx.Sender() != nil {
			n.meet(msg.From, msg.Address)
			n.prober.echo(msg, ctx.Sender())
		}
	case *actor.Terminated:
		for id, m := range n.models {
			if m.pid.Equal(msg.Who) {
				n.machine.Endpoint.Unexpose(m.pid.Id)
				n.memory.Give(m.promised + m.stats.lent.Load())
				delete(n.models, id)
				n.tellMemory()
			}
		}
		waiting := n.waiting
		n.waiting = nil
		for _, w := range waiting {
			ctx.RequestWithCustomSender(ctx.Self(), w.msg, w.sender)
		}
	}
}

func (n *node) load(ctx actor.Context, msg *proto.LoadModel) {
	if n.stopping {
		ctx.Respond(&proto.Loaded{Error: "the node is leaving"})
		return
	}
	if n.models[msg.Model] != nil {
		ctx.Respond(&proto.Loaded{Error: fmt.Sprintf("model %x is loaded on %s already", msg.Model, n.machine.Name)})
		return
	}
	if err := checkLoad(msg); err != nil {
		ctx.Respond(&proto.Loaded{Error: err.Error()})
		return
	}
	if len(msg.Addresses) != len(msg.Nodes) {
		ctx.Respond(&proto.Loaded{Error: fmt.Sprintf("load: %d addresses of %d nodes", len(msg.Addresses), len(msg.Nodes))})
		return
	}
	n.meet(msg.ConductorNode, msg.ConductorAddress)
	for i, name := range msg.Nodes {
		n.meet(name, msg.Addresses[i])
	}
	for _, m := range n.models {
		if m.unloading && len(n.waiting) < maxWaiting {
			n.waiting = append(n.waiting, waitingLoad{msg, ctx.Sender()})
			return
		}
	}
	if n.pressure.short > 0 {
		ctx.Respond(&proto.Loaded{Error: shortError(n.machine.Name, n.pressure.short).Error()})
		return
	}
	promised := msg.FixedBytes + msg.KvBytes
	if err := n.memory.Take(promised); err != nil {
		ctx.Respond(&proto.Loaded{Error: fmt.Sprintf("%d models are loaded there, and of %d bytes %d are promised to them: this one needs %d",
			len(n.models), n.machine.Memory, n.memory.Used(), promised)})
		return
	}
	stats := &shardStats{}
	props := actor.PropsFromProducer(func() actor.Actor {
		return &layerShard{machine: n.machine, memory: n.memory, short: &n.watch.short, stats: stats}
	},
		actor.WithSupervisor(stopOnPanic(n.machine.Logger)))
	pid, err := ctx.SpawnNamed(props, layerShardName(msg.Model))
	if err != nil {
		n.memory.Give(promised)
		ctx.Respond(&proto.Loaded{Error: err.Error()})
		return
	}
	ctx.Watch(pid)
	n.models[msg.Model] = &loadedModel{pid: pid, ref: msg.Ref, client: msg.ConductorNode, stats: stats, promised: promised}
	n.tellMemory()
	n.machine.Endpoint.Expose(pid.Id)
	ctx.Forward(pid)
}

// maxStepTimeout bounds the wait for a step that a conductor may ask for.
const maxStepTimeout = 24 * time.Hour

// checkLoad refuses what no conductor of ours would ask for.
func checkLoad(m *proto.LoadModel) error {
	switch {
	case len(m.Nodes) == 0 || int(m.Node) >= len(m.Nodes) || len(m.Nodes) > 1<<10:
		return fmt.Errorf("load: node %d of %d", m.Node, len(m.Nodes))
	case m.BlockTokens == 0 || m.BlockTokens > 1<<16:
		return fmt.Errorf("load: block of %d tokens", m.BlockTokens)
	case m.Chunk == 0 || m.Chunk > 1<<16 || m.Rows > 1<<20 || m.RoundTokens > 1<<26:
		return fmt.Errorf("load: chunk of %d tokens, steps of %d, rounds of %d", m.Chunk, m.Rows, m.RoundTokens)
	case m.OwnRows > m.Rows || m.Asking > m.Rows:
		return fmt.Errorf("load: steps of %d and %d tokens, of at most %d", m.OwnRows, m.Asking, m.Rows)
	case slices.ContainsFunc(m.Askers, func(n uint32) bool { return int(n) >= len(m.Nodes) }):
		return fmt.Errorf("load: nodes %v of %d ask", m.Askers, len(m.Nodes))
	case !attention.Format(m.KvFormat).Valid():
		return fmt.Errorf("load: KV format %d is not known here", m.KvFormat)
	case m.KvBytes < 0 || m.FixedBytes < 0 || m.KvBytes > 1<<50 || m.FixedBytes > 1<<50:
		return fmt.Errorf("load: %d bytes to be kept, and %d for the KV cache", m.FixedBytes, m.KvBytes)
	case m.StepTimeoutMs <= 0 || m.StepTimeoutMs > maxStepTimeout.Milliseconds():
		return fmt.Errorf("load: a step timeout of %d ms is not between 1 ms and %v", m.StepTimeoutMs, maxStepTimeout)
	}
	return nil
}

// meet learns where another node is, which gossip may not have told yet.
func (n *node) meet(name, address string) {
	if name != n.machine.Name {
		n.machine.Endpoint.SetPeer(name, address)
	}
}

func (n *node) unload(ctx actor.Context, id uint64) {
	n.waiting = slices.DeleteFunc(n.waiting, func(w waitingLoad) bool { return w.msg.Model == id })
	if m := n.models[id]; m != nil {
		m.unloading = true
		ctx.Stop(m.pid)
	}
}

// stats sums up what the node has sent, holds and has promised. What is being unloaded is promised to nobody:
// a load waits for it.
func (n *node) stats() *proto.Stats {
	s := &proto.Stats{MemoryBytes: n.machine.Memory, ShortBytes: n.pressure.short}
	for _, w := range n.machine.Endpoint.Ways() {
		s.Ways = append(s.Ways, &proto.Way{Peer: w.Peer, Over: string(w.Over), Memory: w.Memory})
	}
	if n.machine.Runtime != nil {
		s.RuntimeBytes = n.machine.Runtime.Load()
	}
	for purpose, t := range n.machine.Endpoint.Counters() {
		if purpose == transport.Control {
			s.ControlBytes += int64(t.BytesOut)
		} else {
			s.LaneBytes += int64(t.BytesOut)
		}
	}
	for _, m := range n.models {
		s.KvBytes += m.stats.kv()
		s.WeightBytes += m.stats.weights.Load()
		if !m.unloading {
			bytes := m.promised + m.stats.lent.Load()
			s.PromisedBytes += bytes
			s.Promises = append(s.Promises, &proto.Promise{Ref: m.ref, Client: m.client, Bytes: bytes})
		}
	}
	return s
}
