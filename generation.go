package orrery

import (
	"context"
	"fmt"
	"iter"
	"slices"
	"time"

	"github.com/orrery-ai/orrery/actors"
	"github.com/orrery-ai/orrery/tokenizer"
)

// Token is one token of an answer.
type Token struct {
	ID   int32     // -1 where only Text remained: bytes that were no whole character
	Text string    // what can be shown since the last token; a character is never cut
	At   time.Time // when it was chosen
}

// Generation is an answer on its way. Range over Tokens, or Close it. It is for one goroutine, but SwitchMode may be called
// from any.
type Generation struct {
	ctx      context.Context
	session  *Session
	running  *actors.Running
	stop     []int32            // tokens that end it
	decoder  *tokenizer.Decoder // nil if the model has no tokenizer: tokens come without text
	progress func(done, total int)
	closes   bool // the session belongs to the generation
	ended    bool
	stats    Stats
}

// Stats tells how a generation went. Times are of the conductor's clock.
type Stats struct {
	Prompt   int             // tokens of the prompt, with what was left to feed from before
	Read     int             // of them, computed so far
	Length   int             // tokens in the cache with the whole prompt
	Tokens   int             // generated
	Stopped  bool            // by an end-of-text token or one of StopIDs, and not by MaxTokens or the end of the context
	Started  time.Time       // when the prompt was given
	Prefill  time.Duration   // from the start until Read tokens were computed
	TTFT     time.Duration   // from the start to the first token
	Decode   time.Duration   // from the first token to the last
	Gaps     []time.Duration // between tokens
	Switches []SwitchReport  // those of SwitchAt and Auto
	Choices  []Choice        // of Auto
}

// PrefillRate is tokens/s of the prompt.
func (s *Stats) PrefillRate() float64 { return rate(s.Read, s.Prefill) }

// DecodeRate is tokens/s after the first token.
func (s *Stats) DecodeRate() float64 { return rate(s.Tokens-1, s.Decode) }

func rate(n int, d time.Duration) float64 {
	if n <= 0 || d <= 0 {
		return 0
	}
	return float64(n) / d.Seconds()
}

// MedianGap is the median time between two tokens.
func (s *Stats) MedianGap() time.Duration {
	if len(s.Gaps) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(s.Gaps))
	return sorted[len(sorted)/2]
}

// newGeneration is the generation of a job that was asked for at a time: the first of its events may be there already.
func newGeneration(ctx context.Context, s *Session, r *actors.Running, stop []int32, asked time.Time, progress func(done, total int)) *Generation {
	g := &Generation{ctx: ctx, session: s, running: r, stop: stop, progress: progress, stats: Stats{Prompt: r.Feed, Length: r.Base + r.Feed, Started: asked}}
	if s.model.tok != nil {
		g.decoder = s.model.tok.NewDecoder(true)
	}
	return g
}

// Tokens yields the answer as it comes. An error ends it: a *NodeLostError if a node is gone, the
// context's if that has ended. Leaving the loop ends the generation.
func (g *Generation) Tokens() iter.Seq2[Token, error] {
	return func(yield func(Token, error) bool) {
		defer g.Close()
		var last time.Time
		for e := range g.events() {
			switch e.Kind {
			case actors.Fed:
				g.stats.Read, g.stats.Prefill = e.Count, e.At.Sub(g.stats.Started)
				if g.progress != nil {
					g.progress(e.Count, g.stats.Prompt)
				}
			case actors.Switched:
				g.stats.Switches = append(g.stats.Switches, *e.Switch)
			case actors.Chosen:
				g.stats.Choices = append(g.stats.Choices, *e.Choice)
			case actors.Generated:
				g.count(e.At, last)
				g.stats.Stopped = slices.Contains(g.stop, e.Token)
				last = e.At
				if !yield(Token{ID: e.Token, Text: g.text(e.Token), At: e.At}, nil) {
					return
				}
			case actors.Ended:
				g.ended = true
				if text := g.rest(); text != "" && !yield(Token{ID: -1, Text: text, At: e.At}, nil) {
					return
				}
				if e.Err != nil {
					yield(Token{ID: -1}, fmt.Errorf("orrery: generation: %w", e.Err))
				}
				return
			}
		}
	}
}

func (g *Generation) text(id int32) string {
	if g.decoder == nil {
		return ""
	}
	return g.decoder.Push(id)
}

func (g *Generation) rest() string {
	if g.decoder == nil {
		return ""
	}
	return g.decoder.Flush()
}

func (g *Generation) count(at, last time.Time) {
	g.stats.Tokens++
	if last.IsZero() {
		g.stats.TTFT = at.Sub(g.stats.Started)
		return
	}
	g.stats.Gaps = append(g.stats.Gaps, at.Sub(last))
	g.stats.Decode += at.Sub(last)
}

// events yields the job's events; when the context ends it cancels the job, whose end then comes.
func (g *Generation) events() iter.Seq[actors.Event] {
	return func(yield func(actors.Event) bool) {
		done := g.ctx.Done()
		for {
			select {
			case e, ok := <-g.running.Events:
				if !ok || !yield(e) {
					return
				}
			case <-done:
				g.session.conductor.Cancel(g.session.seq, g.running, context.Cause(g.ctx))
				done = nil
			}
		}
	}
}

// SwitchMode moves the generation to another mode while it runs; see [Session.SwitchMode].
func (g *Generation) SwitchMode(ctx context.Context, mode Mode) (*SwitchReport, error) {
	return g.session.SwitchMode(ctx, mode)
}

// Stats tells how the generation went so far, as seen by the loop over Tokens.
func (g *Generation) Stats() Stats { return g.stats }

// Close ends the generation, if it has not ended.
func (g *Generation) Close() {
	if !g.ended {
		g.ended = true
		g.session.conductor.Cancel(g.session.seq, g.running, context.Canceled)
		for range g.running.Events {
		}
	}
	if g.closes {
		g.session.Close()
	}
}
