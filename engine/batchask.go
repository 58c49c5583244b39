package engine

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/orrery-ai/orrery/attention"
	"github.com/orrery-ai/orrery/device"
	"github.com/orrery-ai/orrery/trace"
	"github.com/orrery-ai/orrery/transport/topology"
)

// attendRows computes a layer's attention for the rows of a step of several sequences into the scratch, each over the holders of its own sequence.
func (e *Engine) attendRows(h *header, layer int) error {
	w, b := &e.work, &e.work.batch
	if b.ahead {
		e.attendOwn(h, layer)
		e.attendAhead(h, b.peers, layer)
		return nil
	}
	b.peers = b.peers[:0]
	for _, r := range b.rows {
		for _, node := range r.table.Peers(layer) {
			if !slices.Contains(b.peers, node) {
				b.peers = append(b.peers, node)
			}
		}
	}
	if len(b.peers) == 0 {
		e.attendOwn(h, layer)
		return nil
	}
	slices.Sort(b.peers)
	queries := w.stream.Download(bytesOf(w.scratch.Q.Data))
	if err := w.wait(); err != nil {
		return err
	}
	n := len(b.rows)
	local, merged := w.local.Slice(0, n), w.merged.Slice(0, n)
	err := topology.Star(e.cfg.Node, b.peers,
		func(node int) error { return e.askRows(h, node, layer, queries) },
		func() {
			e.attendOwn(h, layer)
			w.stream.Reset(merged)
		},
		func(node int) error {
			if node != e.cfg.Node {
				if err := e.mergeRows(h, node, layer, merged); err != nil {
					return fmt.Errorf("partial from %s: %w", e.cfg.Nodes[node], err)
				}
				return nil
			}
			for i, r := range b.rows {
				if len(r.table.Peers(layer)) > 0 {
					w.stream.Merge(merged.Slice(i, i+1), local.Slice(i, i+1))
				}
			}
			return nil
		})
	if err != nil {
		return err
	}
	for i, r := range b.rows {
		if len(r.table.Peers(layer)) > 0 {
			w.stream.Finish(w.scratch.Attn.Slice(i, i+1), merged.Slice(i, i+1))
		}
	}
	return nil
}

// attendOwn has each row attend to what this node has of its sequence. Of those that ask nobody that is all, unless answers to all of them will come.
func (e *Engine) attendOwn(h *header, layer int) {
	w, b, began := &e.work, &e.work.batch, e.work.trace.Now()
	n, alone := len(b.rows), true // no row asks
	w.own = w.own[:0]
	for i, r := range b.rows {
		from := len(w.own)
		w.own = r.step.AppendTail(append(w.own, r.table.Held(layer)...), layer)
		b.attend[i] = device.Row{First: r.First, KV: w.own[from:]}
		alone = alone && len(r.table.Peers(layer)) == 0
	}
	local := w.local.Slice(0, n)
	device.AttendRows(w.stream, local, w.scratch.Q, b.attend[:n], e.shape)
	switch {
	case b.ahead:
	case alone:
		w.stream.Finish(w.scratch.Attn, local)
	default:
		for i, r := range b.rows {
			if len(r.table.Peers(layer)) == 0 {
				w.stream.Finish(w.scratch.Attn.Slice(i, i+1), local.Slice(i, i+1))
			}
		}
	}
	e.computed(trace.Attend, h, layer, began)
}

// askRows sends a node the queries of the rows of which it holds blocks.
func (e *Engine) askRows(h *header, node, layer int, queries []byte) error {
	w, b, n := &e.work, &e.work.batch, 0
	width := 4 * w.scratch.Q.Cols
	b.parts = append(b.parts[:0], nil)
	for i, r := range b.rows {
		if slices.Contains(r.table.Peers(layer), node) {
			r.encode(b.encoded[n*rowBytes:])
			b.parts = append(b.parts, queries[i*width:(i+1)*width])
			n++
		}
	}
	b.parts[0] = b.encoded[:n*rowBytes]
	out := *h
	out.Count = uint32(n)
	return e.ask(out, node, layer, b.parts...)
}

// mergeRows waits for a holder's answer. A row that it could not answer is over.
func (e *Engine) mergeRows(h *header, node, layer int, merged attention.Partial) error {
	return e.answered(h, node, layer, func(got header, payload []byte) error {
		w, n := &e.work, 0
		for _, r := range w.batch.rows {
			if slices.Contains(r.table.Peers(layer), node) {
				n++
			}
		}
		part, err := e.partialIn(got, payload, n)
		if err != nil {
			return err
		}
		began, at := w.trace.Now(), 0
		for i, r := range w.batch.rows {
			if !slices.Contains(r.table.Peers(layer), node) {
				continue
			}
			if got.A&(1<<at) != 0 {
				r.err = cmp.Or(r.err, fmt.Errorf("layer %d: sequence %d is not open on %s in epoch %d", layer, r.Seq, e.cfg.Nodes[node], r.Epoch))
			} else {
				w.stream.Merge(merged.Slice(i, i+1), part.Slice(at, at+1))
			}
			at++
		}
		e.computed(trace.Merge, &got, layer, began)
		return nil
	})
}

// computeRows is the answer to the queries of several sequences, each over what this node holds of it: o, m and l, and
// of which rows there is none, a bit for each.
func (s *server) computeRows(h header, payload []byte) (answer [3][]byte, missing uint32, err error) {
	e := s.engine
	layer, width := int(h.Layer), e.shape.Heads*e.shape.HeadDim
	queries, err := decodeRows(&s.rows, &h, payload, width)
	if err != nil {
		return answer, 0, err
	}
	n := int(h.Count)
	if n > s.part.Rows || layer >= e.layers {
		return answer, 0, fmt.Errorf("a query of %d sequences at layer %d does not fit", n, layer)
	}
	q, err := viewOf[float32](s.stream.Upload(bytesOf(queries)), n*width)
	if err != nil {
		return answer, 0, err
	}
	began := s.trace.Now()
	for i := range n {
		s.attend[i] = device.Row{First: s.rows[i].First}
		_, table, err := e.find(s.rows[i].header(h.Layer))
		if err != nil {
			missing |= 1 << i
			continue
		}
		s.tables = append(s.tables, table)
		s.attend[i].KV = table.Held(layer)
	}
	part := s.part.Slice(0, n)
	device.AttendRows(s.stream, part, device.Tensor{Rows: n, Cols: width, Data: q}, s.attend[:n], e.shape)
	for i, t := range [][]float32{part.O, part.M, part.L} {
		answer[i] = s.stream.Download(bytesOf(t))
	}
	err = s.stream.Wait()
	for _, t := range s.tables {
		t.Release()
	}
	s.tables = s.tables[:0]
	s.record(trace.Attend, &h, began)
	return answer, missing, err
}
