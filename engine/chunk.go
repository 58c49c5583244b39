package engine

import (
	"fmt"

	"github.com/orrery-ai/orrery/kvcache"
	"github.com/orrery-ai/orrery/model"
	"github.com/orrery-ai/orrery/residence"
	"github.com/orrery-ai/orrery/trace"
	"github.com/orrery-ai/orrery/transport"
	"github.com/orrery-ai/orrery/transport/topology"
)

// run is a part of a step's rows that are consecutive tokens.
type run struct{ row, first, n int }

// runStep takes a step from the driver.
func (e *Engine) runStep(h header, payload []byte) {
	e.busy.Lock()
	defer e.busy.Unlock()
	e.work.relay = relay{}
	var err error
	switch h.Kind {
	case kindChunk:
		var ids []int32
		if ids, err = viewOf[int32](payload, int(h.Count)); err == nil {
			err = e.chunk(h, ids, nil)
		}
	case kindBatch:
		e.runBatch(h, payload, false)
	case kindRound:
		e.land()
		err = e.round(h, payload)
	default:
		err = fmt.Errorf("a step of kind %d is not known", h.Kind)
	}
	if err != nil {
		e.fail(h, err)
		e.unlink(e.work.relay, err)
	}
}

// runHidden takes a step over from the owner of the layers before.
func (e *Engine) runHidden(from int, h header, payload []byte, msg *transport.Message) {
	e.busy.Lock()
	defer e.busy.Unlock()
	e.work.incoming, e.work.relay = msg, relay{}
	defer e.work.taken()
	if h.Kind == kindBatch {
		e.runBatch(h, payload, true)
		return
	}
	var hidden []float32
	var err error
	if h.Kind != kindAhead {
		hidden, err = viewOf[float32](payload, int(h.Count)*e.cfg.Model.Config.Hidden)
	}
	if err == nil {
		err = e.chunk(h, nil, hidden)
	}
	if err == nil {
		return
	}
	e.fail(h, err)
	if h.Kind == kindAhead {
		e.work.relay.from = e.links[from] // what comes by it will not be taken
	}
	e.unlink(e.work.relay, err)
}

// chunk runs this node's layers from h.Layer on over tokens [First, First+Count), and hands the result on:
// to the owner of the next layer, or to the driver.
func (e *Engine) chunk(h header, ids []int32, hidden []float32) (err error) {
	w := &e.work
	w.trace = e.trace.Load()
	began := w.trace.Now()
	defer w.trace.Add(spanOf(trace.Chunk, &h, int(h.Layer), began))
	first, n := int(h.First), int(h.Count)
	if n < 1 || n > e.cfg.Room.Rows || int(h.Layer) >= e.layers {
		return fmt.Errorf("a step of %d tokens from layer %d does not fit (at most %d tokens, %d layers)", n, h.Layer, e.cfg.Room.Rows, e.layers)
	}
	seq, table, err := e.find(h)
	if err != nil {
		return err
	}
	w.table = table
	defer w.release()
	if table.Epoch.OwnerOf(int(h.Layer)) != e.cfg.Node {
		return fmt.Errorf("layer %d is not of %s in epoch %d", h.Layer, e.self(), h.Epoch)
	}
	layers := table.Epoch.Run(int(h.Layer))
	if n > w.merged.Rows && asksAny(table, layers) {
		return fmt.Errorf("a step of %d tokens has to ask other nodes, for which %s has room for %d", n, e.self(), w.merged.Rows)
	}
	dec, err := e.decoderFor(layers)
	if err != nil {
		return err
	}
	w.scratch.Resize(n)
	if w.relay, err = e.relayOf(&h, table.Epoch, layers); err != nil {
		return err
	}
	if handed := hidden != nil || w.relay.from != nil; h.Layer == 0 && (handed || h.Kind == kindAhead) || h.Layer > 0 && !handed {
		return fmt.Errorf("layer %d of a step begins with a hidden state: %v", h.Layer, handed)
	}
	course, err := e.succession.of(&h, w.relay.end())
	if err != nil {
		return err
	}
	w.relay.course = course
	if !course.behind {
		e.land()
	}
	if course.ids == fromNote {
		ids, err = e.noted(&h, seq)
	}
	if err == nil && (course.ids == fromIDs || course.ids == fromNote) {
		err = e.checkIDs(ids)
	}
	if err != nil {
		return err
	}
	if err := w.step.Begin(seq.Sequence, layers, table.Epoch.Covered, first, n); err != nil {
		return err
	}
	w.ahead, err = e.announce(h, table, layers)
	defer func() {
		if err != nil && w.ahead {
			err = e.giveUp(h, table, layers, err)
		}
		if err != nil {
			err = w.relay.blame(err)
		}
		w.ahead = false
	}()
	if err == nil && w.relay.used() {
		err = e.pass(h, table.Epoch, layers)
	}
	if err != nil {
		return err
	}
	e.succession.recorded(&h, w.relay.end(), course)
	if w.relay.used() {
		w.taken() // the next may come in its place
		w.relay.begin(w)
	}
	switch {
	case course.ids == fromLane:
		dec.EmbedChosen(w.pacer, w.scratch, w.scratch.Choice(1))
	case course.ids == fromFlight:
		dec.EmbedChosen(w.pacer, w.scratch, e.flying.choice.on)
	case h.Layer == 0:
		dec.Embed(w.stream, w.scratch, ids)
	case hidden != nil:
		w.stream.Write(w.scratch.X, hidden)
		w.taken()
	}
	dec.Angles(w.stream, w.scratch, 0, first, n)
	e.computed(trace.Embed, &h, int(h.Layer), began)
	w.runs = append(w.runs[:0], run{0, first, n})
	for l := layers.First; l < layers.End; l++ {
		began := w.trace.Now()
		dec.QKV(w.stream, l, w.scratch)
		if w.ahead {
			e.askAhead(table.Peers(l))
		}
		e.store(l)
		e.computed(trace.Project, &h, l, began)
		if err := e.attend(h, table, l); err != nil {
			return err
		}
		began = w.trace.Now()
		dec.AfterAttention(w.stream, l, w.scratch)
		e.computed(trace.Forward, &h, l, began)
	}
	switch {
	case layers.End == e.layers:
		return e.finish(h, dec, layers)
	case w.relay.used():
		return e.handOn(h, layers)
	}
	e.land()
	out := w.stream.Download(bytesOf(w.scratch.X.Data))
	if err := w.wait(); err != nil {
		return err
	}
	next := table.Epoch.OwnerOf(layers.End)
	e.endStep(h.Seq)
	h.Layer = uint32(layers.End)
	began = w.trace.Now()
	err = e.lanes.hiddenOut[next].Send(e.deadline(), h.encode(&w.head), out)
	sent(w.trace, &h, transport.Hidden, next, layers.End, began, len(out))
	if err == nil && h.Flags&each != 0 {
		err = e.done(h, -1, false)
	}
	return err
}

// asksAny says whether other nodes have tokens of some of the layers.
func asksAny(t *kvcache.Table, layers residence.Span) bool {
	for l := layers.First; l < layers.End; l++ {
		if len(t.Peers(l)) > 0 {
			return true
		}
	}
	return false
}

func (e *Engine) checkIDs(ids []int32) error {
	for i, id := range ids {
		if id < 0 || int(id) >= e.cfg.Model.Config.Vocab {
			return fmt.Errorf("token %d of the step is %d, outside of the vocabulary of %d", i, id, e.cfg.Model.Config.Vocab)
		}
	}
	return nil
}

func (e *Engine) decoderFor(layers residence.Span) (*model.Decoder, error) {
	dec := e.decoder.Load()
	if dec == nil || dec.Range.First > layers.First || dec.Range.End < layers.End {
		return nil, fmt.Errorf("%s does not have the weights of layers %v", e.self(), layers)
	}
	return dec, nil
}

// store appends the step's K and V of a layer to its blocks.
func (e *Engine) store(layer int) {
	w := &e.work
	for r := range w.step.Runs() {
		kv, at, row, n := w.step.Slot(r, layer)
		w.stream.Append(kv, at, w.scratch.K.Slice(row, row+n), w.scratch.V.Slice(row, row+n))
		w.step.Stored(r, layer)
	}
}

// attend computes a layer's attention for the step's queries into the scratch, over all holders: a star, in
// which this node is the centre.
func (e *Engine) attend(h header, table *kvcache.Table, layer int) error {
	w := &e.work
	peers := table.Peers(layer)
	var queries []byte
	if len(peers) > 0 && !w.ahead {
		queries = w.stream.Download(bytesOf(w.scratch.Q.Data))
		if err := w.wait(); err != nil {
			return err
		}
	}
	local := w.local.Slice(0, w.scratch.Rows())
	own := func() {
		began := w.trace.Now()
		r := w.runs[0]
		w.stream.Reset(local)
		w.own = w.step.AppendTail(append(w.own[:0], table.Held(layer)...), layer)
		w.stream.Attend(local, w.scratch.Q, r.first, e.shape, w.own)
		e.computed(trace.Attend, &h, layer, began)
	}
	switch {
	case len(peers) > 0 && w.ahead:
		own()
		e.attendAhead(&h, peers, layer)
		return nil
	case len(peers) == 0:
		own()
		began := w.trace.Now()
		w.stream.Finish(w.scratch.Attn, local)
		e.computed(trace.Merge, &h, layer, began)
		return nil
	}
	merged, query := w.merged.Slice(0, w.scratch.Rows()), h
	query.Kind = kindQuery
	err := topology.Star(e.cfg.Node, peers,
		func(node int) error { return e.ask(query, node, layer, queries) },
		func() {
			own()
			w.stream.Reset(merged)
		},
		func(node int) error {
			if node == e.cfg.Node {
				began := w.trace.Now()
				w.stream.Merge(merged, local)
				e.computed(trace.Merge, &h, layer, began)
				return nil
			}
			if err := e.mergePart(&h, node, layer, merged); err != nil {
				return fmt.Errorf("partial from %s: %w", e.cfg.Nodes[node], err)
			}
			return nil
		})
	if err != nil {
		return fmt.Errorf("layer %d: %w", layer, err)
	}
	began := w.trace.Now()
	w.stream.Finish(w.scratch.Attn, merged)
	e.computed(trace.Merge, &h, layer, began)
	return nil
}

// endStep ends the step's use of its blocks, see ended. What was recorded has run.
func (e *Engine) endStep(seq uint64) {
	w := &e.work
	w.ahead = false // its exchanges are over
	e.ended(seq, w.step, w.table)
	w.table = nil
}

// ended reports the blocks that a step opened and filled, and says that it needs none any more: whoever hears of its
// result may close the sequence, and count on the memory.
func (e *Engine) ended(seq uint64, step *kvcache.Step, table *kvcache.Table) {
	step.End()
	if len(step.Opened)+len(step.Sealed) > 0 {
		e.cfg.OnBlocks(seq, step.Opened, step.Sealed)
	}
	if table != nil {
		table.Release()
		step.Release()
	}
}

// finish runs what has been recorded, and gives the driver what the step was asked for, after the last layer.
func (e *Engine) finish(h header, dec *model.Decoder, layers residence.Span) error {
	w := &e.work
	rows, last := w.scratch.Rows(), w.runs[len(w.runs)-1]
	var c choice
	if h.Flags&wantToken != 0 && last.first+last.n == int(h.First+h.Count) {
		began := w.trace.Now()
		c = w.choose(&h, dec, rows-1, last.first+last.n)
		if w.relay.course.tells {
			w.relay.token.send(bytesOf(c.on))
		}
		e.computed(trace.Head, &h, trace.NoLayer, began)
	}
	if e.fly(&h, c, layers) {
		return nil
	}
	e.land()
	if err := w.wait(); err != nil {
		return err
	}
	e.endStep(h.Seq)
	token := int32(-1)
	if c.pending() {
		began := w.trace.Now()
		var err error
		if token, err = w.chosen(c, &h, last.first+last.n); err != nil {
			return err
		}
		e.computed(trace.Sample, &h, trace.NoLayer, began)
		e.note(&h, token)
	}
	if h.Flags&wantLogits != 0 {
		for _, r := range w.runs {
			for at := 0; at < r.n; {
				n := min(w.logits.Rows, r.n-at)
				if err := e.sendLogits(h, dec, r.row+at, r.first+at, n); err != nil {
					return err
				}
				at += n
			}
		}
	}
	return e.done(h, token, w.relay.used())
}

func (e *Engine) sendLogits(h header, dec *model.Decoder, row, first, n int) error {
	w := &e.work
	out, began := w.logits.Slice(0, n), w.trace.Now()
	dec.Logits(w.stream, w.scratch, row, row+n, out)
	e.computed(trace.Head, &h, trace.NoLayer, began)
	logits := w.stream.Download(bytesOf(out.Data))
	if err := w.wait(); err != nil {
		return err
	}
	h.Kind, h.First, h.Count = kindLogits, uint32(first), uint32(n)
	began = w.trace.Now()
	err := e.lanes.result.Send(e.deadline(), h.encode(&w.head), logits)
	sent(w.trace, &h, transport.Result, trace.Client, trace.NoLayer, began, len(logits))
	return err
}

// done tells the driver that the step is finished here, and whether it was relayed; token is -1 if none was sampled.
func (e *Engine) done(h header, token int32, r bool) error {
	h.Kind, h.A, h.B, h.Flags = kindDone, uint32(e.cfg.Node), uint32(token), 0
	if r {
		h.Flags = relayed
	}
	began := e.work.trace.Now()
	err := e.lanes.result.Send(e.deadline(), h.encode(&e.work.head))
	sent(e.work.trace, &h, transport.Result, trace.Client, trace.NoLayer, began, 0)
	return err
}

// fail tells the driver why a step cannot be finished. If the driver cannot be told it is gone, and
// the node will unload the model when membership says so.
func (e *Engine) fail(h header, cause error) {
	if e.cfg.Leaving != nil && e.cfg.Leaving.Load() {
		return // membership tells the driver that this node is gone
	}
	h.Kind, h.A = kindFail, uint32(e.cfg.Node)
	var head [headerBytes]byte
	if err := e.lanes.result.Send(e.deadline(), h.encode(&head), reason(cause)); err != nil && !e.closed.Load() && h.Step != EveryStep {
		e.cfg.Logger.Warn("a failed step could not be reported", "step", cause, "err", err)
	}
}

// reason is the payload of a failure: the peer that was lost, if any, a zero byte, and the text.
func reason(err error) []byte {
	text := append(append([]byte(Lost(err)), 0), err.Error()...)
	return text[:min(len(text), maxReason)]
}
