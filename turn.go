package orrery

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/orrery-ai/orrery/recall"
)

// MeasureTurn is how many seconds this process takes from a step's result to the next step that it hands out: a median.
// It is of the process that drives and hardly of the model, so it is measured with the one that comes with Orrery,
// which the nodes load for a moment. Predictions for models that have not been run yet go by it from then on.
func (c *Cluster) MeasureTurn(ctx context.Context) (seconds float64, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("orrery: how long it takes here to hand out a step: %w", err)
		}
	}()
	const prompt, tokens, block = 16, 32, 16
	m, err := c.Load(ctx, recall.Name, LoadOptions{Mode: Pipeline, Context: prompt + tokens, Chunk: prompt, BlockTokens: block})
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, m.Close()) }()
	s, err := m.NewSession(ctx, SessionOptions{})
	if err != nil {
		return 0, err
	}
	defer s.Close()
	g, err := s.GenerateIDs(ctx, make([]int32, prompt), GenerateOptions{MaxTokens: tokens, IgnoreEOS: true})
	if err != nil {
		return 0, err
	}
	began, some := time.Now(), 0
	for _, err := range g.Tokens() {
		if err != nil {
			return 0, err
		}
		if some++; some > prompt/2 && time.Since(began) > time.Second {
			break
		}
	}
	seconds = m.turn()
	c.turn.Store(math.Float64bits(seconds))
	return seconds, nil
}
