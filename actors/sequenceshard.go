package actors

import (
	"fmt"
	"log/slog"
	"slices"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/orrery-ai/orrery/engine"
	"github.com/orrery-ai/orrery/kvcache"
	"github.com/orrery-ai/orrery/proto"
	"github.com/orrery-ai/orrery/residence"
)

// sequenceShard owns this node's KV blocks of one sequence. Its children are the KVBlocks.
type sequenceShard struct {
	seq       *kvcache.Sequence
	node      uint32
	nodes     int
	engine    *engine.Engine
	conductor *actor.PID
	log       *slog.Logger
	blocks    map[*kvcache.Block]*actor.PID
	stopping  bool // an actor that stops still gets messages; a child made then would never be stopped
}

// blocksGrown tells a shard what a step did to the sequence's open blocks.
type blocksGrown struct{ opened, sealed []*kvcache.Block }

func newBlocksGrown(opened, sealed []*kvcache.Block) *blocksGrown {
	return &blocksGrown{slices.Clone(opened), slices.Clone(sealed)}
}

// Receive handles the messages to a sequence shard.
func (s *sequenceShard) Receive(ctx actor.Context) {
	if s.stopping {
		return
	}
	switch msg := ctx.Message().(type) {
	case *actor.Stopping:
		s.stopping = true
	case *blocksGrown:
		for _, b := range msg.opened {
			s.spawn(ctx, b, kvcache.Open)
		}
		s.tell(ctx, msg.sealed, seal{})
	case *proto.TakeUpEpoch:
		err := s.takeUp(ctx, msg)
		ctx.Send(s.conductor, &proto.EpochTaken{Sequence: s.seq.ID, Epoch: msg.Epoch.GetNumber(), Node: s.node, Error: errorText(err)})
	case *proto.CopyPart:
		if err := s.copyPart(ctx, msg); err != nil {
			s.copyFailed(ctx, msg.Batch, msg.Id, err)
		}
	case *proto.FillParts:
		s.fillParts(ctx, msg)
	case *sendFailed:
		s.copyFailed(ctx, msg.batch, msg.id, msg.err)
	case *proto.RetireEpochs:
		s.drop(ctx, s.seq.Retire(msg.Before))
		ctx.Send(s.conductor, &proto.Released{Sequence: s.seq.ID, Node: s.node, Before: msg.Before})
	case *proto.DiscardBatch:
		s.drop(ctx, s.seq.Discard(msg.Batch))
		ctx.Send(s.conductor, &proto.Released{Sequence: s.seq.ID, Node: s.node, Batch: msg.Batch})
	}
}

func (s *sequenceShard) spawn(ctx actor.Context, b *kvcache.Block, state kvcache.State) {
	s.blocks[b] = ctx.Spawn(actor.PropsFromProducer(func() actor.Actor {
		return &kvBlock{seq: s.seq.ID, engine: s.engine, state: state, log: s.log}
	}))
}

func (s *sequenceShard) tell(ctx actor.Context, blocks []*kvcache.Block, msg any) {
	for _, b := range blocks {
		if pid := s.blocks[b]; pid != nil {
			ctx.Send(pid, msg)
		}
	}
}

func (s *sequenceShard) drop(ctx actor.Context, blocks []*kvcache.Block) {
	s.tell(ctx, blocks, drop{})
	for _, b := range blocks {
		delete(s.blocks, b)
	}
}

func (s *sequenceShard) takeUp(ctx actor.Context, msg *proto.TakeUpEpoch) error {
	e, err := epochFromProto(msg.Epoch, s.seq.Geometry().Layers, s.nodes)
	if err != nil {
		return err
	}
	arrived, closed, err := s.seq.TakeUp(e, msg.Batch)
	for _, b := range arrived {
		s.spawn(ctx, b, kvcache.Sealed)
	}
	s.tell(ctx, closed, seal{})
	return err
}

// copyPart has every block that is in a copy send its share.
func (s *sequenceShard) copyPart(ctx actor.Context, msg *proto.CopyPart) error {
	parts, err := s.seq.Parts(rectFromProto(msg.Rect))
	if err != nil {
		return err
	}
	messages := 0
	for _, p := range parts {
		messages += p.Layers.Len()
		if s.blocks[p.Block] == nil {
			return fmt.Errorf("block of %v has no actor", p.Block.Rect)
		}
	}
	for _, p := range parts {
		ctx.Request(s.blocks[p.Block], &sendPart{batch: msg.Batch, id: msg.Id, to: int(msg.To), messages: messages, part: p})
	}
	return nil
}

// fillParts has the engine make parts up.
func (s *sequenceShard) fillParts(ctx actor.Context, msg *proto.FillParts) {
	if len(msg.Ids) == 0 || len(msg.Ids) != len(msg.Rects) {
		s.log.Warn("a fill that is none", "ids", len(msg.Ids), "rects", len(msg.Rects))
		return
	}
	rects := make([]residence.Rect, len(msg.Rects))
	for i, r := range msg.Rects {
		rects[i] = rectFromProto(r)
	}
	if err := s.engine.Fill(s.seq, msg.Batch, msg.Ids, rects, msg.Seed); err != nil {
		s.copyFailed(ctx, msg.Batch, msg.Ids[0], err)
	}
}

func (s *sequenceShard) copyFailed(ctx actor.Context, batch uint64, id uint32, err error) {
	ctx.Send(s.conductor, &proto.Copied{Sequence: s.seq.ID, Batch: batch, Id: id, Node: s.node, Error: err.Error()})
}
