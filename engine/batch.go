package engine

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/orrery-ai/orrery/device"
	"github.com/orrery-ai/orrery/kvcache"
	"github.com/orrery-ai/orrery/model"
	"github.com/orrery-ai/orrery/residence"
	"github.com/orrery-ai/orrery/trace"
	"github.com/orrery-ai/orrery/transport"
)

// The next tokens of several sequences make one step ([Driver.Batch]): its rows are multiplied with the weights
// together, and each is stored, and attends, by its own sequence's blocks, table and position. Where blocks are on
// other nodes there is one exchange for each layer and node, with the queries of all rows that have some there
// (batchask.go), or of all rows where devices exchange by themselves (batchahead.go). A row that fails is told of by
// itself, and the others go on: its sequence may have been closed, here or on a node that is asked.

// batch is the step of several sequences that is running.
type batch struct {
	came    [BatchRows]BatchRow
	all     [BatchRows]batchRow
	rows    []*batchRow // those that go on, or have failed since they began
	layers  residence.Span
	next    int  // the owner of the layers behind, or nobody
	asking  bool // of a row other nodes have blocks
	ids     [BatchRows]int32
	ahead   bool  // it is recorded ahead with its exchanges
	peers   []int // that are asked at the layer or, ahead, at each
	parts   [][]byte
	attend  [BatchRows]device.Row // what this node has for the rows at the layer
	encoded [BatchRows * max(rowBytes, chosenBytes)]byte
}

// batchRow is a sequence's part of it.
type batchRow struct {
	BatchRow
	at     int    // which of the message's rows it is
	head   header // of a step of its own
	seq    *sequence
	table  *kvcache.Table // until the row needs it no more
	step   kvcache.Step
	choice choice
	token  int32
	err    error // why it goes on no more
}

// runBatch runs this node's layers over the next tokens of several sequences, and hands them on: to the owner of the
// next layer, or to the driver. It tells of what fails. Whether it was handed over with hidden states depends on whose
// message it is.
func (e *Engine) runBatch(h header, payload []byte, handed bool) {
	w, b, width := &e.work, &e.work.batch, 0
	if handed {
		width = e.cfg.Model.Config.Hidden
	}
	hidden, err := decodeRows(&b.came, &h, payload, width)
	if err == nil && handed != (h.Layer > 0) {
		err = fmt.Errorf("layer %d of a step begins with a hidden state: %v", h.Layer, handed)
	}
	if err != nil {
		e.fail(h, err)
		return
	}
	b.rows, b.asking = b.rows[:0], false
	if err := e.gather(&h); err != nil {
		for i := range h.Count {
			e.fail(b.came[i].header(h.Layer), err)
		}
		return
	}
	err = e.together(h, hidden)
	w.releaseRows()
	for _, r := range b.rows {
		if cause := cmp.Or(r.err, err); cause != nil {
			e.fail(r.head, cause)
		}
	}
}

// gather finds what the rows of a message need, and tells of those that cannot begin.
func (e *Engine) gather(h *header) error {
	b, n := &e.work.batch, int(h.Count)
	if n > e.cfg.Room.Rows || int(h.Layer) >= e.layers {
		return fmt.Errorf("a step of %d sequences from layer %d does not fit (at most %d tokens, %d layers)", n, h.Layer, e.cfg.Room.Rows, e.layers)
	}
	if seq, is := repeated(b.came[:n]); is {
		return fmt.Errorf("sequence %d is twice in a step", seq)
	}
	for i := range n {
		r := &b.all[len(b.rows)]
		r.BatchRow, r.at, r.head, r.err = b.came[i], i, b.came[i].header(h.Layer), nil
		if err := e.join(r); err != nil {
			e.fail(r.head, err)
			continue
		}
		b.rows = append(b.rows, r)
	}
	return nil
}

// join has a row go with those that are there already, if it can.
func (e *Engine) join(r *batchRow) (err error) {
	b, first := &e.work.batch, int(r.head.Layer)
	if r.seq, r.table, err = e.find(r.head); err != nil {
		return err
	}
	defer func() {
		if err != nil {
			r.table.Release()
			r.table = nil
		}
	}()
	ep := r.table.Epoch
	if ep.OwnerOf(first) != e.cfg.Node {
		return fmt.Errorf("layer %d is not of %s in epoch %d", first, e.self(), r.Epoch)
	}
	layers, next := ep.Run(first), nobody
	if layers.End < e.layers {
		next = ep.OwnerOf(layers.End)
	}
	if len(b.rows) == 0 {
		b.layers, b.next = layers, next
	}
	if layers != b.layers || next != b.next {
		return fmt.Errorf("sequence %d does not go from node to node as sequence %d does, with which it came", r.Seq, b.rows[0].Seq)
	}
	asking := b.asking || asksAny(r.table, layers)
	if asking && len(b.rows) >= e.work.merged.Rows {
		return fmt.Errorf("a step of %d sequences has to ask other nodes, for which %s has room for %d", len(b.rows)+1, e.self(), e.work.merged.Rows)
	}
	if b.ids[r.at] = r.ID; first == 0 {
		if err := e.checkIDs(b.ids[r.at : r.at+1]); err != nil {
			return err
		}
	}
	b.asking = asking
	return nil
}

// together runs the rows in one step. What fails of a row it notes there; an error is of all of them.
func (e *Engine) together(h header, hidden []float32) (err error) {
	w, b := &e.work, &e.work.batch
	w.trace = e.trace.Load()
	began := w.trace.Now()
	defer w.trace.Add(spanOf(trace.Chunk, &h, int(h.Layer), began))
	if len(b.rows) == 0 {
		return nil
	}
	h.Seq, h.Step, h.First, h.Count = b.rows[0].Seq, b.rows[0].Step, uint32(b.rows[0].First), uint32(len(b.rows)) // what answers are told apart by
	dec, err := e.decoderFor(b.layers)
	if err != nil {
		return err
	}
	e.land()
	b.rows = slices.DeleteFunc(b.rows, func(r *batchRow) bool { return !e.beginRow(r) })
	n := len(b.rows)
	if n == 0 {
		return nil
	}
	w.scratch.Resize(n)
	for i, r := range b.rows {
		if h.Layer == 0 {
			b.ids[i] = r.ID
		} else {
			w.stream.Write(w.scratch.X.Slice(i, i+1), hidden[r.at*w.scratch.X.Cols:(r.at+1)*w.scratch.X.Cols])
		}
	}
	w.taken()
	b.ahead, err = e.announceRows(h)
	defer func() {
		if err != nil && b.ahead {
			err = e.giveUpRows(h, err)
		}
		b.ahead = false
	}()
	if err != nil {
		return err
	}
	if h.Layer == 0 {
		dec.Embed(w.stream, w.scratch, b.ids[:n])
	}
	for i, r := range b.rows {
		dec.Angles(w.stream, w.scratch, i, r.First, 1)
	}
	e.computed(trace.Embed, &h, int(h.Layer), began)
	for l := b.layers.First; l < b.layers.End; l++ {
		began := w.trace.Now()
		dec.QKV(w.stream, l, w.scratch)
		if b.ahead {
			e.askAhead(b.peers)
		}
		for i, r := range b.rows {
			kv, at, _, _ := r.step.Slot(0, l)
			w.stream.Append(kv, at, w.scratch.K.Slice(i, i+1), w.scratch.V.Slice(i, i+1))
			r.step.Stored(0, l)
		}
		e.computed(trace.Project, &h, l, began)
		if err := e.attendRows(&h, l); err != nil {
			return fmt.Errorf("layer %d: %w", l, err)
		}
		began = w.trace.Now()
		dec.AfterAttention(w.stream, l, w.scratch)
		e.computed(trace.Forward, &h, l, began)
	}
	if b.next == nobody {
		return e.finishRows(&h, dec)
	}
	return e.handOnRows(&h)
}

// beginRow makes room for a row's token, or tells why there is none.
func (e *Engine) beginRow(r *batchRow) bool {
	err := r.step.Begin(r.seq.Sequence, e.work.batch.layers, r.table.Epoch.Covered, r.First, 1)
	if err != nil {
		r.table.Release()
		r.step.Release()
		r.table = nil
		e.fail(r.head, err)
	}
	return err == nil
}

// finishRows runs what has been recorded, and gives the driver the tokens of the rows, after the last layer.
func (e *Engine) finishRows(h *header, dec *model.Decoder) error {
	w, b, n := &e.work, &e.work.batch, len(e.work.batch.rows)
	began := w.trace.Now()
	logits, to := w.logits.Slice(0, n), w.scratch.Choice(n)
	dec.Logits(w.stream, w.scratch, 0, n, logits)
	for i, r := range b.rows {
		r.choice = w.pick(&r.head, logits.Slice(i, i+1), to[i:i+1], r.First+1)
	}
	e.computed(trace.Head, h, trace.NoLayer, began)
	if err := w.wait(); err != nil {
		return err
	}
	e.exchanged()
	e.endRows()
	began = w.trace.Now()
	for _, r := range b.rows {
		if r.err == nil {
			r.token, r.err = w.readOut(r.choice, &r.head, r.First+1)
		}
	}
	for _, r := range b.rows { // when all others have been read: logits that are handed out now take their place
		if r.err == nil && r.token < 0 {
			r.token, r.err = w.handedOut(r.choice, &r.head, r.First+1)
		}
	}
	e.computed(trace.Sample, h, trace.NoLayer, began)
	return e.tellTokens(h)
}

// endRows gives up what the rows used. What was recorded has run.
func (e *Engine) endRows() {
	for _, r := range e.work.batch.rows {
		e.ended(r.Seq, &r.step, r.table)
		r.table = nil
	}
}

// tellTokens tells the driver what has been chosen.
func (e *Engine) tellTokens(h *header) error {
	w, b, n := &e.work, &e.work.batch, 0
	for _, r := range b.rows {
		if r.err == nil {
			encodeChosen(b.encoded[n*chosenBytes:], &r.BatchRow, r.token)
			n++
		}
	}
	if n == 0 {
		return nil
	}
	out := *h
	out.Kind, out.Count, out.Flags = kindChosen, uint32(n), 0
	began := w.trace.Now()
	err := e.lanes.result.Send(e.deadline(), out.encode(&w.head), b.encoded[:n*chosenBytes])
	sent(w.trace, &out, transport.Result, trace.Client, trace.NoLayer, began, n*chosenBytes)
	return err
}

// handOnRows runs what has been recorded, and gives the hidden states of the rows to the owner of the next layers.
func (e *Engine) handOnRows(h *header) error {
	w, b, n := &e.work, &e.work.batch, 0
	out, width := w.stream.Download(bytesOf(w.scratch.X.Data)), 4*w.scratch.X.Cols
	if err := w.wait(); err != nil {
		return err
	}
	e.exchanged()
	e.endRows()
	next := *h
	b.parts = append(b.parts[:0], nil)
	for i, r := range b.rows {
		if r.err == nil {
			if n == 0 {
				next.Seq, next.Step, next.First = r.Seq, r.Step, uint32(r.First)
			}
			r.encode(b.encoded[n*rowBytes:])
			b.parts = append(b.parts, out[i*width:(i+1)*width])
			n++
		}
	}
	if n == 0 {
		return nil
	}
	b.parts[0] = b.encoded[:n*rowBytes]
	next.Layer, next.Count = uint32(b.layers.End), uint32(n)
	began := w.trace.Now()
	err := e.lanes.hiddenOut[b.next].Send(e.deadline(), next.encode(&w.head), b.parts...)
	sent(w.trace, &next, transport.Hidden, b.next, b.layers.End, began, n*(rowBytes+width))
	return err
}

// releaseRows gives up the blocks of rows that failed, when nothing that was recorded uses them.
func (w *workspace) releaseRows() {
	waited := false
	for _, r := range w.batch.rows {
		if r.table == nil {
			continue
		}
		if !waited {
			_ = w.wait() // it failed for another reason
			waited = true
		}
		r.table.Release()
		r.step.Release()
		r.table = nil
	}
}
