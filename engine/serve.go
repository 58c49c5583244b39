package engine

import (
	"fmt"

	"github.com/orrery-ai/orrery/attention"
	"github.com/orrery-ai/orrery/device"
	"github.com/orrery-ai/orrery/trace"
	"github.com/orrery-ai/orrery/transport"
)

// server answers one peer's queries over the blocks that this node holds. It runs beside the node's own
// steps: what it reads is immutable.
type server struct {
	engine *Engine
	peer   int
	reply  *transport.Sender
	stream device.Stream
	part   attention.Partial // for the largest query
	head   [headerBytes]byte
	trace  *trace.Recorder // of the query
}

// record records what was done for the peer since began.
func (s *server) record(k trace.Kind, h *header, began int64) {
	span := spanOf(k, h, int(h.Layer), began)
	span.Peer = int16(s.peer)
	s.trace.Add(span)
}

func (s *server) answer(h header, payload []byte) {
	s.trace = s.engine.trace.Load()
	defer s.record(trace.Answer, &h, s.trace.Now())
	part, err := s.compute(h, payload)
	began := s.trace.Now()
	if err != nil {
		h.Kind = kindFail
		err = s.reply.Send(s.engine.deadline(), h.encode(&s.head), reason(err))
	} else {
		h.Kind = kindPartial
		err = s.reply.Send(s.engine.deadline(), h.encode(&s.head), bytesOf(part.O), bytesOf(part.M), bytesOf(part.L))
		sent(s.trace, &h, transport.Partial, s.peer, int(h.Layer), began, 4*(len(part.O)+len(part.M)+len(part.L)))
	}
	if err != nil && !s.engine.closed.Load() {
		s.engine.cfg.Logger.Warn("a query could not be answered", "err", err)
	}
}

func (s *server) compute(h header, payload []byte) (attention.Partial, error) {
	e := s.engine
	n, layer := int(h.Count), int(h.Layer)
	if n < 1 || n > e.cfg.Rows || layer >= e.layers {
		return attention.Partial{}, fmt.Errorf("a query of %d tokens at layer %d does not fit", n, layer)
	}
	width := e.shape.Heads * e.shape.HeadDim
	q, err := viewOf[float32](payload, n*width)
	if err != nil {
		return attention.Partial{}, err
	}
	_, table, err := e.find(h)
	if err != nil {
		return attention.Partial{}, err
	}
	defer table.Release()
	part := s.part.Slice(0, n)
	part.Reset()
	began := s.trace.Now()
	s.stream.Attend(part, device.Tensor{Rows: n, Cols: width, Data: q}, int(h.First), e.shape, table.Held(layer))
	err = s.stream.Wait()
	s.record(trace.Attend, &h, began)
	return part, err
}
