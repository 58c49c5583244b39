package actors

import (
	"log/slog"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/orrery-ai/orrery/engine"
	"github.com/orrery-ai/orrery/kvcache"
)

// kvBlock is the life of one block of a sequence.
type kvBlock struct {
	seq    uint64
	engine *engine.Engine
	state  kvcache.State
	log    *slog.Logger
}

// seal says that the block has its last token.
type seal struct{}

// drop says that no epoch uses the block any more. Its memory has been given back.
type drop struct{}

// sendPart asks for the block's share of a copy to be sent to a node. Only a failure is answered, with
// sendFailed: that it arrived is for the receiver to say.
type sendPart struct {
	batch    uint64
	id       uint32
	to       int
	messages int
	part     kvcache.Part
}

type sendFailed struct {
	batch uint64
	id    uint32
	err   error
}

// Receive handles the messages to a block.
func (b *kvBlock) Receive(ctx actor.Context) {
	switch msg := ctx.Message().(type) {
	case seal:
		if err := b.become(kvcache.Sealed); err != nil {
			b.log.Error("KV block", "err", err)
		}
	case *sendPart:
		if err := b.send(msg); err != nil {
			ctx.Respond(&sendFailed{msg.batch, msg.id, err})
		}
	case drop:
		if err := b.become(kvcache.Dropped); err != nil {
			b.log.Error("KV block", "err", err)
		}
		ctx.Stop(ctx.Self())
	}
}

func (b *kvBlock) become(s kvcache.State) (err error) {
	b.state, err = b.state.To(s)
	return err
}

func (b *kvBlock) send(msg *sendPart) error {
	if err := b.become(kvcache.Moving); err != nil {
		return err
	}
	err := b.engine.SendPart(b.seq, msg.batch, msg.id, msg.to, msg.messages, msg.part)
	if back := b.become(kvcache.Sealed); err == nil {
		err = back
	}
	return err
}
