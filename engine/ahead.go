package engine

import (
	"cmp"
	"errors"
	"fmt"
	"slices"

	"github.com/orrery-ai/orrery/attention"
	"github.com/orrery-ai/orrery/device"
	"github.com/orrery-ai/orrery/kvcache"
	"github.com/orrery-ai/orrery/residence"
	"github.com/orrery-ai/orrery/trace"
	"github.com/orrery-ai/orrery/transport"
)

// Where the devices of both ends can, a step of few tokens is recorded ahead with its exchanges. The owner announces it
// to the holders ([kindAhead]): which layers it will ask for, and by which message of a pair of lanes the first. Each
// holder records the answers to all of them. From then on queries and partials go from device to device, and the hosts
// only carry them.
//
// The lanes' messages are bare: what they are follows from their numbers, which both ends count alike. So a pair on
// which anything has gone wrong is never used again; later steps exchange by way of the hosts.

// aheadRows bounds the tokens of a step that is recorded ahead where its messages go over connections: what more of
// them say would need large slots for every pair of nodes, and the hosts would still have to send it. sharedRows bounds
// those whose messages go through shared memory.
const (
	aheadRows  = 8
	sharedRows = 1024
)

// pair is one end of the lanes by which devices exchange: at an owner queries go out and partials come in, at a holder it is the other way round.
type pair struct {
	stream   device.Exchanger
	asks     bool // of an owner
	in, out  *device.Lane
	sizesOut transport.LaneSizes
	inbox    *transport.Inbox
	outbox   *transport.Outbox // nil if the peer's device makes no exchanges by itself
	seq      uint32            // of the next exchange
	broken   bool
}

// queriesAhead and partialsAhead are the sizes of messages.
func queriesAhead(c *Config, s attention.Shape) transport.LaneSizes {
	each := 4 * s.Heads * s.HeadDim
	return transport.LaneSizes{Sent: each * min(aheadRows, c.Room.Asking), Shared: each * min(sharedRows, c.Room.Asking)}
}

func partialsAhead(c *Config, s attention.Shape) transport.LaneSizes {
	each := int(s.PartialBytes(1))
	return transport.LaneSizes{Sent: each * min(aheadRows, c.Room.Asking), Shared: each * min(sharedRows, c.Room.Asking)}
}

// newPair registers the lane on which messages come in; nil if the stream's device makes no exchanges by itself.
func newPair(c *Config, s device.Stream, peer string, shape attention.Shape, asks bool) (*pair, error) {
	ex, ok := s.(device.Exchanger)
	if !ok {
		return nil, nil
	}
	p := &pair{stream: ex, asks: asks, sizesOut: partialsAhead(c, shape)}
	in, sizesIn := transport.QueryAhead, queriesAhead(c, shape)
	if asks {
		in, sizesIn, p.sizesOut = transport.PartialAhead, p.sizesOut, sizesIn
	}
	var err error
	if p.inbox, err = c.Endpoint.Inbox(peer, transport.LaneKey{Model: c.ModelID, Purpose: in}, sizesIn, makesLanes(c, p.stream, false)); err != nil {
		return nil, fmt.Errorf("exchanges with %s: %w", peer, err)
	}
	p.in = p.inbox.Lane()
	return p, nil
}

// makesLanes makes ends of lanes on a device.
func makesLanes(c *Config, s device.Exchanger, out bool) transport.MakeLane {
	return func(size int, memory []byte, free func()) (*device.Lane, error) {
		return s.NewLane(device.LaneEnd{Size: size, Out: out, Spin: c.Endpoint.Synch() == transport.Fast, Memory: memory, Free: free})
	}
}

// connect opens the lane on which messages go out, if the peer has the other end. Nothing uses the stream yet.
func (p *pair) connect(c *Config, peer string) error {
	if p == nil {
		return nil
	}
	out := transport.PartialAhead
	if p.asks {
		out = transport.QueryAhead
	}
	b, err := c.Endpoint.Outbox(peer, transport.LaneKey{Model: c.ModelID, Purpose: out}, p.sizesOut, makesLanes(c, p.stream, true))
	if nobody := new(transport.ErrNoReceiver); errors.As(err, &nobody) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("exchanges with %s: %w", peer, err)
	}
	p.outbox, p.out = b, b.Lane()
	return nil
}

// rows is how many tokens a step may have whose messages go by the pair, which is usable.
func (p *pair) rows(c *Config) int {
	if p.inbox.Shared() && p.outbox.Shared() {
		return min(sharedRows, c.Room.Asking)
	}
	return min(aheadRows, c.Room.Asking)
}

// usable says whether both ends can exchange.
func (p *pair) usable() bool { return p != nil && p.outbox != nil && !p.broken }

// close ends both lanes; what waits for their messages fails.
func (p *pair) close() {
	if p == nil {
		return
	}
	if p.outbox != nil {
		p.outbox.Close()
	}
	p.inbox.Close()
}

// asks is how many layers of a span have tokens on a node.
func asks(t *kvcache.Table, layers residence.Span, node int) (n int) {
	for l := layers.First; l < layers.End; l++ {
		if slices.Contains(t.Peers(l), node) {
			n++
		}
	}
	return n
}

// announce tells all whom the step will ask that it is recorded ahead; false, and nobody is told, if it cannot be.
func (e *Engine) announce(h header, table *kvcache.Table, layers residence.Span) (bool, error) {
	any := false
	for node, p := range e.asking {
		if asks(table, layers, node) > 0 {
			if !p.usable() || int(h.Count) > p.rows(&e.cfg) {
				return false, nil
			}
			any = true
		}
	}
	if !any {
		return false, nil
	}
	h.Kind = kindAhead
	for node := range e.asking {
		if n := asks(table, layers, node); n > 0 {
			if err := e.announceTo(node, h, layers, n); err != nil {
				return true, err
			}
		}
	}
	return true, nil
}

// announceTo tells a node of a step for which it will be asked so many times, of which more may be said behind the header.
func (e *Engine) announceTo(node int, h header, layers residence.Span, exchanges int, more ...[]byte) error {
	p := e.asking[node]
	h.Layer, h.A, h.C = uint32(layers.First), uint32(layers.End), p.seq
	if err := e.lanes.queryOut[node].Send(e.deadline(), h.encode(&e.work.head), more...); err != nil {
		return fmt.Errorf("announcement to %s: %w", e.cfg.Nodes[node], err)
	}
	p.inbox.Expect(p.seq+uint32(exchanges)-1, e.deadline())
	p.out.Signalled() // soon: whoever sends may spin for it
	p.passes(exchanges, e.shape, int(h.Count))
	return nil
}

// askAhead records that a layer's queries go to some holders, as soon as they have been computed. Their slots are free:
// each exchange awaits that of the next, while it waits for an answer anyway, and the first two are free from the
// start.
func (e *Engine) askAhead(peers []int) {
	for _, node := range peers {
		p := e.asking[node]
		p.stream.Send(p.out, p.seq, bytesOf(e.work.scratch.Q.Data))
	}
}

// attendAhead records a layer's attention over the holders that have been asked, behind this node's own. Their parts are merged after that, in their order.
func (e *Engine) attendAhead(h *header, peers []int, layer int) {
	w := &e.work
	rows := w.scratch.Rows()
	for _, node := range peers {
		p := e.asking[node]
		p.stream.Await(p.out, p.seq+1, 0)
	}
	began := w.trace.Now()
	parts := 1 + len(peers)
	if parts*rows <= e.cfg.Room.Rows { // there is room for all of them
		for i, node := range peers {
			e.asking[node].receive(w.local.Slice((1+i)*rows, (2+i)*rows))
		}
		w.exchanger.FinishAll(w.scratch.Attn, w.local.Slice(0, parts*rows), parts)
	} else {
		merged, part := w.local.Slice(0, rows), w.merged.Slice(0, rows)
		for _, node := range peers {
			e.asking[node].receive(part)
			w.stream.Merge(merged, part)
		}
		w.stream.Finish(w.scratch.Attn, merged)
	}
	e.computed(trace.Merge, h, layer, began)
}

// receive records that the next answer comes into part.
func (p *pair) receive(part attention.Partial) {
	p.stream.Receive(p.in, p.seq, bytesOf(part.O), bytesOf(part.M), bytesOf(part.L))
	p.seq++
}

// passes counts the exchanges of a step for so many tokens.
func (p *pair) passes(exchanges int, s attention.Shape, tokens int) {
	in, out := 4*tokens*s.Heads*s.HeadDim, int(s.PartialBytes(tokens))
	if p.asks {
		in, out = out, in
	}
	p.inbox.Passed(exchanges, exchanges*in)
	p.outbox.Passed(exchanges, exchanges*out)
}

// giveUp ends the exchanges with all whom a step that has failed might have asked. It returns the cause: that which a holder tells, if one
// does, else with the name of the peer whose lane failed.
func (e *Engine) giveUp(h header, table *kvcache.Table, layers residence.Span, cause error) error {
	for node := range e.asking {
		if asks(table, layers, node) > 0 {
			cause = e.giveUpOn(node, h, cause)
		}
	}
	return cause
}

// giveUpOn is giveUp of one of them.
func (e *Engine) giveUpOn(node int, h header, cause error) error {
	p := e.asking[node]
	if p.broken {
		return cause
	}
	told := e.told(h, node)
	for what, l := range map[string]*device.Lane{"partial from": p.in, "query to": p.out} {
		if l == nil {
			continue
		}
		if err := l.Err(); err != nil && errors.Is(cause, err) {
			cause = fmt.Errorf("%s %s: %w", what, e.cfg.Nodes[node], cause)
		}
	}
	if told != nil {
		cause = told
	}
	p.broken = true
	p.close()
	e.cfg.Logger.Warn("exchanges go by way of the hosts from now on", "peer", e.cfg.Nodes[node], "err", cause)
	return cause
}

// told is what a holder says of a step that it could not answer. It says so before it ends the lanes of its device, and on the same connection.
func (e *Engine) told(h header, node int) error {
	for {
		msg := e.lanes.partialIn[node].Ready()
		if msg == nil {
			return nil
		}
		got, payload, err := decode(msg.Bytes)
		var told error
		if err == nil && got.Kind == kindFail && got.Seq == h.Seq && got.Step == h.Step {
			told = parseReason(payload)
		}
		msg.Release()
		if told != nil {
			return told
		}
	}
}

// answerAhead records the answers to a step that a peer has announced, and waits for them. If that fails the peer is
// told why, and then by the end of the lanes that there will be none. err is what is wrong with the announcement.
func (s *server) answerAhead(h header, err error) {
	p := s.pair
	switch {
	case err != nil:
	case !p.usable():
		err = fmt.Errorf("the device of %s makes no exchanges by itself any more", s.engine.self())
	case h.Kind == kindAheadRows:
		err = s.recordRows(h)
	default:
		err = s.recordAhead(h)
	}
	if err == nil || s.engine.closed.Load() {
		return
	}
	s.engine.cfg.Logger.Warn("the queries of a step could not be answered", "peer", s.engine.cfg.Nodes[s.peer], "err", err)
	s.refuse(h, err)
	if p != nil {
		p.broken = true
		p.close()
	}
}

// refuse tells the peer why there is no answer.
func (s *server) refuse(h header, cause error) {
	h.Kind = kindFail
	if err := s.reply.Send(s.engine.deadline(), h.encode(&s.head), reason(cause)); err != nil {
		s.engine.cfg.Logger.Debug("a peer could not be told why it is not answered", "peer", s.engine.cfg.Nodes[s.peer], "err", err)
	}
}

func (s *server) recordAhead(h header) error {
	layers, err := s.announced(&h)
	if err != nil {
		return err
	}
	_, table, err := s.engine.find(h)
	if err != nil {
		return err
	}
	defer table.Release()
	asked := 0
	for l := layers.First; l < layers.End; l++ {
		if len(table.Held(l)) > 0 {
			asked++
		}
	}
	if asked == 0 {
		return fmt.Errorf("nothing of layers %v is on %s", layers, s.engine.self())
	}
	s.expect(&h, asked)
	for l := layers.First; l < layers.End && err == nil; l++ {
		if kv := table.Held(l); len(kv) > 0 {
			err = s.recordLayer(h, l, func(part attention.Partial, q device.Tensor) {
				s.stream.Reset(part)
				s.stream.Attend(part, q, int(h.First), s.engine.shape, kv)
			})
		}
	}
	return cmp.Or(err, s.stream.Wait())
}

// announced is the layers that a step is announced for, if it can be answered, for whose queries there is room then.
func (s *server) announced(h *header) (layers residence.Span, err error) {
	e, p := s.engine, s.pair
	layers = residence.Span{First: int(h.Layer), End: int(h.A)}
	if n := int(h.Count); n < 1 || n > p.rows(&e.cfg) || layers.First >= layers.End || layers.End > e.layers || h.C != p.seq {
		return layers, fmt.Errorf("the announcement to %s of %d tokens at layers %v from message %d on does not fit (%d is next)", e.self(), n, layers, h.C, p.seq)
	}
	return layers, s.roomFor(int(h.Count))
}

// expect says that so many exchanges of a step will come.
func (s *server) expect(h *header, exchanges int) {
	p := s.pair
	p.inbox.Expect(p.seq+uint32(exchanges)-1, s.engine.deadline())
	p.out.Signalled()
	p.passes(exchanges, s.engine.shape, int(h.Count))
}

// roomFor makes room for the queries of a step: once for as many as there may be.
func (s *server) roomFor(tokens int) (err error) {
	each := 4 * s.engine.shape.Heads * s.engine.shape.HeadDim
	if tokens*each > len(s.queries) {
		s.engine.cfg.Device.Free(s.queries)
		s.queries, err = s.engine.cfg.Device.Alloc(s.pair.rows(&s.engine.cfg) * each)
	}
	return err
}

// recordLayer records the answer to a layer's queries, which attend makes.
func (s *server) recordLayer(h header, layer int, attend func(part attention.Partial, q device.Tensor)) error {
	e, p, n := s.engine, s.pair, int(h.Count)
	width := e.shape.Heads * e.shape.HeadDim
	queries, size := 4*n*width, int(e.shape.PartialBytes(n))
	part, err := partialOf(p.stream.Slot(p.out, p.seq)[:size], n, e.shape)
	if err != nil {
		return err
	}
	q, err := viewOf[float32](s.queries[:queries], n*width)
	if err != nil {
		return err
	}
	p.stream.Await(p.out, p.seq, 0)
	p.stream.Receive(p.in, p.seq, s.queries[:queries])
	if s.trace != nil {
		if err := p.stream.Wait(); err != nil {
			return err
		}
	}
	began := s.trace.Now()
	attend(part, device.Tensor{Rows: n, Cols: width, Data: q})
	p.stream.Signal(p.out, p.seq, size)
	p.seq++
	if s.trace != nil {
		if err := p.stream.Wait(); err != nil {
			return err
		}
		h.Layer = uint32(layer)
		s.record(trace.Attend, &h, began)
	}
	return nil
}
