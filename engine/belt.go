package engine

import (
	"fmt"
	"time"

	"github.com/orrery-ai/orrery/attention"
	"github.com/orrery-ai/orrery/kvcache"
	"github.com/orrery-ai/orrery/transport"
)

// carried is one layer of a block on its way round the ring.
type carried struct {
	kv     attention.KV // Len 0: its origin has no further block
	blocks int          // how many blocks of the layer the origin has
	msg    *transport.Message
}

// belt moves blocks to the next node of the ring and from the previous one, for one round. Sending has
// a goroutine of its own, so that it overlaps with attention; the goroutine ends with close.
type belt struct {
	engine *Engine
	h      header
	next   *transport.Sender
	prev   *transport.Receiver
	names  [2]string // of the previous and the next node
	told   bool      // the previous node has said that the round has failed
	done   bool      // nobody waits for anything more from this node
	orders chan order
	sent   chan error
}

type order struct {
	layer int
	c     carried
}

func newBelt(e *Engine, h header) *belt {
	n := len(e.cfg.Nodes)
	next, prev := (e.cfg.Node+1)%n, (e.cfg.Node+n-1)%n
	b := &belt{engine: e, h: h, next: e.lanes.ringOut[next], prev: e.lanes.ringIn[prev],
		names: [2]string{e.cfg.Nodes[prev], e.cfg.Nodes[next]}, orders: make(chan order, 1), sent: make(chan error, 1)}
	go func() {
		defer close(b.sent)
		var head [headerBytes]byte
		for o := range b.orders {
			b.sent <- b.send(&head, o)
		}
	}()
	return b
}

func (b *belt) send(head *[headerBytes]byte, o order) error {
	h := b.h
	h.Kind, h.Layer, h.First, h.Count, h.A = kindBlock, uint32(o.layer), uint32(o.c.kv.First), uint32(o.c.kv.Len), uint32(o.c.blocks)
	var k, v []byte
	if o.c.kv.Len > 0 {
		k, v = kvcache.Pack(&o.c.kv, b.engine.shape)
	}
	return b.next.Send(b.engine.deadline(), h.encode(head), k, v)
}

// pass begins to send c on; passed returns when that is done, and must follow before c is released.
func (b *belt) pass(layer int, c carried) { b.orders <- order{layer, c} }

func (b *belt) passed() error {
	if err := <-b.sent; err != nil {
		return fmt.Errorf("ring: to %s: %w", b.names[1], err)
	}
	return nil
}

// take waits for the next block from the previous node. What an earlier round left behind is passed over.
func (b *belt) take(layer int) (carried, error) {
	deadline := b.engine.deadline()
	for {
		c, stale, err := b.receive(layer, deadline)
		if err != nil {
			return c, fmt.Errorf("ring: layer %d from %s: %w", layer, b.names[0], err)
		}
		if !stale {
			return c, nil
		}
	}
}

func (b *belt) receive(layer int, deadline time.Time) (c carried, stale bool, err error) {
	msg, err := b.prev.Receive(deadline)
	if err != nil {
		return c, false, err
	}
	h, payload, err := decode(msg.Bytes)
	if err == nil && (h.Seq != b.h.Seq || h.Step != b.h.Step) {
		msg.Release()
		return c, true, nil
	}
	if err == nil {
		c, err = b.parse(h, payload, layer)
	}
	if err != nil {
		msg.Release()
		return c, false, err
	}
	c.msg = msg
	return c, false, nil
}

func (b *belt) parse(h header, payload []byte, layer int) (carried, error) {
	if h.Kind == kindFail {
		b.told = true
		return carried{}, parseReason(payload)
	}
	n := int(h.Count)
	half := n * b.engine.shape.KVBytes(b.engine.cfg.KV) / 2
	if h.Kind != kindBlock || int(h.Layer) != layer || n > b.engine.cfg.BlockTokens || len(payload) != 2*half || h.A > 1<<24 {
		return carried{}, fmt.Errorf("message of kind %d, layer %d, %d tokens, %d bytes is not the block expected", h.Kind, h.Layer, n, len(payload))
	}
	return carried{blocks: int(h.A), kv: attention.KV{Format: b.engine.cfg.KV, First: int(h.First), Len: n, Cap: n, K: payload[:half], V: payload[half:]}}, nil
}

// release lets the memory of a block that came by be used for another.
func (b *belt) release(c carried) {
	if c.msg != nil {
		c.msg.Release()
	}
}

// abortTimeout bounds the sending of a failure to the next node.
const abortTimeout = time.Second

// abort tells the next node that the round has failed, and it tells the one behind it, until all know;
// without it they would find out at their deadlines. What the previous node still sends is taken in and
// dropped until it knows too: it cannot listen while its own block waits for room here.
func (b *belt) abort(cause error) {
	e := b.engine
	if b.next == nil {
		return
	}
	h := b.h
	h.Kind = kindFail
	var head [headerBytes]byte
	if err := b.next.Send(time.Now().Add(abortTimeout), h.encode(&head), reason(cause)); err != nil {
		e.cfg.Logger.Debug("the failure of a round could not be passed on", "err", err)
	}
	for deadline := e.deadline(); !b.told; {
		msg, err := b.prev.Receive(deadline)
		if err != nil {
			return
		}
		h, _, err := decode(msg.Bytes)
		b.told = err == nil && h.Kind == kindFail && h.Seq == b.h.Seq && h.Step == b.h.Step
		msg.Release()
	}
}

// close ends the goroutine that sends, after the send under way.
func (b *belt) close() {
	close(b.orders)
	for range b.sent {
	}
}
