package engine

import (
	"fmt"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/orrery-ai/orrery/attention"
	"github.com/orrery-ai/orrery/model"
	"github.com/orrery-ai/orrery/residence"
	"github.com/orrery-ai/orrery/sampling"
	"github.com/orrery-ai/orrery/trace"
	"github.com/orrery-ai/orrery/transport"
)

// DriverConfig is what a driver is made from. What it has in common with Config must be the same.
type DriverConfig struct {
	Model       *model.Model
	Endpoint    *transport.Endpoint
	ModelID     uint64
	Nodes       []string
	Rows        int
	RoundTokens int
	BlockTokens int
	KV          attention.Format
	StepTimeout time.Duration
	Logger      *slog.Logger

	// OnResult takes the nodes' results, from one goroutine for each node.
	OnResult func(Result)
}

// EveryStep is the step of a [Result] that says that a lane which all steps need has broken.
const EveryStep = 0

// Result is what a node says about a step, of which the numbers begin with 1, or about [EveryStep]. Exactly one of
// three: some rows of logits (Logits is set), the end of the step on the node (Err and Logits are nil), or its failure.
type Result struct {
	Node      int
	At        time.Time // when it came; zero of EveryStep
	Seq, Step uint64
	Token     int32     // sampled after the step's last token, or -1
	Relayed   bool      // the step has gone from device to device; others may follow it
	First     int       // position of the first row of Logits
	Logits    []float32 // [rows][vocabulary]; valid only during the call
	Err       *RemoteError
}

// Driver hands steps to the engines of one model and takes their results. One goroutine at a time hands steps out.
type Driver struct {
	cfg     DriverConfig
	step    []*transport.Sender
	results []*transport.Receiver
	wg      sync.WaitGroup
	closed  atomic.Bool
	trace   atomic.Pointer[trace.Recorder]
	head    [headerBytes]byte          // of the step that is handed out
	rows    [rowBytes * BatchRows]byte // of it, if it is a Batch
}

// SetTrace has the handing out of steps recorded from now on; with nil no more.
func (d *Driver) SetTrace(r *trace.Recorder) { d.trace.Store(r) }

// Want says what a step should give back.
type Want struct {
	Token    bool // a token sampled after the last one
	Sampling sampling.Params
	Logits   bool // the logits of every token
	// Follows says that the step's one token, of which the id does not matter, is that which the sequence's step before
	// it chooses, and Followed that such a step comes next, unless that one fails. If the last layers are not of the
	// node that has the first the step before must have been [Result.Relayed], and both want Each.
	Follows, Followed bool
	// Each says that each owner of layers gives a result when it needs the step no more, not only the last, so that
	// steps may go from device to device.
	Each bool
}

func (w Want) flags() (f uint8) {
	if w.Token {
		f |= wantToken
	}
	if w.Logits {
		f |= wantLogits
	}
	if w.Follows {
		f |= follows
	}
	if w.Followed {
		f |= followed
	}
	if w.Each {
		f |= each
	}
	return f
}

// NewDriver registers the lanes on which results come; the engines may connect from then on.
func NewDriver(c DriverConfig) (*Driver, error) {
	d := &Driver{cfg: c}
	size := d.sizes()
	for _, name := range c.Nodes {
		r, err := c.Endpoint.Receiver(name, transport.LaneKey{Model: c.ModelID, Purpose: transport.Result}, size.result)
		if err != nil {
			d.Close()
			return nil, err
		}
		d.results = append(d.results, r)
	}
	return d, nil
}

func (d *Driver) sizes() sizes {
	c := d.cfg
	return sizesOf(Config{Model: c.Model, Rows: c.Rows, RoundTokens: c.RoundTokens, BlockTokens: c.BlockTokens, KV: c.KV}, c.Model.Config.Shape())
}

// Connect opens the lanes to the engines, which must have been made, and begins to take results.
func (d *Driver) Connect() error {
	for _, name := range d.cfg.Nodes {
		s, err := d.cfg.Endpoint.Sender(name, transport.LaneKey{Model: d.cfg.ModelID, Purpose: transport.Step}, d.sizes().step)
		if err != nil {
			return fmt.Errorf("step lane to %s: %w", name, err)
		}
		d.step = append(d.step, s)
	}
	for n, r := range d.results {
		d.wg.Add(1)
		go d.take(n, r)
	}
	return nil
}

func (d *Driver) take(node int, r *transport.Receiver) {
	defer d.wg.Done()
	for {
		rec := d.trace.Load()
		began := rec.Now()
		msg, err := r.Next()
		if err != nil {
			if d.closed.Load() {
				return
			}
			d.cfg.Logger.Debug("result lane ended", "peer", d.cfg.Nodes[node], "err", err)
			if err != io.EOF {
				d.cfg.OnResult(Result{Node: node, Step: EveryStep, Token: -1, Err: &RemoteError{Lost: Lost(err), Text: err.Error()}})
			}
			return
		}
		at := time.Now()
		res, chosen, err := d.parse(node, msg.Bytes)
		res.At = at
		if err != nil {
			d.cfg.Logger.Warn("bad result", "peer", d.cfg.Nodes[node], "err", err)
		} else {
			waited(rec, &header{Seq: res.Seq, Step: res.Step}, transport.Result, node, trace.NoLayer, began, len(msg.Bytes))
			if len(chosen) == 0 {
				d.cfg.OnResult(res)
			}
			for i := range len(chosen) / chosenBytes {
				d.cfg.OnResult(chosenAt(chosen, i, res))
			}
		}
		msg.Release()
	}
}

// parse reads a result or, if chosen is not empty, what the results of several sequences' steps have in common, with the tokens of each.
func (d *Driver) parse(node int, msg []byte) (res Result, chosen []byte, err error) {
	h, payload, err := decode(msg)
	if err != nil {
		return Result{}, nil, err
	}
	res = Result{Node: node, Seq: h.Seq, Step: h.Step, Token: -1}
	switch h.Kind {
	case kindChosen:
		if n := int(h.Count); n < 1 || n > BatchRows || len(payload) != n*chosenBytes {
			return res, nil, fmt.Errorf("the tokens of %d sequences came in %d bytes", n, len(payload))
		}
		chosen = payload
	case kindDone:
		res.Token, res.Relayed = int32(h.B), h.Flags&relayed != 0
	case kindLogits:
		res.First = int(h.First)
		res.Logits, err = viewOf[float32](payload, int(h.Count)*d.cfg.Model.Config.Vocab)
	case kindFail:
		res.Err = parseReason(payload)
	default:
		err = fmt.Errorf("a result of kind %d is not known", h.Kind)
	}
	return res, chosen, err
}

// Chunk hands a run of consecutive tokens from first on to the owner of the first layer.
func (d *Driver) Chunk(node int, seq, step, epoch uint64, first int, ids []int32, w Want) error {
	h := header{Kind: kindChunk, Flags: w.flags(), Sampling: w.Sampling, Seq: seq, Step: step, Epoch: epoch, First: uint32(first), Count: uint32(len(ids))}
	return d.send(node, h, nil, ids)
}

// Batch hands the next tokens of several sequences, at most [BatchRows], to the owner of the first layer, in one step.
func (d *Driver) Batch(node int, rows []BatchRow) error {
	for i := range rows {
		rows[i].encode(d.rows[i*rowBytes:])
	}
	h := rows[0].header(0)
	h.Kind, h.Count = kindBatch, uint32(len(rows))
	return d.send(node, h, d.rows[:len(rows)*rowBytes], nil)
}

// Round hands a round of ring prefill to every node; pieces divide the tokens ids.
func (d *Driver) Round(seq, step, epoch uint64, pieces []residence.Piece, ids []int32, w Want) error {
	h := header{Kind: kindRound, Flags: w.flags(), Sampling: w.Sampling, Seq: seq, Step: step, Epoch: epoch, First: uint32(pieces[0].Tokens.First),
		Count: uint32(len(ids)), A: uint32(len(pieces))}
	encoded := encodePieces(pieces)
	for n := range d.cfg.Nodes {
		if err := d.send(n, h, encoded, ids); err != nil {
			return err
		}
	}
	return nil
}

// send sends what a step is made of, and its ids.
func (d *Driver) send(node int, h header, parts []byte, ids []int32) error {
	rec := d.trace.Load()
	began := rec.Now()
	err := d.step[node].Send(time.Now().Add(d.cfg.StepTimeout), h.encode(&d.head), parts, bytesOf(ids))
	sent(rec, &h, transport.Step, node, trace.NoLayer, began, len(parts)+4*len(ids))
	return err
}

// Close ends the lanes and the goroutines.
func (d *Driver) Close() {
	d.closed.Store(true)
	for _, s := range d.step {
		s.Close()
	}
	for _, r := range d.results {
		r.Close()
	}
	d.wg.Wait()
}
