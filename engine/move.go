package engine

import (
	"fmt"
	"sync"

	"github.com/orrery-ai/orrery/kvcache"
	"github.com/orrery-ai/orrery/residence"
	"github.com/orrery-ai/orrery/trace"
)

// SendPart sends one block's share in a copy to another member, layer by layer. messages is the number
// that the whole copy makes, by which the receiver knows when it has all. It may be called from any
// goroutine.
func (e *Engine) SendPart(seq, batch uint64, id uint32, to, messages int, p kvcache.Part) error {
	if to < 0 || to >= len(e.cfg.Nodes) || to == e.cfg.Node {
		return fmt.Errorf("a copy cannot go from %s to node %d", e.self(), to)
	}
	if !p.Use() {
		return fmt.Errorf("the block of layers %v has been dropped", p.Layers)
	}
	defer p.Release()
	var head [headerBytes]byte
	for l := p.Layers.First; l < p.Layers.End; l++ {
		kv := p.Layer(l)
		k, v, err := kvcache.Pack(e.cfg.Device, kv, e.shape)
		if err != nil {
			return fmt.Errorf("copy of layers %v, tokens from %d: %w", p.Layers, kv.First, err)
		}
		h := header{Kind: kindBlock, Layer: uint32(l), Seq: seq, Step: uint64(id), Epoch: batch, First: uint32(kv.First), Count: uint32(kv.Len),
			A: uint32(p.Layers.First), B: uint32(p.Layers.End), C: uint32(messages)}
		rec := e.trace.Load()
		began := rec.Now()
		if err := e.lanes.moveOut[to].Send(e.deadline(), h.encode(&head), k, v); err != nil {
			return fmt.Errorf("copy of layers %v, tokens from %d, to %s: %w", p.Layers, kv.First, e.cfg.Nodes[to], err)
		}
		copied(rec, trace.Copy, &h, to, began, len(k)+len(v))
	}
	return nil
}

// arrivals counts the messages of the copies that are coming in.
type arrivals struct {
	mu     sync.Mutex
	copies map[arrival]*progress
}

type arrival struct {
	seq, batch uint64
	id         uint32
}

type progress struct {
	messages uint32
	bytes    int64
	failed   bool
}

func (a *arrivals) forget(seq uint64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for k := range a.copies {
		if k.seq == seq {
			delete(a.copies, k)
		}
	}
}

// note counts a message of a copy, and reports whether the outcome is known with it: the copy is
// complete, or this is its first failure.
func (a *arrivals) note(k arrival, messages uint32, bytes int64, err error) (outcome bool, total int64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.copies == nil {
		a.copies = map[arrival]*progress{}
	}
	p := a.copies[k]
	if p == nil {
		p = &progress{}
		a.copies[k] = p
	}
	p.messages++
	p.bytes += bytes
	first := err != nil && !p.failed
	p.failed = p.failed || err != nil
	complete := p.messages == messages
	if complete {
		delete(a.copies, k)
	}
	return first || complete && !p.failed, p.bytes
}

// receiveBlock takes in one layer of a block that is copied to this node.
func (e *Engine) receiveBlock(from int, h header, payload []byte) {
	rec := e.trace.Load()
	began := rec.Now()
	s := e.sequence(h.Seq)
	if s == nil {
		return // closed while the copy was on its way
	}
	err := fmt.Errorf("a copy of kind %d, %d bytes is not one", h.Kind, len(payload))
	if h.Kind == kindBlock && len(payload)%2 == 0 {
		half := len(payload) / 2
		err = s.Receive(h.Epoch, residence.Span{First: int(h.A), End: int(h.B)}, int(h.Layer), int(h.First), int(h.Count), payload[:half], payload[half:])
	}
	copied(rec, trace.Arrive, &h, from, began, len(payload))
	k := arrival{h.Seq, h.Epoch, uint32(h.Step)}
	if outcome, total := e.arrivals.note(k, h.C, int64(len(payload)), err); outcome {
		e.cfg.OnCopied(k.seq, k.batch, k.id, total, err)
	}
}
