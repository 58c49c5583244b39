package engine

import (
	"errors"
	"fmt"

	"github.com/orrery-ai/orrery/attention"
	"github.com/orrery-ai/orrery/device"
	"github.com/orrery-ai/orrery/kvcache"
	"github.com/orrery-ai/orrery/trace"
	"github.com/orrery-ai/orrery/transport"
)

// server answers one peer's queries over the blocks that this node holds. It runs beside the node's own
// steps: what it reads is immutable.
type server struct {
	engine  *Engine
	peer    int
	reply   *transport.Sender
	stream  device.Stream
	part    attention.Partial // for the largest query; without rows if the peer asks nobody
	pair    *pair             // nil if the device makes no exchanges by itself, or the peer asks nobody
	queries []byte            // of a step that is recorded ahead, in the device's memory
	nothing []float32         // as long as a query: not numbers, but what is answered where there is no answer
	head    [headerBytes]byte
	trace   *trace.Recorder // of the query
	rows    [BatchRows]BatchRow
	tables  []*kvcache.Table      // of the rows of a query of several sequences
	attend  [BatchRows]device.Row // what this node has for them at the layer
}

// record records what was done for the peer since began.
func (s *server) record(k trace.Kind, h *header, began int64) {
	span := spanOf(k, h, int(h.Layer), began)
	span.Peer = int16(s.peer)
	s.trace.Add(span)
}

// answer releases a query as soon as it has been computed: the next one, which may come as soon as the answer has been sent, then takes its place.
func (s *server) answer(h header, payload []byte, query *transport.Message) {
	s.trace = s.engine.trace.Load()
	if h.Kind == kindAhead || h.Kind == kindAheadRows {
		var err error
		if h.Kind == kindAheadRows {
			_, err = decodeRows(&s.rows, &h, payload, 0)
		}
		query.Release()
		s.answerAhead(h, err)
		return
	}
	defer s.record(trace.Answer, &h, s.trace.Now())
	var part [3][]byte
	var err error
	if h.Kind == kindBatch {
		part, h.A, err = s.computeRows(h, payload)
	} else {
		part, err = s.compute(h, payload)
	}
	query.Release()
	began := s.trace.Now()
	if err != nil {
		h.Kind = kindFail
		err = s.reply.Send(s.engine.deadline(), h.encode(&s.head), reason(err))
	} else {
		h.Kind = kindPartial
		err = s.reply.Send(s.engine.deadline(), h.encode(&s.head), part[0], part[1], part[2])
		sent(s.trace, &h, transport.Partial, s.peer, int(h.Layer), began, len(part[0])+len(part[1])+len(part[2]))
	}
	if err != nil && !s.engine.closed.Load() {
		s.engine.cfg.Logger.Warn("a query could not be answered", "err", err)
	}
}

// newServer makes the server of a peer's queries, and registers the lane on which those of its device come.
func newServer(e *Engine, peer int, part attention.Partial) (s *server, err error) {
	c := &e.cfg
	s = &server{engine: e, peer: peer, stream: c.Device.NewStream(), part: part}
	if part.Rows == 0 {
		return s, nil
	}
	if s.pair, err = newPair(c, s.stream, c.Nodes[peer], e.shape, false); err != nil {
		return nil, errors.Join(err, s.close())
	}
	if s.pair != nil {
		s.nothing = nothings(e.shape.Heads * e.shape.HeadDim)
	}
	return s, nil
}

// close gives back what the server has; its lanes have ended.
func (s *server) close() error {
	s.pair.close()
	err := s.stream.Close()
	s.engine.cfg.Device.Free(s.queries)
	s.queries = nil
	return err
}

// compute is the answer: o, m and l.
func (s *server) compute(h header, payload []byte) (answer [3][]byte, err error) {
	e := s.engine
	n, layer := int(h.Count), int(h.Layer)
	if n < 1 || n > s.part.Rows || layer >= e.layers {
		return answer, fmt.Errorf("a query of %d tokens at layer %d does not fit", n, layer)
	}
	width := e.shape.Heads * e.shape.HeadDim
	q, err := viewOf[float32](s.stream.Upload(payload), n*width)
	if err != nil {
		return answer, err
	}
	_, table, err := e.find(h)
	if err != nil {
		return answer, err
	}
	defer table.Release()
	part := s.part.Slice(0, n)
	began := s.trace.Now()
	s.stream.Reset(part)
	s.stream.Attend(part, device.Tensor{Rows: n, Cols: width, Data: q}, int(h.First), e.shape, table.Held(layer))
	for i, t := range [][]float32{part.O, part.M, part.L} {
		answer[i] = s.stream.Download(bytesOf(t))
	}
	err = s.stream.Wait()
	s.record(trace.Attend, &h, began)
	return answer, err
}
