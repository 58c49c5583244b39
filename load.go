package orrery

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"sync"
	"time"

	"github.com/orrery-ai/orrery/actors"
	"github.com/orrery-ai/orrery/attention"
	"github.com/orrery-ai/orrery/cluster"
	"github.com/orrery-ai/orrery/engine"
	"github.com/orrery-ai/orrery/model"
	"github.com/orrery-ai/orrery/placement"
	"github.com/orrery-ai/orrery/residence"
	"github.com/orrery-ai/orrery/tokenizer"
)

// Mode is a parallelism mode.
type Mode = placement.Mode

// The modes.
const (
	Pipeline = placement.Pipeline
	Pooled   = placement.Pooled
	Ring     = placement.Ring
)

// KVFormat is how keys and values are stored.
type KVFormat = attention.Format

// The storage formats of keys and values.
const (
	KVF16 = attention.F16 // halves
	KVF32 = attention.F32 // singles: twice the memory, for comparing with other implementations
	KVQ8  = attention.Q8  // 8 bits and a scale for each 32 elements: 0.53 of the memory
	KVQ4  = attention.Q4  // 4 bits, likewise: 0.28 of the memory
)

// LoadOptions says how a model is loaded. A zero in any field means its default.
type LoadOptions struct {
	Mode    Mode // of new sequences, unless they say otherwise; default Pipeline. Auto: see there
	Context int  // tokens that a sequence may reach; default: the model's own, at most 8192
	// ContextFor, unless nil, says Context once the tokenizer is there: what a prompt needs. most is how many tokens the model was made
	// for. A model without a tokenizer cannot be loaded then.
	ContextFor  func(t *tokenizer.Tokenizer, most int) (int, error)
	Sequences   int           // of that context, for which memory is kept, so that more shorter ones fit; default 1
	Waiting     int           // sequences that wait for memory in the order in which they came; default 64, negative: none
	WaitTimeout time.Duration // how long each waits at the most; default 1 min
	Chunk       int           // tokens that a node computes at a time in prefill; default 1024
	BlockTokens int           // tokens of a KV block; default 256
	KV          KVFormat      // storage of keys and values; default KVF16
	StepTimeout time.Duration // bound on every wait within a step; default 2 min
	LoadTimeout time.Duration // bound on loading, the reading of weights from a disk included; default 5 min
	// Progress is told, a few times a second and from any goroutine, how many bytes of its weights a node has read, where that takes
	// long: whenever layers are loaded, be it for a mode switch.
	Progress func(node string, done, total int64)
}

func (o LoadOptions) withDefaults(c *model.Config) (LoadOptions, error) {
	for _, d := range []struct {
		v   *int
		def int
	}{{&o.Context, min(c.MaxPositions, 8192)}, {&o.Sequences, 1}, {&o.Waiting, 64}, {&o.Chunk, 1024}, {&o.BlockTokens, 256}} {
		if *d.v == 0 {
			*d.v = d.def
		}
	}
	if o.Mode == 0 {
		o.Mode = Pipeline
	}
	if o.KV == 0 {
		o.KV = KVF16
	}
	if o.StepTimeout == 0 {
		o.StepTimeout = 2 * time.Minute
	}
	if o.LoadTimeout == 0 {
		o.LoadTimeout = 5 * time.Minute
	}
	if o.WaitTimeout == 0 {
		o.WaitTimeout = time.Minute
	}
	o.Waiting = max(0, o.Waiting)
	switch {
	case o.Context < 1 || o.Context > c.MaxPositions:
		return o, fmt.Errorf("context %d is not between 1 and %d, which the model was made for", o.Context, c.MaxPositions)
	case o.Chunk < 1 || o.Chunk > 1<<16:
		return o, fmt.Errorf("chunk %d is not between 1 and 65536 tokens", o.Chunk)
	case o.BlockTokens < 1 || o.BlockTokens > 1<<14:
		return o, fmt.Errorf("a block of %d is not between 1 and 16384 tokens", o.BlockTokens)
	case o.Sequences < 1 || o.Sequences > 1<<12:
		return o, fmt.Errorf("%d sequences is not between 1 and 4096", o.Sequences)
	case o.StepTimeout < 0 || o.LoadTimeout < 0 || o.WaitTimeout < 0:
		return o, fmt.Errorf("a timeout is negative")
	}
	return o, o.KV.Check(c.HeadDim)
}

// Model is a model that is loaded on the nodes of a cluster. Its methods may be called from any goroutine.
type Model struct {
	cluster *Cluster
	ref     string
	files   *model.Model
	opts    LoadOptions
	tok     *tokenizer.Tokenizer    // nil if the model has none
	noText  error                   // why not
	chat    *tokenizer.ChatTemplate // nil if the model has none
	noChat  error                   // why not

	loading sync.Mutex // one load at a time

	mu        sync.Mutex
	conductor *actors.Conductor // nil between loads
	steered   *actors.Conductor // that knows what is predicted, for Auto
	nodes     []cluster.Node    // where it is loaded, in the order of the plans
	asked     placement.Request // what the plans are of
	plans     *placement.Reservation
	closed    bool

	turnBefore float64 // seconds that this process took to hand out steps when CostsNow was asked last
}

// Load places a model on the members that compute, and loads it there. ref is "recall", the model that
// comes with Orrery, or the path of a directory in Hugging Face layout or of a GGUF file, which every node must have. The
// error is a *placement.Refusal if the model, with its full context, does not fit.
func (c *Cluster) Load(ctx context.Context, ref string, o LoadOptions) (*Model, error) {
	files, err := c.open(ref)
	if err != nil {
		return nil, fmt.Errorf("orrery: %w", err)
	}
	m := &Model{cluster: c, ref: ref, files: files}
	if err = m.loadText(); err == nil {
		err = m.setOptions(o)
	}
	if err == nil {
		_, err = m.ready(ctx, m.opts.Mode == Auto)
	}
	if err != nil {
		m.close()
		return nil, fmt.Errorf("orrery: loading %s: %w", ref, err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		m.close()
		return nil, errors.New("orrery: the cluster was closed")
	}
	c.models[m] = true
	return m, nil
}

// setOptions takes the options, with what follows from the model.
func (m *Model) setOptions(o LoadOptions) (err error) {
	c := &m.files.Config
	if o.ContextFor != nil {
		if m.tok == nil {
			return m.noText
		}
		if o.Context, err = o.ContextFor(m.tok, c.MaxPositions); err != nil {
			return err
		}
	}
	m.opts, err = o.withDefaults(c)
	return err
}

// loadText loads the tokenizer and the chat template. A model without a tokenizer can be run on token ids.
func (m *Model) loadText() error {
	var err error
	if m.tok, err = m.files.Tokenizer(); errors.Is(err, fs.ErrNotExist) {
		m.noText, m.noChat = err, err
		return nil
	}
	if err != nil {
		return err
	}
	m.chat, m.noChat = m.files.ChatTemplate()
	return nil
}

// ready is the conductor of the loaded model. If a node was lost, the model is loaded again on those that
// are there. auto is whether it is to choose modes.
func (m *Model) ready(ctx context.Context, auto bool) (*actors.Conductor, error) {
	m.loading.Lock()
	defer m.loading.Unlock()
	m.mu.Lock()
	conductor, closed := m.conductor, m.closed
	m.mu.Unlock()
	if closed {
		return nil, errors.New("the model was closed")
	}
	if conductor != nil && conductor.Broken() == nil {
		if auto {
			m.steer(ctx, conductor)
		}
		return conductor, nil
	}
	if conductor != nil {
		m.cluster.log.Warn("loading the model again on the nodes that are left", "model", m.ref, "because", conductor.Broken())
		conductor.Close()
	}
	for attempt := 1; ; attempt++ {
		conductor, err := m.load(ctx)
		lost := engine.Lost(err)
		if err == nil && auto {
			m.steer(ctx, conductor)
		}
		if err == nil || lost == "" || attempt == loadAttempts || !m.cluster.waitGone(ctx, lost) {
			return conductor, err
		}
		m.cluster.log.Warn("a node was lost: loading on the others", "model", m.ref, "lost", lost)
	}
}

// loadAttempts bounds how many nodes may be lost while a model is loaded.
const loadAttempts = 4

// load places the model on the members that compute, and loads it there.
func (m *Model) load(ctx context.Context) (*actors.Conductor, error) {
	nodes := m.cluster.Nodes()
	if len(nodes) == 0 {
		return nil, errors.New("no node that computes is there")
	}
	for _, n := range nodes {
		m.cluster.endpoint.SetPeer(n.Name, n.Transport) // watch may not have come to it yet
	}
	taken, runtimes := m.cluster.askMemory(ctx, nodes)
	mode, plans, err := m.place(nodes, runtimes)
	if err != nil {
		var refusal *placement.Refusal
		if errors.As(err, &refusal) {
			for i := range refusal.Rows {
				refusal.Rows[i].Taken = taken[i]
			}
		}
		return nil, err
	}
	conductor, err := actors.Load(ctx, m.cluster.system, m.cluster.endpoint, m.spec(nodes, mode, plans))
	if err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.conductor, m.nodes, m.plans = conductor, nodes, plans
	return conductor, nil
}

// place decides what goes where, in every mode that fits, and in which mode to load: of Auto in the first that
// fits. If none does the error is that of the first.
func (m *Model) place(nodes []cluster.Node, runtimes []int64) (load Mode, plans *placement.Reservation, err error) {
	modes := []Mode{Pipeline, Pooled, Ring}
	if m.opts.Mode != Auto {
		modes = []Mode{m.opts.Mode}
	}
	r := m.request(nodes)
	for i, n := range runtimes {
		if n > 0 && m.files.Mapped() {
			n += mappedGrowth
		}
		r.Nodes[i].Runtime = n
	}
	m.mu.Lock()
	m.asked = r
	m.mu.Unlock()
	for _, r.Mode = range modes {
		res, failed := placement.PlaceAll(r, []Mode{Pipeline, Pooled, Ring})
		if failed == nil {
			return r.Mode, res, nil
		}
		if err == nil {
			err = failed
		}
	}
	return 0, nil, err
}

// mappedGrowth is what a node takes more, in bytes, where weights lie in files: the code that reads those, and pages that the system
// maps together with the ones that are used.
const mappedGrowth = 2 << 20

// slotTokens is for how many tokens the nodes' GPUs have slots to exchange by: most where two are on one machine, since they may share memory there.
func slotTokens(nodes []cluster.Node) int {
	on := map[string]int{} // GPUs of each machine
	gpus := 0
	for _, n := range nodes {
		if n.OnGPU() {
			gpus++
			on[n.Machine]++
		}
	}
	delete(on, "")
	for _, n := range on {
		if n > 1 {
			return engine.SlotTokens(true)
		}
	}
	if gpus > 1 {
		return engine.SlotTokens(false)
	}
	return 0
}

// request is what placement is asked.
func (m *Model) request(nodes []cluster.Node) placement.Request {
	c, o := &m.files.Config, m.opts
	buffers := engine.Footprint(c, o.KV, o.BlockTokens, len(nodes), m.cluster.cfg.Identity != nil)
	buffers.Slots = slotTokens(nodes)
	r := placement.Request{Mode: m.opts.Mode, Context: m.opts.Context, Sequences: m.opts.Sequences, Chunk: m.opts.Chunk, BlockTokens: m.opts.BlockTokens,
		Model: placement.Model{Name: m.ref, EmbedBytes: m.files.EmbedBytes(), HeadBytes: m.files.HeadBytes(), Tied: c.Tied, BlockOverhead: placement.BlockOverhead,
			ScratchBytes: buffers.Bytes}}
	for l := range c.Layers {
		r.Model.LayerBytes = append(r.Model.LayerBytes, m.files.LayerBytes(l))
		r.Model.KVBytesPerToken = append(r.Model.KVBytesPerToken, c.KVBytesPerToken(m.opts.KV))
	}
	for _, n := range nodes {
		r.Nodes = append(r.Nodes, n.Placement())
	}
	return r
}

// spec turns the plans into what the actors need.
func (m *Model) spec(nodes []cluster.Node, load Mode, plans *placement.Reservation) actors.Spec {
	o := m.opts
	s := actors.Spec{Model: m.files, Ref: m.ref, Mode: load, Refused: map[Mode]string{}, Chunk: o.Chunk, BlockTokens: o.BlockTokens, KV: o.KV, Context: o.Context,
		MaxWaiting: o.Waiting, WaitTimeout: o.WaitTimeout, Address: m.cluster.membership.Self().Transport, StepTimeout: o.StepTimeout, LoadTimeout: o.LoadTimeout, OnLoading: o.Progress, Logger: m.cluster.log}
	s.Memory, s.Staged = plans.Promises(load)
	for mode, why := range plans.Refused {
		s.Refused[mode] = why.Error()
	}
	for _, n := range nodes {
		s.Nodes, s.Addresses = append(s.Nodes, n.Name), append(s.Addresses, n.Transport)
	}
	s.Layers = layersOf(plans, len(nodes), m.files.Config.Layers)
	s.Weights, s.Blocks = tokenShares(plans, nodes), tokenBlocks(plans)
	s.RingOwner = fastest(nodes)
	return s
}

// layersOf is each node's layers in pipeline and pooled. If only ring fits, the first node stands for all:
// no sequence can be in another mode.
func layersOf(plans *placement.Reservation, nodes, layers int) []residence.Span {
	spans := make([]residence.Span, nodes)
	spans[0].End = layers
	for _, mode := range []Mode{Pooled, Pipeline} {
		if p := plans.Plans[mode]; p != nil {
			for i := range spans {
				spans[i] = residence.Span(p.Shares[i].Layers)
			}
		}
	}
	return spans
}

// tokenShares is each node's share of the tokens in pooled and ring. Ring leaves the least room for the
// cache, so its shares fit in pooled too, and a switch between them moves no block.
func tokenShares(plans *placement.Reservation, nodes []cluster.Node) []float64 {
	shares := make([]float64, len(nodes))
	for _, mode := range []Mode{Ring, Pooled} {
		if p := plans.Plans[mode]; p != nil {
			for i := range shares {
				shares[i] = p.Shares[i].TokenWeight
			}
			return shares
		}
	}
	sum := 0.0
	for _, n := range nodes {
		sum += n.Bandwidth
	}
	for i, n := range nodes {
		shares[i] = n.Bandwidth / sum
	}
	return shares
}

// tokenBlocks is how many blocks of a whole context each node holds in pooled and ring, or nil if neither fits.
func tokenBlocks(plans *placement.Reservation) (blocks []int) {
	for _, mode := range []Mode{Ring, Pooled} {
		if p := plans.Plans[mode]; p != nil {
			for _, s := range p.Shares {
				blocks = append(blocks, s.Blocks)
			}
			return blocks
		}
	}
	return nil
}

// fastest is the node with the fastest memory, the first of equals.
func fastest(nodes []cluster.Node) int {
	best := 0
	for i, n := range nodes {
		if n.Bandwidth > nodes[best].Bandwidth {
			best = i
		}
	}
	return best
}

// Plans is where the model's layers and tokens are, for each mode that fits, and why the others do not.
func (m *Model) Plans() *placement.Reservation {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.plans
}

// Tokenizer is the model's tokenizer, or nil if it comes without one.
func (m *Model) Tokenizer() *tokenizer.Tokenizer { return m.tok }

// Vocab is the number of logits of a token.
func (m *Model) Vocab() int { return m.files.Config.Vocab }

// Context is the number of tokens that a sequence may reach.
func (m *Model) Context() int { return m.opts.Context }

// RenderChat is the prompt of a conversation, by the model's chat template, up to where the answer begins.
func (m *Model) RenderChat(messages []tokenizer.Message) (string, error) {
	if m.chat == nil {
		return "", fmt.Errorf("orrery: %s has no chat template: %w", m.ref, m.noChat)
	}
	return m.chat.Render(messages, true, nil)
}

// uses reports whether the model is loaded on a node.
func (m *Model) uses(node string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.ContainsFunc(m.nodes, func(n cluster.Node) bool { return n.Name == node })
}

func (m *Model) nodeLost(name string, cause error) {
	m.mu.Lock()
	conductor := m.conductor
	m.mu.Unlock()
	if conductor != nil {
		conductor.NodeLost(name, cause)
	}
}

// Close unloads the model. Sessions and generations of it end with an error.
func (m *Model) Close() error {
	m.cluster.mu.Lock()
	delete(m.cluster.models, m)
	m.cluster.mu.Unlock()
	return m.close()
}

func (m *Model) close() error {
	m.loading.Lock()
	defer m.loading.Unlock()
	m.mu.Lock()
	conductor, closed := m.conductor, m.closed
	m.conductor, m.closed = nil, true
	m.mu.Unlock()
	if closed {
		return nil
	}
	if conductor != nil {
		conductor.Close()
	}
	return m.files.Close()
}
