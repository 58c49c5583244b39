package orrery

import (
	"fmt"
	"time"

	"github.com/orrery-ai/orrery/attention"
	"github.com/orrery-ai/orrery/model"
	"github.com/orrery-ai/orrery/placement"
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

// Bounds of LoadOptions.
const (
	MaxBlockTokens = 1 << 14
	MaxChunk       = 1 << 16
	MaxSequences   = 1 << 12
)

// LoadOptions says how a model is loaded. A zero in any field means its default.
type LoadOptions struct {
	Mode    Mode // of new sequences, unless they say otherwise; default Pipeline. Auto: see there
	Context int  // tokens that a sequence may reach; default: the model's own, at most 8192
	// ContextFor, unless nil, says Context once the tokenizer is there: what a prompt needs. most is how many tokens the model was made
	// for. A model without a tokenizer cannot be loaded then.
	ContextFor  func(t *tokenizer.Tokenizer, most int) (int, error)
	Sequences   int           // of that context, for which memory is kept, so that more shorter ones fit, at most MaxSequences; default 1
	Waiting     int           // sequences that wait for memory in the order in which they came; default 64, negative: none
	WaitTimeout time.Duration // how long each waits at the most; default 1 min
	Chunk       int           // tokens that a node computes at a time in prefill, at most MaxChunk; default 1024
	BlockTokens int           // tokens of a KV block, at most MaxBlockTokens; default 256
	KV          KVFormat      // storage of keys and values; default KVF16
	StepTimeout time.Duration // bound on every wait within a step; default 2 min
	LoadTimeout time.Duration // bound on loading, the reading of weights from a disk included; default 5 min
	// Progress is told, a few times a second and from any goroutine, how many bytes of its weights a node has read, where that takes
	// long: whenever layers are loaded, be it for a mode switch.
	Progress func(node string, done, total int64)
}

// OptionsError says which of the LoadOptions is wrong, for this model or for any.
type OptionsError struct{ err error }

// Error names the option.
func (e *OptionsError) Error() string { return e.err.Error() }

// Unwrap is what is wrong.
func (e *OptionsError) Unwrap() error { return e.err }

func (o LoadOptions) withDefaults(c *model.Config) LoadOptions {
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
	return o
}

// check reports an option that is wrong.
func (o *LoadOptions) check(c *model.Config) error {
	switch {
	case o.Context < 1 || o.Context > c.MaxPositions:
		return fmt.Errorf("context %d is not between 1 and %d, which the model was made for", o.Context, c.MaxPositions)
	case o.Chunk < 1 || o.Chunk > MaxChunk:
		return fmt.Errorf("chunk %d is not between 1 and %d tokens", o.Chunk, MaxChunk)
	case o.BlockTokens < 1 || o.BlockTokens > MaxBlockTokens:
		return fmt.Errorf("a block of %d is not between 1 and %d tokens", o.BlockTokens, MaxBlockTokens)
	case o.Sequences < 1 || o.Sequences > MaxSequences:
		return fmt.Errorf("%d sequences is not between 1 and %d", o.Sequences, MaxSequences)
	case o.StepTimeout < 0 || o.LoadTimeout < 0 || o.WaitTimeout < 0:
		return fmt.Errorf("a timeout is negative")
	}
	return o.KV.Check(c.HeadDim)
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
	m.opts = o.withDefaults(c)
	if err = m.opts.check(c); err != nil {
		return &OptionsError{err}
	}
	return nil
}
