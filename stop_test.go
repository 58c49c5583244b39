package orrery_test

import (
	"testing"

	"github.com/orrery-ai/orrery"
)

func TestStatsTellAnAnswerThatWasEndedFromOneThatWasCutOff(t *testing.T) {
	_, m := startRecall(t)
	generate := func(o orrery.GenerateOptions) (ids []int32, s orrery.Stats) {
		t.Helper()
		o.IgnoreEOS = true
		g, err := m.Generate(t.Context(), "Once", o)
		if err != nil {
			t.Fatal(err)
		}
		for token, err := range g.Tokens() {
			if err != nil {
				t.Fatal(err)
			}
			ids = append(ids, token.ID)
		}
		return ids, g.Stats()
	}
	ids, s := generate(orrery.GenerateOptions{MaxTokens: 8})
	if s.Tokens != 8 || s.Stopped {
		t.Errorf("8 tokens at the most: %d, stopped %v", s.Tokens, s.Stopped)
	}
	if _, s := generate(orrery.GenerateOptions{MaxTokens: 8, StopIDs: ids[3:4]}); s.Tokens > 4 || !s.Stopped {
		t.Errorf("with a token that ends it, the fourth: %d tokens, stopped %v", s.Tokens, s.Stopped)
	}
	if _, s := generate(orrery.GenerateOptions{MaxTokens: 8, Context: 6}); s.Tokens >= 8 || s.Stopped {
		t.Errorf("in a context of 6: %d tokens, stopped %v", s.Tokens, s.Stopped)
	}
}
