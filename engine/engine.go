package engine

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/orrery-ai/orrery/attention"
	"github.com/orrery-ai/orrery/device"
	"github.com/orrery-ai/orrery/internal/nap"
	"github.com/orrery-ai/orrery/kvcache"
	"github.com/orrery-ai/orrery/model"
	"github.com/orrery-ai/orrery/placement"
	"github.com/orrery-ai/orrery/residence"
	"github.com/orrery-ai/orrery/sampling"
	"github.com/orrery-ai/orrery/trace"
	"github.com/orrery-ai/orrery/transport"
	"github.com/orrery-ai/orrery/transport/topology"
)

// Config is what an engine is made from.
type Config struct {
	Model       *model.Model
	Device      device.Device
	Endpoint    *transport.Endpoint
	ModelID     uint64         // the loading that the lanes belong to
	Nodes       []string       // all members, by index
	Node        int            // this one
	Client      string         // the node whose Driver hands out the steps
	Rows        int            // tokens of the largest step on any node
	Room        placement.Room // what memory is taken for here: Room.Rows is of this node, Room.Asking of all
	Askers      []int          // the nodes whose queries go to others, by index
	RoundTokens int            // tokens of the largest ring round on all nodes
	BlockTokens int
	KV          attention.Format
	StepTimeout time.Duration // bound on every wait within a step
	Logger      *slog.Logger

	// Leaving is set when this node has begun to leave the cluster: the others then drop it, and it must not
	// report that as a loss of theirs. May be nil.
	Leaving *atomic.Bool
	// OnBlocks is told of the blocks that a step opened and filled, before the step's result is sent.
	OnBlocks func(seq uint64, opened, sealed []*kvcache.Block)
	// OnCopied is told when all of a copy has come in, or has been made up by Fill, or that it has failed.
	OnCopied func(seq, batch uint64, id uint32, bytes int64, err error)
}

// Engine runs the steps of one model on this node. Make it with New, Connect it when every member has
// been made, Close it.
type Engine struct {
	cfg    Config
	shape  attention.Shape
	layers int
	ring   topology.Group // all nodes
	lanes  lanes
	wg     sync.WaitGroup
	closed atomic.Bool

	connected bool // Connect was called

	decoder   atomic.Pointer[model.Decoder]
	sequences atomic.Pointer[map[uint64]*sequence] // by id; replaced, never changed
	register  sync.Mutex                           // serialises changes of sequences, and the beginning of work with the end

	servers []*server // of each other node's queries
	asking  []*pair   // by node; nil where a device makes no exchanges by itself, or none are made
	links   []*link   // by node; nil likewise

	busy       sync.Mutex // one step at a time: it guards what follows
	work       workspace
	flying     *flight   // the step that runs on the device while the next one is recorded, if there is one
	flights    [2]flight // of which it is one
	landing    nap.Watch // when the next one is expected to have run
	succession succession

	arrivals arrivals
	trace    atomic.Pointer[trace.Recorder] // nil: nothing is recorded
}

// workspace is the memory of the step that is running. What is large of it lies in an arena of the device,
// which is taken in New and given back in Close.
type workspace struct {
	arena     *device.Arena
	stream    device.Stream
	exchanger device.Exchanger // the stream, if it is one
	pacer     device.Pacer     // likewise
	scratch   *model.Scratch
	step      *kvcache.Step     // one of steps
	steps     [2]kvcache.Step   // of the step that is recorded, and of the one that flies
	table     *kvcache.Table    // of the chunk, until the step needs it no more
	local     attention.Partial // what this node attends to itself
	merged    attention.Partial // the parts of all nodes; without rows where nobody is asked
	logits    device.Tensor
	answers   []attention.Partial // to the queries of each node, by index; without rows where it asks nobody
	sampler   sampling.Sampler
	ids       []int32
	runs      []run
	mine      []residence.Piece
	own       []attention.KV
	passing   []attention.KV // of the parcel in hand, where the device reads it
	head      [headerBytes]byte
	incoming  *transport.Message // with the hidden state that the step begins with, until that has been copied
	ahead     bool               // the step is recorded ahead with its exchanges
	relay     relay              // of the step
	batch     batch              // of a step of several sequences
	trace     *trace.Recorder    // of the step
	fault     error              // of the stream, see wait
}

// New registers the lanes on which this node receives. Layers come with SetDecoder.
func New(c Config) (*Engine, error) {
	e := &Engine{cfg: c, shape: c.Model.Config.Shape(), layers: c.Model.Config.Layers}
	e.sequences.Store(&map[uint64]*sequence{})
	all := make([]int, len(c.Nodes))
	for i := range all {
		all[i] = i
	}
	var err error
	if e.ring, err = topology.NewGroup(c.Node, all...); err != nil {
		return nil, err
	}
	if err := e.work.take(&e.cfg, e.shape); err != nil {
		return nil, err
	}
	err = e.lanes.register(e.cfg, e.shape)
	if err == nil {
		err = e.pairUp()
	}
	if err != nil {
		e.lanes.close()
		return nil, errors.Join(err, e.give())
	}
	return e, nil
}

// pairUp makes the servers of the other nodes' queries, and registers the lanes of devices.
func (e *Engine) pairUp() (err error) {
	e.asking, e.links = make([]*pair, len(e.cfg.Nodes)), make([]*link, len(e.cfg.Nodes))
	for n, name := range e.cfg.Nodes {
		if n == e.cfg.Node {
			continue
		}
		if e.links[n], err = newLink(&e.cfg, &e.work, n); err != nil {
			return err
		}
		if slices.Contains(e.cfg.Askers, e.cfg.Node) {
			if e.asking[n], err = newPair(&e.cfg, e.work.stream, name, e.shape, true); err != nil {
				return err
			}
		}
		s, err := newServer(e, n, e.work.answers[n])
		if err != nil {
			return err
		}
		e.servers = append(e.servers, s)
	}
	return nil
}

// give gives back what the engine took of its device. All lanes have ended, and every goroutine.
func (e *Engine) give() error {
	e.closePairs()
	var all []error
	for _, s := range e.servers {
		all = append(all, s.close())
	}
	return errors.Join(append(all, e.work.give())...)
}

// closePairs ends the lanes of this node's own device.
func (e *Engine) closePairs() {
	for _, p := range e.asking {
		p.close()
	}
	for _, l := range e.links {
		l.close()
	}
}

// take takes the memory of the largest step.
func (w *workspace) take(c *Config, s attention.Shape) error {
	m, room := &c.Model.Config, c.Room
	if err := c.Device.Check(c.KV, s); err != nil {
		return err
	}
	rows := logitRows(room.Rows, m.Vocab)
	bytes := stepBytes(m, room.Rows) + s.PartialBytes(room.Rows)
	asking := int64(len(c.Askers)) // this node merges, or it answers who asks
	arena, err := device.NewArena(c.Device, int(bytes+asking*s.PartialBytes(room.Asking)))
	if err != nil {
		return fmt.Errorf("activations: %w", err)
	}
	w.arena, w.stream = arena, c.Device.NewStream()
	w.exchanger, _ = w.stream.(device.Exchanger)
	w.pacer, _ = w.stream.(device.Pacer)
	w.step = &w.steps[0]
	w.scratch = model.ScratchIn(arena.Floats, m, room.Rows)
	w.local = attention.PartialIn(arena.Floats, room.Rows, s)
	var inScratch bool
	if w.logits, inScratch = w.scratch.Logits(rows, m.Vocab); !inScratch {
		w.logits = device.Tensor{Rows: rows, Cols: m.Vocab, Data: arena.Floats(rows * m.Vocab)}
	}
	w.answers = make([]attention.Partial, len(c.Nodes))
	for _, n := range c.Askers {
		part := attention.PartialIn(arena.Floats, room.Asking, s)
		if n == c.Node {
			w.merged = part
		} else {
			w.answers[n] = part
		}
	}
	return nil
}

// taken releases the message that the step came with.
func (w *workspace) taken() {
	if w.incoming != nil {
		w.incoming.Release()
		w.incoming = nil
	}
}

// release gives up the blocks of a chunk that failed, when nothing that was recorded uses them.
func (w *workspace) release() {
	if w.table != nil {
		_ = w.wait() // it failed for another reason
		w.table.Release()
		w.step.Release()
		w.table = nil
	}
}

// give gives the memory back.
func (w *workspace) give() error {
	err := w.stream.Close()
	w.arena.Free()
	return err
}

// logitRows is how many rows of logits are computed at a time: a MiB, but enough of a large vocabulary to read
// the head's weights once for several.
func logitRows(rows, vocab int) int { return min(max(8, (1<<20)/(4*vocab)), rows) }

// Connect opens the lanes to the other members, and begins to serve. It is called once.
func (e *Engine) Connect() error {
	if e.connected {
		return errors.New("the model is connected already")
	}
	e.connected = true
	if err := e.lanes.connect(e.cfg, e.shape); err != nil {
		return err
	}
	for n, p := range e.asking {
		if err := p.connect(&e.cfg, e.cfg.Nodes[n]); err != nil {
			return err
		}
	}
	for n, l := range e.links {
		if err := l.connect(&e.cfg); err != nil {
			return err
		}
		if r := e.lanes.hiddenIn[n]; r != nil {
			e.serveFrom(r, e.nextStep, transport.Hidden, n, func(h header, payload []byte, msg *transport.Message) { e.runHidden(n, h, payload, msg) })
		}
	}
	e.serveFrom(e.lanes.step, e.nextStep, transport.Step, trace.Client, releasing(e.runStep))
	for _, s := range e.servers {
		s.reply = e.lanes.partialOut[s.peer]
		if err := s.pair.connect(&e.cfg, e.cfg.Nodes[s.peer]); err != nil {
			return err
		}
		e.serve(e.lanes.queryIn[s.peer], transport.Query, s.peer, s.answer)
	}
	for n, r := range e.lanes.moveIn {
		e.serve(r, transport.KVMove, n, releasing(func(h header, payload []byte) { e.receiveBlock(n, h, payload) }))
	}
	return nil
}

// serve hands every message of a lane from a node to handle, which releases it, until the lane ends. It ends with the engine or with the
// peer. If it breaks, the driver is told at once: what was on it is lost, and nobody here knows which steps that was.
func (e *Engine) serve(r *transport.Receiver, lane transport.Purpose, from int, handle func(h header, payload []byte, msg *transport.Message)) {
	if r != nil {
		e.serveFrom(r, (*transport.Receiver).Next, lane, from, handle)
	}
}

// serveFrom is serve with a way to wait for the next message.
func (e *Engine) serveFrom(r *transport.Receiver, next func(*transport.Receiver) (*transport.Message, error), lane transport.Purpose, from int, handle func(h header, payload []byte, msg *transport.Message)) {
	e.wg.Add(1)
	go func() {
		defer e.wg.Done()
		for {
			rec := e.trace.Load()
			began := rec.Now()
			msg, err := next(r)
			if err != nil {
				if e.closed.Load() {
					return
				}
				e.cfg.Logger.Debug("lane ended", "err", err)
				if err != io.EOF && lane != transport.KVMove { // who copies watches over that himself
					e.fail(header{Step: EveryStep}, err)
				}
				return
			}
			h, payload, err := decode(msg.Bytes)
			if err != nil {
				e.cfg.Logger.Warn("bad lane message", "err", err)
				msg.Release()
				continue
			}
			waited(rec, &h, lane, from, int(h.Layer), began, len(msg.Bytes))
			handle(h, payload, msg)
		}
	}()
}

// releasing has a message released when it has been handled.
func releasing(handle func(h header, payload []byte)) func(header, []byte, *transport.Message) {
	return func(h header, payload []byte, msg *transport.Message) {
		defer msg.Release()
		handle(h, payload)
	}
}

// SetDecoder makes layers available. A step in flight goes on with what it has.
func (e *Engine) SetDecoder(d *model.Decoder) { e.decoder.Store(d) }

// sequence is one that is open on this node.
type sequence struct {
	*kvcache.Sequence
	chosen chose // by its step before, if another one follows that; whoever has the engine's busy may look
}

// sequence is the one of an id, or nil.
func (e *Engine) sequence(id uint64) *sequence { return (*e.sequences.Load())[id] }

// AddSequence makes a sequence known.
func (e *Engine) AddSequence(s *kvcache.Sequence) {
	e.editSequences(func(m map[uint64]*sequence) { m[s.ID] = &sequence{Sequence: s} })
}

// RemoveSequence forgets a sequence. A step of it that is running finishes.
func (e *Engine) RemoveSequence(id uint64) {
	e.editSequences(func(m map[uint64]*sequence) { delete(m, id) })
	e.arrivals.forget(id)
}

func (e *Engine) editSequences(edit func(map[uint64]*sequence)) {
	e.register.Lock()
	defer e.register.Unlock()
	next := map[uint64]*sequence{}
	for id, s := range *e.sequences.Load() {
		next[id] = s
	}
	edit(next)
	e.sequences.Store(&next)
}

// find is the sequence of a message, and its table in the message's epoch, which the caller releases.
func (e *Engine) find(h header) (*sequence, *kvcache.Table, error) {
	s := e.sequence(h.Seq)
	if s == nil {
		return nil, nil, fmt.Errorf("sequence %d is not open on %s", h.Seq, e.self())
	}
	t := s.Use(h.Epoch)
	if t == nil {
		return nil, nil, fmt.Errorf("epoch %d of sequence %d is not in force on %s", h.Epoch, h.Seq, e.self())
	}
	return s, t, nil
}

func (e *Engine) self() string { return e.cfg.Nodes[e.cfg.Node] }

func (e *Engine) deadline() time.Time { return time.Now().Add(e.cfg.StepTimeout) }

// Close ends the lanes, and returns when every goroutine has ended: a step that is waiting is woken by
// its lane, and one that computes finishes its layer.
func (e *Engine) Close() {
	e.register.Lock()
	e.closed.Store(true)
	e.register.Unlock()
	e.lanes.close()
	e.closePairs()
	for _, s := range e.servers {
		s.pair.close()
	}
	e.wg.Wait()
	e.busy.Lock()
	e.land() // what it used goes back
	e.busy.Unlock()
	if err := e.give(); err != nil {
		e.cfg.Logger.Warn("the device did not end well", "err", err)
	}
}
