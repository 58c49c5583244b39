package orrery

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"sync"

	"github.com/orrery-ai/orrery/actors"
	"github.com/orrery-ai/orrery/cluster"
	"github.com/orrery-ai/orrery/engine"
	"github.com/orrery-ai/orrery/model"
	"github.com/orrery-ai/orrery/placement"
	"github.com/orrery-ai/orrery/tokenizer"
)

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

	loading chan struct{} // with room for one: who has put something in loads, or closes

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
// error is an *OptionsError if the model cannot be loaded with such options, and a *placement.Refusal if it does not fit with its full context.
func (c *Cluster) Load(ctx context.Context, ref string, o LoadOptions) (*Model, error) {
	if c.isClosed() {
		return nil, c.wasClosed()
	}
	files, err := c.open(ref)
	if err != nil {
		return nil, fmt.Errorf("orrery: %w", err)
	}
	m := &Model{cluster: c, ref: ref, files: files, loading: make(chan struct{}, 1)}
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
		return nil, c.wasClosed()
	}
	c.models[m] = true
	return m, nil
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
// are there; whoever asks meanwhile waits for that, as long as ctx. auto is whether it is to choose modes.
func (m *Model) ready(ctx context.Context, auto bool) (*actors.Conductor, error) {
	select {
	case m.loading <- struct{}{}:
		defer func() { <-m.loading }()
	case <-ctx.Done():
		return nil, fmt.Errorf("the model is being loaded: %w", context.Cause(ctx))
	}
	m.mu.Lock()
	conductor, closed := m.conductor, m.closed
	m.mu.Unlock()
	if closed {
		return nil, fmt.Errorf("the model %w", ErrClosed)
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
		conductor, err := m.load(ctx, auto)
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

// load places the model on the members that compute, and loads it there. For auto the links between them are measured before, which
// choosing modes needs soon after.
func (m *Model) load(ctx context.Context, auto bool) (*actors.Conductor, error) {
	if auto {
		m.measureFor(ctx, m.cluster.Nodes())
	}
	nodes := m.cluster.Nodes()
	if len(nodes) == 0 {
		return nil, errors.New("no node that computes is there")
	}
	for _, n := range nodes {
		m.cluster.endpoint.SetPeer(n.Name, n.Transport) // watch may not have come to it yet
	}
	taken, runtimes := m.cluster.askMemory(ctx, nodes)
	mode, plans, err := m.place(nodes, runtimes, m.cluster.knownLinks(nodes))
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

// measureFor measures the links between nodes, if predictions can be made with them. That this fails is told by who needs them.
func (m *Model) measureFor(ctx context.Context, nodes []cluster.Node) {
	if slices.ContainsFunc(nodes, func(n cluster.Node) bool { return !n.Rates.Known() }) {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, predictWithin)
	defer cancel()
	if _, err := m.cluster.measureLinks(ctx, nodes); err != nil {
		m.cluster.log.Debug("links are not known yet", "err", err)
	}
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
	m.loading <- struct{}{}
	defer func() { <-m.loading }()
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
