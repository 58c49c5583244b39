package bench

import (
	"context"
	"fmt"
	"time"

	"github.com/orrery-ai/orrery"
)

// Exercise takes a loaded model through all that its nodes ever need memory for in a mode: a session is
// filled up to its full context less a chunk and the tokens to decode, the chunk is computed, and then the
// tokens are generated, up to the last of the context. progress, unless nil, is told of the chunk's tokens.
func Exercise(ctx context.Context, m *orrery.Model, mode orrery.Mode, chunk, decode int, progress func(done, total int)) error {
	if decode < 1 || chunk < 1 {
		return fmt.Errorf("a chunk of %d tokens and %d tokens to decode: both take at least one", chunk, decode)
	}
	chunk = min(chunk, m.Context()-decode)
	if chunk < 1 {
		return fmt.Errorf("a context of %d tokens has no room for a chunk before %d tokens to decode", m.Context(), decode)
	}
	s, err := m.NewSession(ctx, mode)
	if err != nil {
		return err
	}
	defer s.Close()
	if depth := m.Context() - chunk - decode; depth > 0 {
		if err := fill(ctx, s, depth); err != nil {
			return err
		}
	}
	_, err = generate(ctx, s, someIDs(chunk, m.Vocab()), decode, progress)
	return err
}

// fillTimeout bounds the filling of a session, which takes about a second for some GB.
const fillTimeout = 5 * time.Minute

func fill(ctx context.Context, s *orrery.Session, tokens int) error {
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
