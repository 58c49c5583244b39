package engine

import (
	"encoding/binary"
	"fmt"
	"time"

	"github.com/orrery-ai/orrery/attention"
	"github.com/orrery-ai/orrery/device"
	"github.com/orrery-ai/orrery/kvcache"
	"github.com/orrery-ai/orrery/placement"
	"github.com/orrery-ai/orrery/transport"
	"github.com/orrery-ai/orrery/transport/topology"
)

// parcel is one layer of some blocks of one node, on its way round the ring. Blocks travel several at a
// time (see [placement.ParcelBlocks]): a hop costs a wait for the slowest node, and attention over more keys at once is faster.
type parcel struct {
	layer   int
	kv      []attention.KV     // empty: its origin has no further blocks
	parcels int                // how many parcels of the layer the origin has
	msg     *transport.Message // nil: the blocks are this node's, in the device's memory
}

// extentBytes is the size of a block's first token and length, which precede the data of all blocks.
const extentBytes = 8

// belt is the topology.Belt of parcels for one round of ring prefill.
type belt struct {
	*topology.Belt[parcel]
	engine *Engine
	h      header
	next   *transport.Sender
	prev   *transport.Receiver
	names  [2]string      // of the previous and the next node
	told   bool           // the previous node has said that the round has failed
	done   bool           // nobody waits for anything more from this node
	layer  int            // whose parcels go round
	seen   int64          // when the parcel in hand had been attended to, on the trace's clock
	view   []attention.KV // of the parcel in hand
	table  *kvcache.Table // of the round's epoch: what is sent lies in it, and in the engine's step
}

func newBelt(e *Engine, h header) *belt {
	next, prev := e.ring.Next(), e.ring.Prev()
	b := &belt{engine: e, h: h, next: e.lanes.ringOut[next], prev: e.lanes.ringIn[prev], names: [2]string{e.cfg.Nodes[prev], e.cfg.Nodes[next]}}
	out := outgoing{extents: make([]byte, 0, extentBytes*placement.ParcelBlocks(e.cfg.BlockTokens))}
	b.Belt = topology.NewBelt(func(p parcel) error { return b.send(&out, p) }, b.take, b.release)
	return b
}

// outgoing is what the goroutine that sends reuses.
type outgoing struct {
	head    [headerBytes]byte
	extents []byte
	parts   [][]byte
}

func (b *belt) send(out *outgoing, p parcel) error {
	h := b.h
	h.Kind, h.Layer, h.Count, h.A = kindBlock, uint32(p.layer), uint32(len(p.kv)), uint32(p.parcels)
	out.extents, out.parts = out.extents[:0], append(out.parts[:0], nil)
	var memory device.Memory = device.Host{}
	if p.msg == nil {
		memory = b.engine.cfg.Device
	}
	for i := range p.kv {
		kv := &p.kv[i]
		out.extents = binary.LittleEndian.AppendUint32(out.extents, uint32(kv.First))
		out.extents = binary.LittleEndian.AppendUint32(out.extents, uint32(kv.Len))
		k, v, err := kvcache.Pack(memory, kv, b.engine.shape)
		if err != nil {
			return fmt.Errorf("ring: to %s: %w", b.names[1], err)
		}
		out.parts = append(out.parts, k, v)
	}
	out.parts[0] = out.extents
	rec := b.engine.trace.Load()
	began, bytes := rec.Now(), 0
	if err := b.next.Send(b.engine.deadline(), h.encode(&out.head), out.parts...); err != nil {
		return fmt.Errorf("ring: to %s: %w", b.names[1], err)
	}
	for _, part := range out.parts {
		bytes += len(part)
	}
	sent(rec, &h, transport.KVRing, b.engine.ring.Next(), p.layer, began, bytes)
	return nil
}

// take waits for the next parcel from the previous node. What an earlier round left behind is passed over.
func (b *belt) take() (parcel, error) {
	deadline, rec := b.engine.deadline(), b.engine.work.trace
	waited(rec, &b.h, transport.KVRing, b.engine.ring.Next(), b.layer, b.seen, 0)
	began := rec.Now()
	for {
		p, stale, err := b.receive(deadline)
		if err != nil {
			return p, fmt.Errorf("ring: layer %d from %s: %w", b.layer, b.names[0], err)
		}
		if !stale {
			waited(rec, &b.h, transport.KVRing, b.engine.ring.Prev(), b.layer, began, len(p.msg.Bytes))
			arrived(rec, &b.h, b.engine.ring.Prev(), b.layer, p.msg)
			return p, nil
		}
	}
}

func (b *belt) receive(deadline time.Time) (p parcel, stale bool, err error) {
	msg, err := b.prev.Receive(deadline)
	if err != nil {
		return p, false, err
	}
	h, payload, err := decode(msg.Bytes)
	if err == nil && (h.Seq != b.h.Seq || h.Step != b.h.Step) {
		msg.Release()
		return p, true, nil
	}
	if err == nil {
		p, err = b.parse(h, payload, b.layer)
	}
	if err != nil {
		msg.Release()
		return p, false, err
	}
	p.msg = msg
	return p, false, nil
}

func (b *belt) parse(h header, payload []byte, layer int) (parcel, error) {
	if h.Kind == kindFail {
		b.told = true
		return parcel{}, parseReason(payload)
	}
	n := int(h.Count)
	if h.Kind != kindBlock || int(h.Layer) != layer || h.A > 1<<24 || n > placement.ParcelBlocks(b.engine.cfg.BlockTokens) || len(payload) < n*extentBytes {
		return parcel{}, fmt.Errorf("message of kind %d, layer %d, %d blocks, %d bytes is not the parcel expected", h.Kind, h.Layer, n, len(payload))
	}
	b.view = b.view[:0]
	extents, data := payload[:n*extentBytes], payload[n*extentBytes:]
	for i := range n {
		first, tokens := binary.LittleEndian.Uint32(extents[i*extentBytes:]), int(binary.LittleEndian.Uint32(extents[i*extentBytes+4:]))
		half := b.engine.shape.BlockBytes(b.engine.cfg.KV, min(tokens, b.engine.cfg.BlockTokens)) / 2
		if tokens > b.engine.cfg.BlockTokens || len(data) < 2*half {
			return parcel{}, fmt.Errorf("block %d of a parcel has %d tokens in %d bytes", i, tokens, len(data))
		}
		b.view = append(b.view, attention.KV{Format: b.engine.cfg.KV, First: int(first), Len: tokens, Cap: tokens, K: data[:half], V: data[half : 2*half]})
		data = data[2*half:]
	}
	if len(data) > 0 {
		return parcel{}, fmt.Errorf("a parcel of %d blocks has %d bytes too many", n, len(data))
	}
	return parcel{layer: layer, kv: b.view, parcels: int(h.A)}, nil
}

// release lets the memory of a parcel that came by be used for another.
func (b *belt) release(p parcel) {
	if p.msg != nil {
		p.msg.Release()
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

// close ends the belt, after the send under way, and with it the round's use of blocks.
func (b *belt) close() {
	b.Close()
	if b.table != nil {
		b.table.Release()
	}
	b.engine.work.step.Release()
}
