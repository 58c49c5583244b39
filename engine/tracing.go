package engine

import (
	"cmp"
	"math"

	"github.com/orrery-ai/orrery/trace"
	"github.com/orrery-ai/orrery/transport"
)

// SetTrace has spans of what this node does recorded from the next step and message on; with nil no more.
func (e *Engine) SetTrace(r *trace.Recorder) { e.trace.Store(r) }

// spanOf is a span of a step or a message, of layer l, that began at a time. Of a message that was not checked yet, the
// layer may be anything.
func spanOf(k trace.Kind, h *header, l int, began int64) trace.Span {
	return trace.Span{Begin: began, Kind: k, Seq: h.Seq, Step: h.Step, First: h.First, Count: h.Count, Layer: int32(min(l, math.MaxInt32)), Peer: trace.Nobody}
}

// computed records what the running step computed since began. A device may be behind what was recorded on its
// stream, so it is waited for; if that fails, [workspace.wait] says so.
func (e *Engine) computed(k trace.Kind, h *header, l int, began int64) {
	if began == 0 {
		return
	}
	w := &e.work
	w.fault = cmp.Or(w.fault, w.stream.Wait())
	w.trace.Add(spanOf(k, h, l, began))
}

// wait returns when the step's operations have run, or with the first error.
func (w *workspace) wait() error {
	err := cmp.Or(w.fault, w.stream.Wait())
	w.fault = nil
	return err
}

// sent records that something was sent since began, of bytes after the header.
func sent(r *trace.Recorder, h *header, lane transport.Purpose, to, l int, began int64, bytes int) {
	if began == 0 {
		return
	}
	s := spanOf(trace.Send, h, l, began)
	s.Lane, s.Peer, s.Bytes = lane, int16(to), int64(headerBytes+bytes)
	r.Add(s)
}

// waited records that a message was waited for since began. Of one that could not be read h is nil.
func waited(r *trace.Recorder, h *header, lane transport.Purpose, from, l int, began int64, bytes int) {
	if began == 0 || h == nil {
		return
	}
	s := spanOf(trace.Wait, h, l, began)
	s.Lane, s.Peer, s.Bytes = lane, int16(from), int64(bytes)
	r.Add(s)
}

// arrived records when a parcel was there, which may have been long before it was taken.
func arrived(r *trace.Recorder, h *header, from, l int, msg *transport.Message) {
	if r == nil {
		return
	}
	s := spanOf(trace.Arrive, h, l, trace.At(msg.Arrived))
	s.End, s.Lane, s.Peer, s.Bytes = s.Begin, transport.KVRing, int16(from), int64(len(msg.Bytes))
	r.Put(s)
}

// copied records that one layer of a block was sent, or stored, since began. Its step is the batch.
func copied(r *trace.Recorder, k trace.Kind, h *header, peer int, began int64, bytes int) {
	s := spanOf(k, h, int(h.Layer), began)
	s.Step, s.Lane, s.Peer, s.Bytes = h.Epoch, transport.KVMove, int16(peer), int64(headerBytes+bytes)
	r.Add(s)
}
