package orrery

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/orrery-ai/orrery/actors"
	"github.com/orrery-ai/orrery/placement"
	"github.com/orrery-ai/orrery/sampling"
)

// SwitchAt asks for a mode once so many tokens have been generated.
type SwitchAt = actors.SwitchAt

// SwitchReport tells how a mode switch went.
type SwitchReport = actors.SwitchReport

// NodeLostError says that a node that a model needs is gone.
type NodeLostError = actors.NodeLostError

// ContextError says that a prompt does not fit in what is left of the context.
type ContextError = actors.ContextError

// AdmissionError says that a sequence cannot be opened now, and how many tokens of KV cache are free.
type AdmissionError = actors.AdmissionError

// GenerateOptions says how to go on from a prompt. The zero value generates greedily, up to the end of the
// context, until the model ends its answer.
type GenerateOptions struct {
	MaxTokens int                   // 0: as many as the context has room for
	Sampling  sampling.Params       // the zero value is greedy
	IgnoreEOS bool                  // go on after an end-of-text token
	StopIDs   []int32               // further tokens that end the generation
	SwitchAt  []SwitchAt            // mode switches on the way, which end Auto
	Mode      Mode                  // of the sequence, in Model.Generate; default: the model's
	Context   int                   // tokens of the sequence, in Model.Generate; default: the prompt's and MaxTokens
	Progress  func(done, total int) // told of the prompt's tokens as they are computed, from within Tokens
}

// Session is a sequence whose KV cache stays between generations: each prompt continues what came before.
// It has one generation at a time.
type Session struct {
	model     *Model
	conductor *actors.Conductor
	seq       uint64
	started   bool
	closing   sync.Once
}

// SessionOptions says what a session may become. A zero in any field means its default.
type SessionOptions struct {
	Mode    Mode // default: the model's
	Context int  // tokens that it may reach, for which it holds memory until it is closed; default: the model's
}

// NewSession opens a sequence. If there is no memory for it now it waits for its turn, until ctx or
// LoadOptions.WaitTimeout ends; the error is an *AdmissionError if that was in vain, or too many wait already.
func (m *Model) NewSession(ctx context.Context, o SessionOptions) (*Session, error) {
	if o.Mode == 0 {
		o.Mode = m.opts.Mode
	}
	if err := checkPlaced(o.Mode); err != nil && o.Mode != Auto {
		return nil, fmt.Errorf("orrery: %w", err)
	}
	conductor, err := m.ready(ctx, o.Mode == Auto)
	if err != nil {
		return nil, fmt.Errorf("orrery: %s: %w", m.ref, err)
	}
	if o.Context == 0 {
		o.Context = m.opts.Context
	}
	seq, err := conductor.Open(ctx, o.Mode, o.Context)
	if err != nil {
		return nil, fmt.Errorf("orrery: opening a session: %w", err)
	}
	return &Session{model: m, conductor: conductor, seq: seq}, nil
}

// Generate continues the session with a prompt, in which special tokens are recognised, and generates.
func (s *Session) Generate(ctx context.Context, prompt string, o GenerateOptions) (*Generation, error) {
	ids, err := s.model.encode(prompt, !s.started)
	if err != nil {
		return nil, err
	}
	return s.GenerateIDs(ctx, ids, o)
}

// encode is a prompt in tokens, with what stands before the first of a sequence.
func (m *Model) encode(prompt string, first bool) ([]int32, error) {
	if m.tok == nil {
		return nil, fmt.Errorf("orrery: %s cannot read text: %w", m.ref, m.noText)
	}
	encode := m.tok.Encode
	if first {
		encode = m.tok.EncodePrompt
	}
	ids, err := encode(prompt, true)
	if err != nil {
		return nil, fmt.Errorf("orrery: %w", err)
	}
	return ids, nil
}

// GenerateIDs is Generate for a prompt in tokens.
func (s *Session) GenerateIDs(ctx context.Context, ids []int32, o GenerateOptions) (*Generation, error) {
	if o.MaxTokens < 0 {
		return nil, fmt.Errorf("orrery: max tokens %d is negative", o.MaxTokens)
	}
	unlimited := o.MaxTokens == 0
	if unlimited {
		o.MaxTokens = s.model.opts.Context
	}
	if err := s.model.checkIDs(ids); err != nil {
		return nil, fmt.Errorf("orrery: %w", err)
	}
	if err := checkSwitches(o.SwitchAt); err != nil {
		return nil, fmt.Errorf("orrery: %w", err)
	}
	stop := slices.Clone(o.StopIDs)
	if !o.IgnoreEOS {
		stop = append(stop, s.model.files.Config.EOS...)
	}
	asked := time.Now()
	r, err := s.conductor.Start(ctx, s.seq, actors.Job{IDs: ids, MaxTokens: o.MaxTokens, Stop: stop, Unlimited: unlimited, Sampling: o.Sampling, SwitchAt: o.SwitchAt, OneByOne: -1})
	if err != nil {
		return nil, fmt.Errorf("orrery: %w", err)
	}
	s.started = true
	return newGeneration(ctx, s, r, stop, asked, o.Progress), nil
}

// checkIDs reports the first token that the model does not have.
func (m *Model) checkIDs(ids []int32) error {
	for i, id := range ids {
		if id < 0 || int(id) >= m.Vocab() {
			return fmt.Errorf("token %d of the prompt is %d, outside of the vocabulary of %d", i, id, m.Vocab())
		}
	}
	return nil
}

// checkSwitches reports switches out of order, or to what is no place for layers and tokens, as Auto is not.
func checkSwitches(switches []SwitchAt) error {
	for i, s := range switches {
		switch {
		case s.Token < 0:
			return fmt.Errorf("SwitchAt: token %d is negative", s.Token)
		case i > 0 && switches[i-1].Token > s.Token:
			return fmt.Errorf("SwitchAt: token %d comes after token %d", s.Token, switches[i-1].Token)
		}
		if err := checkPlaced(s.Mode); err != nil {
			return fmt.Errorf("SwitchAt: %w", err)
		}
	}
	return nil
}

// checkPlaced reports a mode that is none, or Auto.
func checkPlaced(m Mode) error {
	_, err := placement.ParseMode(m.String())
	return err
}

// SwitchMode moves the session to another mode, and returns when that has taken effect, or the error that
// kept it in the one it was in. A generation goes on meanwhile.
func (s *Session) SwitchMode(ctx context.Context, mode Mode) (*SwitchReport, error) {
	if err := checkPlaced(mode); err != nil {
		return nil, fmt.Errorf("orrery: switching: %w", err)
	}
	r, err := s.conductor.Switch(ctx, s.seq, mode)
	if err != nil {
		return r, fmt.Errorf("orrery: %w", err)
	}
	return r, nil
}

// Fill puts made-up keys and values of so many tokens after what the session has, on the nodes where its
// mode wants them, in the time that writing them takes. It is for measuring what a generation costs at a
// depth, in time and memory, without computing up to there; what is generated then means nothing. The
// session must have no generation. Fill waits for at most half a minute unless ctx has a deadline.
func (s *Session) Fill(ctx context.Context, tokens int) error {
	if err := s.conductor.Fill(ctx, s.seq, tokens); err != nil {
		return fmt.Errorf("orrery: %w", err)
	}
	s.started = true
	return nil
}

// Close gives back the session's KV cache. A generation that runs ends with an error.
func (s *Session) Close() {
	s.closing.Do(func() { s.conductor.CloseSequence(s.seq) })
}

// Generate opens a session, generates from a prompt, and closes the session when the generation ends.
func (m *Model) Generate(ctx context.Context, prompt string, o GenerateOptions) (*Generation, error) {
	ids, err := m.encode(prompt, true)
	if err != nil {
		return nil, err
	}
	if len(ids) == 0 {
		return nil, errors.New("orrery: the prompt has no tokens")
	}
	if o.Context == 0 && o.MaxTokens > 0 {
		o.Context = max(1, min(len(ids)+o.MaxTokens, m.opts.Context))
	}
	s, err := m.NewSession(ctx, SessionOptions{Mode: o.Mode, Context: o.Context})
	if err != nil {
		return nil, err
	}
	g, err := s.GenerateIDs(ctx, ids, o)
	if err != nil {
		s.Close()
		return nil, err
	}
	g.closes = true
	return g, nil
}
