package engine

import (
	"cmp"
	"fmt"
	"math"
	"slices"

	"github.com/orrery-ai/orrery/attention"
	"github.com/orrery-ai/orrery/device"
	"github.com/orrery-ai/orrery/kvcache"
)

// A step of several sequences is recorded ahead, too (ahead.go). Whoever holds blocks of one of them is asked for every
// row at every layer of the step, so that both ends count messages alike, of one size, whatever is where; of a row of
// which there is nothing the answer is a part without keys, which changes nothing.
//
// A holder that does not have a row's sequence any more, because it has been closed, cannot say so before the answers.
// It answers with what is not a number, which is all that becomes of that row, and tells why on the lane of answers.

// announceRows tells all whom rows of the step will ask that it is recorded ahead; false, and nobody is told, if it cannot be.
func (e *Engine) announceRows(h header) (bool, error) {
	b := &e.work.batch
	b.peers = b.peers[:0]
	for node, p := range e.asking {
		if !b.asks(node) {
			continue
		}
		if !p.usable() || len(b.rows) > p.rows(&e.cfg) {
			return false, nil
		}
		b.peers = append(b.peers, node)
	}
	if len(b.peers) == 0 {
		return false, nil
	}
	for i, r := range b.rows {
		r.encode(b.encoded[i*rowBytes:])
	}
	h.Kind = kindAheadRows
	for _, node := range b.peers {
		if err := e.announceTo(node, h, b.layers, b.layers.Len(), b.encoded[:len(b.rows)*rowBytes]); err != nil {
			return true, err
		}
	}
	return true, nil
}

// asks says whether a node holds blocks of one of the rows.
func (b *batch) asks(node int) bool {
	return slices.ContainsFunc(b.rows, func(r *batchRow) bool { return asks(r.table, b.layers, node) > 0 })
}

// giveUpRows is giveUp of a step of several sequences.
func (e *Engine) giveUpRows(h header, cause error) error {
	for _, node := range e.work.batch.peers {
		cause = e.giveUpOn(node, h, cause)
	}
	return cause
}

// exchanged ends the exchanges of a step that has run, and notes what holders have told of rows that they could not answer for. Where they tell so late
// that it has not come, it is known by what the row computes.
func (e *Engine) exchanged() {
	b := &e.work.batch
	if !b.ahead {
		return
	}
	b.ahead = false
	for _, node := range b.peers {
		for msg := e.lanes.partialIn[node].Ready(); msg != nil; msg = e.lanes.partialIn[node].Ready() {
			h, payload, err := decode(msg.Bytes)
			for _, r := range b.rows {
				if err == nil && h.Kind == kindFail && h.Seq == r.Seq && h.Step == r.Step {
					r.err = cmp.Or[error](r.err, parseReason(payload))
				}
			}
			msg.Release()
		}
	}
}

// recordRows is recordAhead for a step of several sequences, whose rows have been read.
func (s *server) recordRows(h header) error {
	layers, err := s.announced(&h)
	if err != nil {
		return err
	}
	rows := s.rows[:h.Count]
	if seq, is := repeated(rows); is {
		return fmt.Errorf("sequence %d is twice in a step", seq)
	}
	var tables [BatchRows]*kvcache.Table
	defer func() {
		for _, t := range tables {
			if t != nil {
				t.Release()
			}
		}
	}()
	for i := range rows {
		head := rows[i].header(h.Layer)
		if _, tables[i], err = s.engine.find(head); err != nil {
			tables[i] = nil
			s.refuse(head, err)
		}
	}
	s.expect(&h, layers.Len())
	err = nil
	for l := layers.First; l < layers.End && err == nil; l++ {
		err = s.recordLayer(h, l, func(part attention.Partial, q device.Tensor) { s.attendRows(rows, &tables, l, part, q) })
	}
	return cmp.Or(err, s.stream.Wait())
}

// attendRows records the attention of rows, each to what this node holds of it.
func (s *server) attendRows(rows []BatchRow, tables *[BatchRows]*kvcache.Table, layer int, all attention.Partial, q device.Tensor) {
	for i := range rows {
		s.attend[i] = device.Row{First: rows[i].First}
		if tables[i] != nil {
			s.attend[i].KV = tables[i].Held(layer)
		}
	}
	device.AttendRows(s.stream, all, q, s.attend[:len(rows)], s.engine.shape)
	for i := range rows {
		if tables[i] != nil {
			continue
		}
		part := all.Slice(i, i+1)
		for _, to := range [][]float32{part.O, part.M, part.L} {
			s.stream.Write(device.Tensor{Rows: 1, Cols: len(to), Data: to}, s.nothing[:len(to)])
		}
	}
}

// nothings are n elements that are no numbers.
func nothings(n int) []float32 {
	all := make([]float32, n)
	for i := range all {
		all[i] = float32(math.NaN())
	}
	return all
}
