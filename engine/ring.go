package engine

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/orrery-ai/orrery/attention"
	"github.com/orrery-ai/orrery/kvcache"
	"github.com/orrery-ai/orrery/placement"
	"github.com/orrery-ai/orrery/residence"
	"github.com/orrery-ai/orrery/trace"
)

// pieceBytes is the size of an encoded residence.Piece.
const pieceBytes = 12

func encodePieces(ps []residence.Piece) []byte {
	b := make([]byte, 0, len(ps)*pieceBytes)
	for _, p := range ps {
		for _, v := range []uint32{uint32(p.Tokens.First), uint32(p.Tokens.End), uint32(p.Node)} {
			b = binary.LittleEndian.AppendUint32(b, v)
		}
	}
	return b
}

// decodePieces reads n pieces, which must be the consecutive tokens [first, first+count).
func decodePieces(b []byte, n, first, count int) ([]residence.Piece, error) {
	if n < 1 || len(b) != n*pieceBytes {
		return nil, fmt.Errorf("%d pieces of a round came in %d bytes", n, len(b))
	}
	ps := make([]residence.Piece, n)
	next := first
	for i := range ps {
		u := func(j int) int { return int(binary.LittleEndian.Uint32(b[i*pieceBytes+4*j:])) }
		ps[i] = residence.Piece{Tokens: residence.Span{First: u(0), End: u(1)}, Node: u(2)}
		if ps[i].Tokens.First != next || ps[i].Tokens.Len() <= 0 {
			return nil, fmt.Errorf("piece %d of a round is tokens %v, expected to begin at %d", i, ps[i].Tokens, next)
		}
		next = ps[i].Tokens.End
	}
	if next != first+count {
		return nil, fmt.Errorf("the pieces of a round end at token %d, not %d", next, first+count)
	}
	return ps, nil
}

// round runs this node's part of a round of ring prefill (pass-KV; Liu et al., Ring Attention, 2023, and
// Yang et al., arXiv 2411.01783): its own tokens through every layer, while the KV blocks of all nodes,
// the round's own included, pass by. Each node takes part even when it has no token of the round.
func (e *Engine) round(h header, payload []byte) error {
	b := newBelt(e, h)
	err := e.roundOn(b, h, payload)
	if err != nil && !b.done {
		b.abort(err)
	}
	if err != nil {
		_ = e.work.wait() // what was recorded uses blocks that close gives up
	}
	b.close()
	return err
}

func (e *Engine) roundOn(b *belt, h header, payload []byte) error {
	w := &e.work
	w.trace = e.trace.Load()
	began := w.trace.Now()
	defer w.trace.Add(spanOf(trace.Chunk, &h, trace.NoLayer, began))
	split := int(h.A) * pieceBytes
	if split < 0 || split > len(payload) {
		return fmt.Errorf("%d pieces of a round came in %d bytes", h.A, len(payload))
	}
	pieces, err := decodePieces(payload[:split], int(h.A), int(h.First), int(h.Count))
	if err != nil {
		return err
	}
	ids, err := viewOf[int32](payload[split:], int(h.Count))
	if err != nil {
		return err
	}
	seq, table, err := e.find(h)
	if err != nil {
		return err
	}
	b.table = table
	all := residence.Span{First: 0, End: e.layers}
	dec, err := e.decoderFor(all)
	if err != nil {
		return err
	}
	if err := e.takePieces(pieces, ids, int(h.First)); err != nil {
		return err
	}
	w.scratch.Resize(len(w.ids))
	if len(w.ids) > 0 {
		dec.Embed(w.stream, w.scratch, w.ids)
		for _, r := range w.runs {
			dec.Angles(w.stream, w.scratch, r.row, r.first, r.n)
		}
	}
	e.computed(trace.Embed, &h, 0, began)
	if err := w.step.BeginPieces(seq.Sequence, all, table.Epoch.Covered, w.mine); err != nil {
		return err
	}
	for l := range e.layers {
		if len(w.ids) > 0 {
			began := w.trace.Now()
			dec.QKV(w.stream, l, w.scratch)
			e.store(l)
			e.computed(trace.Project, &h, l, began)
			if err := w.wait(); err != nil {
				return err
			}
		}
		if err := e.rotate(b, table, l); err != nil {
			return err
		}
		if len(w.ids) > 0 {
			began := w.trace.Now()
			w.stream.Finish(w.scratch.Attn, w.local.Slice(0, len(w.ids)))
			e.computed(trace.Merge, &h, l, began)
			began = w.trace.Now()
			dec.AfterAttention(w.stream, l, w.scratch)
			e.computed(trace.Forward, &h, l, began)
		}
	}
	b.done = true
	if len(w.ids) > 0 {
		return e.finish(h, dec, residence.Span{End: e.layers})
	}
	if err := w.wait(); err != nil {
		return err
	}
	e.endStep(h.Seq)
	return e.done(h, -1, false)
}

// takePieces notes which pieces are this node's: their ids, row after row, and their runs.
func (e *Engine) takePieces(pieces []residence.Piece, ids []int32, first int) error {
	w := &e.work
	w.mine, w.ids, w.runs = w.mine[:0], w.ids[:0], w.runs[:0]
	for _, p := range pieces {
		if p.Node != e.cfg.Node {
			continue
		}
		w.mine = append(w.mine, p)
		w.runs = append(w.runs, run{len(w.ids), p.Tokens.First, p.Tokens.Len()})
		w.ids = append(w.ids, ids[p.Tokens.First-first:p.Tokens.End-first]...)
	}
	if len(w.ids) > e.cfg.Room.Rows {
		return fmt.Errorf("%d tokens of a round are more than the %d that %s has room for", len(w.ids), e.cfg.Room.Rows, e.self())
	}
	return e.checkIDs(w.ids)
}

// rotate attends to every block of a layer, wherever it is. In rotation j the j-th parcels of all nodes
// make one trip round the ring, and a node attends to each while it passes that on. A node's turn without
// blocks is an empty parcel, so that all nodes go through the same hops. The first rotation tells how many there are to be.
func (e *Engine) rotate(b *belt, table *kvcache.Table, layer int) error {
	w := &e.work
	local := w.local.Slice(0, len(w.ids))
	w.stream.Reset(local)
	b.layer = layer
	w.own = w.step.AppendTail(append(w.own[:0], table.Held(layer)...), layer)
	size := placement.ParcelBlocks(e.cfg.BlockTokens)
	mine := (len(w.own) + size - 1) / size
	rotations := max(mine, 1)
	for j := 0; j < rotations; j++ {
		own := parcel{layer: layer, parcels: mine}
		if j < mine {
			own.kv = w.own[j*size : min((j+1)*size, len(w.own))]
		}
		var failed error
		err := b.AllGather(e.ring.Len(), own, func(p parcel) {
			rotations = max(rotations, p.parcels)
			began := w.trace.Now()
			if failed == nil {
				failed = e.attendPassing(local, p)
			}
			e.computed(trace.Attend, &b.h, layer, began)
			b.seen = w.trace.Now()
		})
		if err := errors.Join(err, failed); err != nil {
			return err
		}
	}
	return nil
}

// attendPassing lets the step's queries see blocks that are passing by. It returns when they are not needed any more.
func (e *Engine) attendPassing(local attention.Partial, p parcel) error {
	w := &e.work
	kv := p.kv
	if p.msg != nil { // it is being sent meanwhile, so it stays as it is
		w.passing = append(w.passing[:0], kv...)
		kv = w.passing
		for i := range kv {
			kv[i].K, kv[i].V = w.stream.Upload(kv[i].K), w.stream.Upload(kv[i].V)
		}
	}
	for _, r := range w.runs {
		w.stream.Attend(local.Slice(r.row, r.row+r.n), w.scratch.Q.Slice(r.row, r.row+r.n), r.first, e.shape, kv)
	}
	return w.wait()
}
