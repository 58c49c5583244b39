package actors

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/orrery-ai/orrery/attention"
	"github.com/orrery-ai/orrery/engine"
	"github.com/orrery-ai/orrery/kvcache"
	"github.com/orrery-ai/orrery/model"
	"github.com/orrery-ai/orrery/placement"
	"github.com/orrery-ai/orrery/proto"
	"github.com/orrery-ai/orrery/residence"
)

// layerShard owns the weights of a node's layers of one model, and runs them through its engine. Its
// children are the SequenceShards.
type layerShard struct {
	machine   Machine
	memory    *kvcache.Budget // of the node
	short     *atomic.Int64   // bytes of what the node has promised that other programs took
	stats     *shardStats
	spec      *proto.LoadModel
	model     *model.Model
	engine    *engine.Engine
	geometry  kvcache.Geometry
	budget    *kvcache.Budget
	conductor *actor.PID
	loader    *actor.PID // awaits the first layers
	shards    map[uint64]*sequenceChild
	traced    traced
	stopping  bool
	connected bool // the lanes to the other nodes were opened, once

	ctx     context.Context // ends with the actor
	cancel  context.CancelFunc
	loading sync.WaitGroup
	mu      sync.Mutex
	loaded  []*model.Decoder // all that were loaded on the device
}

type sequenceChild struct {
	pid  *actor.PID
	seq  *kvcache.Sequence
	lent int64 // bytes beyond what was promised to the model
}

// shardStats is what a shard tells its Node without being asked.
type shardStats struct {
	weights atomic.Int64
	lent    atomic.Int64 // beyond what was promised
	budget  atomic.Pointer[kvcache.Budget]
}

func (s *shardStats) kv() int64 {
	if b := s.budget.Load(); b != nil {
		return b.Used()
	}
	return 0
}

// layersReady is what the goroutine that loads layers tells its shard. loader awaits the model, if these are
// its first layers.
type layersReady struct {
	decoder *model.Decoder
	bytes   int64
	loader  *actor.PID
	err     error
}

// Receive handles the messages to a layer shard.
func (s *layerShard) Receive(ctx actor.Context) {
	switch msg := ctx.Message().(type) {
	case *actor.Started:
		s.shards = map[uint64]*sequenceChild{}
		s.ctx, s.cancel = context.WithCancel(context.Background())
	case *proto.LoadModel:
		if err := s.load(ctx, msg); err != nil {
			ctx.Respond(&proto.Loaded{Error: err.Error()})
		}
	case *proto.Connect:
		ctx.Respond(&proto.Connected{Error: errorText(s.connect())})
	case *proto.LoadLayers:
		s.loadMore(ctx, spanFromProto(msg.Layers))
	case *layersReady:
		s.layersReady(ctx, msg)
	case *proto.OpenSequence:
		err, short := fmt.Errorf("the model is being unloaded"), s.short.Load()
		switch {
		case s.stopping:
		case short > 0:
			err = shortError(s.machine.Name, short)
		default:
			err = s.open(ctx, msg)
		}
		ctx.Respond(&proto.SequenceOpened{Sequence: msg.Sequence, Node: s.spec.GetNode(), Error: errorText(err), Short: short > 0})
	case *proto.Lend:
		err := s.lend(msg.Sequence, msg.Bytes)
		if msg.Bytes > 0 {
			ctx.Respond(&proto.Lent{Sequence: msg.Sequence, Node: s.spec.GetNode(), Error: errorText(err)})
		}
	case *proto.ReadClock, *proto.StartTrace, *proto.StopTrace, *proto.ReadSpans:
		s.tracing(ctx)
	case *proto.CloseSequence:
		s.closeSequence(ctx, msg.Sequence)
	case *actor.Stopping:
		// The lanes end first: a KVBlock that is sending is woken by that, and can stop.
		s.stopping = true
		s.cancel()
		if s.loader != nil {
			ctx.Send(s.loader, &proto.Loaded{Error: "the model is being unloaded"})
		}
		if s.engine != nil {
			s.engine.Close()
		}
		for id := range s.shards {
			s.closeSequence(ctx, id)
		}
	case *actor.Stopped:
		s.loading.Wait()
		for _, d := range s.loaded {
			d.Unload()
		}
		if s.model != nil {
			s.model.Close()
		}
	}
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// load opens the model, registers the lanes, and begins to make the node's layers available; the loader is
// answered when they are.
func (s *layerShard) load(ctx actor.Context, msg *proto.LoadModel) error {
	if s.spec != nil {
		return fmt.Errorf("model %x is loaded already", msg.Model)
	}
	m, err := s.machine.Open(msg.Ref)
	if err != nil {
		return err
	}
	s.spec, s.model = msg, m
	if got := fmt.Sprintf("%x", m.Fingerprint()); got != msg.Fingerprint {
		return fmt.Errorf("model %s on %s is another one: its fingerprint is %.12s, not %.12s", msg.Ref, s.machine.Name, got, msg.Fingerprint)
	}
	s.conductor = actor.NewPID(msg.ConductorNode, msg.ConductorId)
	s.geometry = kvcache.Geometry{Shape: m.Config.Shape(), Layers: m.Config.Layers, Format: attention.Format(msg.KvFormat), BlockTokens: int(msg.BlockTokens), Memory: s.machine.Device}
	s.budget = kvcache.NewBudget(msg.KvBytes)
	s.stats.budget.Store(s.budget)
	askers := make([]int, len(msg.Askers))
	for i, n := range msg.Askers {
		askers[i] = int(n)
	}
	if step := engine.Footprint(m, s.geometry.Format, int(msg.BlockTokens), len(msg.Nodes), false).Step(int(msg.OwnRows)); step > msg.FixedBytes {
		return fmt.Errorf("load: steps of %d tokens take %d bytes, and %d are kept for weights, activations and the rest", msg.OwnRows, step, msg.FixedBytes)
	}
	self, root := ctx.Self(), ctx.ActorSystem().Root
	s.engine, err = engine.New(engine.Config{
		Model: m, Device: s.machine.Device, Endpoint: s.machine.Endpoint, ModelID: msg.Model,
		Nodes: msg.Nodes, Node: int(msg.Node), Client: msg.ConductorNode,
		Rows: int(msg.Rows), Room: placement.Room{Rows: int(msg.OwnRows), Asking: int(msg.Asking)}, Askers: askers, RoundTokens: int(msg.RoundTokens), BlockTokens: int(msg.BlockTokens), KV: s.geometry.Format,
		StepTimeout: time.Duration(msg.StepTimeoutMs) * time.Millisecond, Logger: s.machine.Logger, Leaving: s.machine.Leaving,
		OnBlocks: func(seq uint64, opened, sealed []*kvcache.Block) {
			root.Send(actor.NewPID(self.Address, self.Id+"/"+sequenceShardName(seq)), newBlocksGrown(opened, sealed))
		},
		OnCopied: func(seq, batch uint64, id uint32, bytes int64, err error) {
			root.Send(s.conductor, &proto.Copied{Sequence: seq, Batch: batch, Id: id, Bytes: bytes, Node: msg.Node, Error: errorText(err)})
		},
	})
	if err != nil {
		return err
	}
	layers := spanFromProto(msg.Layers)
	if layers.Len() == 0 { // more nodes than layers: this one only holds KV blocks
		ctx.Respond(&proto.Loaded{})
		return nil
	}
	s.loader = ctx.Sender()
	s.fetch(ctx, layers, s.loader)
	return nil
}

func (s *layerShard) connect() error {
	if s.engine == nil {
		return fmt.Errorf("no model is loaded")
	}
	if s.connected {
		return fmt.Errorf("the lanes to the other nodes are open already")
	}
	s.connected = true
	return s.engine.Connect()
}

// loadMore brings further layers into memory beside the running steps, and then makes them available.
func (s *layerShard) loadMore(ctx actor.Context, layers residence.Span) {
	if s.engine == nil {
		return
	}
	if layers.First < 0 || layers.End > s.geometry.Layers || layers.Len() < 1 {
		s.layersReady(ctx, &layersReady{err: fmt.Errorf("layers %v, of a model that has %d", layers, s.geometry.Layers)})
		return
	}
	bytes := s.model.RangeBytes(model.Range(layers))
	if limit := s.spec.FixedBytes; bytes > limit {
		s.layersReady(ctx, &layersReady{err: fmt.Errorf("node %s keeps %d bytes for weights, layers %v need %d", s.machine.Name, limit, layers, bytes)})
		return
	}
	s.fetch(ctx, layers, nil)
}

// fetch makes the weights of layers resident, in the background.
func (s *layerShard) fetch(ctx actor.Context, layers residence.Span, loader *actor.PID) {
	self, root := ctx.Self(), ctx.ActorSystem().Root
	s.loading.Go(func() {
		ready := &layersReady{loader: loader}
		if ready.decoder, ready.err = s.model.Layers(model.Range(layers)); ready.err == nil {
			ready.bytes = s.model.RangeBytes(ready.decoder.Range)
			ready.err = ready.decoder.Load(s.ctx, s.machine.Device, s.tellLoading(root))
		}
		if ready.err == nil {
			s.mu.Lock()
			s.loaded = append(s.loaded, ready.decoder)
			s.mu.Unlock()
		}
		settled := s.machine.settling.begin()
		defer settled()
		root.Send(self, ready)
		if ready.err == nil {
			if err := ready.decoder.Settle(s.ctx); err != nil && s.ctx.Err() == nil {
				s.machine.Logger.Debug("weights stay in small pages", "layers", layers, "err", err)
			}
		}
	})
}

// loadingEvery is how often a node tells how far it is. What takes less is not told of.
const loadingEvery = 300 * time.Millisecond

// tellLoading tells the conductor how many bytes of weights have been read.
func (s *layerShard) tellLoading(root *actor.RootContext) func(done, total int64) {
	told := time.Now()
	return func(done, total int64) {
		if now := time.Now(); now.Sub(told) >= loadingEvery {
			told = now
			root.Send(s.conductor, &proto.LayersLoading{Node: s.spec.Node, Done: uint64(done), Total: uint64(total)})
		}
	}
}

func (s *layerShard) layersReady(ctx actor.Context, msg *layersReady) {
	if msg.err == nil {
		s.engine.SetDecoder(msg.decoder)
		s.stats.weights.Store(msg.bytes)
	}
	if msg.loader != nil {
		s.loader = nil
		ctx.Send(msg.loader, &proto.Loaded{WeightBytes: msg.bytes, Error: errorText(msg.err)})
		return
	}
	ctx.Send(s.conductor, &proto.LayersLoaded{Node: s.spec.Node, Error: errorText(msg.err)})
}

// open makes a sequence and its shard.
func (s *layerShard) open(ctx actor.Context, msg *proto.OpenSequence) error {
	if s.engine == nil {
		return fmt.Errorf("no model is loaded")
	}
	if s.shards[msg.Sequence] != nil {
		return fmt.Errorf("sequence %d is open already", msg.Sequence)
	}
	first, err := epochFromProto(msg.Epoch, s.geometry.Layers, len(s.spec.Nodes))
	if err != nil {
		return err
	}
	seq, err := kvcache.NewSequence(msg.Sequence, int(s.spec.Node), s.geometry, s.budget, first)
	if err != nil {
		return err
	}
	props := actor.PropsFromProducer(func() actor.Actor {
		return &sequenceShard{seq: seq, node: s.spec.Node, nodes: len(s.spec.Nodes), engine: s.engine, conductor: s.conductor, log: s.machine.Logger,
			blocks: map[*kvcache.Block]*actor.PID{}}
	}, actor.WithSupervisor(stopOnPanic(s.machine.Logger)))
	pid, err := ctx.SpawnNamed(props, sequenceShardName(msg.Sequence))
	if err != nil {
		return err
	}
	s.machine.Endpoint.Expose(pid.Id)
	s.shards[msg.Sequence] = &sequenceChild{pid: pid, seq: seq}
	s.engine.AddSequence(seq)
	return nil
}

func (s *layerShard) closeSequence(ctx actor.Context, id uint64) {
	c := s.shards[id]
	if c == nil {
		return
	}
	delete(s.shards, id)
	s.engine.RemoveSequence(id)
	s.machine.Endpoint.Unexpose(c.pid.Id)
	ctx.Stop(c.pid)
	c.seq.Release()
	s.memory.Give(c.lent)
	s.budget.Raise(-c.lent)
	s.stats.lent.Add(-c.lent)
}

// lend keeps so many bytes in all for a sequence, beyond what was promised, if the node has them.
func (s *layerShard) lend(id uint64, bytes int64) error {
	c := s.shards[id]
	if c == nil || bytes < 0 {
		return fmt.Errorf("sequence %d is not open, or %d bytes cannot be lent", id, bytes)
	}
	if bytes > c.lent {
		if short := s.short.Load(); short > 0 {
			return shortError(s.machine.Name, short)
		}
		if err := s.memory.Take(bytes - c.lent); err != nil {
			return err
		}
	} else {
		s.memory.Give(c.lent - bytes)
	}
	s.budget.Raise(bytes - c.lent)
	s.stats.lent.Add(bytes - c.lent)
	c.lent = bytes
	return nil
}
