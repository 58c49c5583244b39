package bench

import (
	"context"
	"fmt"
	"time"

	"github.com/orrery-ai/orrery"
)

// Exercise says how a model is to be taken through all that its nodes ever need memory for in a mode, at its
// full context.
type Exercise struct {
	Mode    orrery.Mode
	Compute int // tokens that nodes compute at once: a chunk or, in ring, a round
	Spread  int // tokens with which every node has a block, where nodes ask each other; otherwise 0
	Asking  int // tokens of the largest step behind those, see placement.Room
	Alone   int // in ring, tokens of the largest step that one node computes by itself; otherwise 0
	Steps   int // of one token, so many that all memory is used through which they come and results go
	Last    int // tokens to compute at the end of the context, as many as there is time for
	Decode  int // tokens to generate, up to the last of the context
	// Progress, unless nil, is told of the tokens computed at the end.
	Progress func(done, total int)
}

// few is how many tokens are computed at once at the very end: devices divide the keys of so few among their threads.
const few = 48

// Run has the largest steps computed of which queries go to all nodes, and which one node computes alone, each in a session of
// its own, and then many that are as small as can be. In another session it computes what comes first, several times what nodes compute at once, so that all buffers are used; fills
// the session with made-up tokens, computes the last ones behind them, and generates up to the last token of
// the context. Of a context that has no room for all that, more is computed, and less made up.
func (e *Exercise) Run(ctx context.Context, m *orrery.Model) error {
	if e.Compute < 1 || e.Last < 1 || e.Decode < 1 {
		return fmt.Errorf("%d tokens to compute at once, %d at the end and %d to decode: all must be positive", e.Compute, e.Last, e.Decode)
	}
	room := m.Context() - e.Decode
	if room < 1 {
		return fmt.Errorf("a context of %d tokens has no room for a token before %d tokens to decode", m.Context(), e.Decode)
	}
	for _, step := range []struct{ behind, tokens int }{{e.Spread, min(e.Asking, m.Context()-e.Spread-1)}, {0, min(e.Alone, m.Context()-1)}} {
		if step.tokens < 1 {
			continue
		}
		err := e.session(ctx, m, func(s *orrery.Session) error {
			if err := fill(ctx, s, step.behind); err != nil {
				return err
			}
			_, err := generate(ctx, s, someIDs(step.tokens, m.Vocab()), 1, nil)
			return err
		})
		if err != nil {
			return err
		}
	}
	if err := e.steps(ctx, m); err != nil {
		return err
	}
	return e.session(ctx, m, func(s *orrery.Session) error { return e.whole(ctx, m, s, room) })
}

// stepsFor is how long small steps may take: where they take long, what they use is little beside the model.
const stepsFor = 15 * time.Second

// steps decodes, in as many sessions as it takes. In ring it has rounds computed before, as small as can be, of which the other nodes are told, too.
func (e *Exercise) steps(ctx context.Context, m *orrery.Model) error {
	start := time.Now()
	var rounds int
	if e.Mode == orrery.Ring && e.Spread > 0 && e.Spread < m.Context() {
		rounds = e.Steps / (e.Spread / 32) // a round tells all its tokens
	}
	late := func() bool { return time.Since(start) > stepsFor }
	for range rounds {
		if time.Since(start) > stepsFor/2 {
			break
		}
		err := e.session(ctx, m, func(s *orrery.Session) error {
			_, err := generate(ctx, s, someIDs(e.Spread, m.Vocab()), 1, nil)
			return err
		})
		if err != nil {
			return err
		}
	}
	const piece = 64 // between two looks at the clock
	for left := e.Steps; left > 0 && m.Context() > piece && !late(); {
		err := e.session(ctx, m, func(s *orrery.Session) error {
			for used := 0; left > 0 && used+1+piece <= m.Context() && !late(); used += 1 + piece {
				if _, err := generate(ctx, s, someIDs(1, m.Vocab()), piece, nil); err != nil {
					return err
				}
				left -= piece
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// session runs what is to be done in a session of its own.
func (e *Exercise) session(ctx context.Context, m *orrery.Model, do func(*orrery.Session) error) error {
	s, err := m.NewSession(ctx, orrery.SessionOptions{Mode: e.Mode})
	if err != nil {
		return err
	}
	defer s.Close()
	return do(s)
}

// whole takes a session to the end of its context, which begins with room tokens before those to decode.
func (e *Exercise) whole(ctx context.Context, m *orrery.Model, s *orrery.Session, room int) error {
	last := room
	if first := 3 * e.Compute; first+e.Last+1 < room {
		if _, err := generate(ctx, s, someIDs(first, m.Vocab()), 1, nil); err != nil {
			return err
		}
		last = e.Last
		// The token that was generated is computed with the last ones.
		if err := fill(ctx, s, room-first-1-last); err != nil {
			return err
		}
	}
	if last > 2*few {
		if _, err := generate(ctx, s, someIDs(last-few, m.Vocab()), 1, e.Progress); err != nil {
			return err
		}
		last = few - 1 // and the token that was generated
	}
	_, err := generate(ctx, s, someIDs(last, m.Vocab()), e.Decode, e.Progress)
	return err
}

// fillTimeout bounds the filling of a session, which takes about a second for some GB.
const fillTimeout = 5 * time.Minute

func fill(ctx context.Context, s *orrery.Session, tokens int) error {
	if tokens < 1 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, fillTimeout)
	defer cancel()
	return s.Fill(ctx, tokens)
}

// someIDs is n token ids, most of them different.
func someIDs(n, vocab int) []int32 {
	ids := make([]int32, n)
	for i := range ids {
		ids[i] = int32((i*7919 + 13) % vocab)
	}
	return ids
}

// generate decodes exactly n tokens after a prompt.
func generate(ctx context.Context, s *orrery.Session, ids []int32, n int, progress func(done, total int)) (orrery.Stats, error) {
	g, err := s.GenerateIDs(ctx, ids, orrery.GenerateOptions{MaxTokens: n, IgnoreEOS: true, Progress: progress})
	if err != nil {
		return orrery.Stats{}, err
	}
	for _, err := range g.Tokens() {
		if err != nil {
			return orrery.Stats{}, err
		}
	}
	if got := g.Stats().Tokens; got != n {
		return orrery.Stats{}, fmt.Errorf("%d tokens were generated, not %d", got, n)
	}
	return g.Stats(), nil
}
