package orrery_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/orrery-ai/orrery"
)

// startRecall starts a node by itself, with the model that comes with Orrery.
func startRecall(t *testing.T) (*orrery.Cluster, *orrery.Model) {
	t.Helper()
	c := startNodes(t, 1e9)[0]
	m, err := c.Load(t.Context(), "recall", orrery.LoadOptions{Context: 512})
	if err != nil {
		t.Fatal(err)
	}
	return c, m
}

// refused holds an error to saying all of want.
func refused(t *testing.T, what string, err error, want ...string) {
	t.Helper()
	if err == nil {
		t.Errorf("%s is accepted", what)
		return
	}
	for _, w := range want {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("%s: %q is not in %q", what, w, err)
		}
	}
}

func TestWhatNoGenerationCanBeIsRefusedBeforeItBegins(t *testing.T) {
	_, m := startRecall(t)
	ctx := t.Context()
	s, err := m.NewSession(ctx, orrery.SessionOptions{Context: 128})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for what, c := range map[string]struct {
		ids  []int32
		o    orrery.GenerateOptions
		want string
	}{
		"a negative token":         {ids: []int32{1, -4}, want: "token 1 of the prompt is -4"},
		"a token that is not had":  {ids: []int32{1 << 30}, want: "vocabulary of 4096"},
		"a switch to nowhere":      {ids: []int32{1}, o: orrery.GenerateOptions{SwitchAt: []orrery.SwitchAt{{Token: 1, Mode: 99}}}, want: "mode(99)"},
		"a switch to auto":         {ids: []int32{1}, o: orrery.GenerateOptions{SwitchAt: []orrery.SwitchAt{{Token: 1, Mode: orrery.Auto}}}, want: "auto"},
		"a switch before anything": {ids: []int32{1}, o: orrery.GenerateOptions{SwitchAt: []orrery.SwitchAt{{Token: -1, Mode: orrery.Ring}}}, want: "-1 is negative"},
		"switches in disorder": {ids: []int32{1}, o: orrery.GenerateOptions{SwitchAt: []orrery.SwitchAt{{Token: 5, Mode: orrery.Ring}, {Token: 4, Mode: orrery.Pooled}}},
			want: "token 4 comes after token 5"},
		"no tokens": {want: "no tokens"},
	} {
		_, err := s.GenerateIDs(ctx, c.ids, c.o)
		refused(t, what, err, c.want)
	}
	_, err = m.Generate(ctx, "", orrery.GenerateOptions{MaxTokens: 1})
	refused(t, "an empty prompt", err, "no tokens")
	_, err = m.Generate(ctx, "Once", orrery.GenerateOptions{MaxTokens: 1, Mode: 77})
	refused(t, "a mode that there is not", err, "mode(77)")
	_, err = s.SwitchMode(ctx, 77)
	refused(t, "a switch to a mode that there is not", err, "mode(77)")
	_, err = s.SwitchMode(ctx, orrery.Auto)
	refused(t, "a switch to auto", err, "auto")
	_, err = m.Logits(ctx, []int32{-1}, orrery.LogitsOptions{}, func(int, []float32) error { return nil })
	refused(t, "logits of a negative token", err, "-1")
	g, err := s.GenerateIDs(ctx, []int32{1}, orrery.GenerateOptions{MaxTokens: 2})
	if err != nil {
		t.Fatalf("the session did not survive what was refused: %v", err)
	}
	g.Close()
}

func TestOptionsThatAModelCannotBeLoadedWithAreWrongOptions(t *testing.T) {
	c := startNodes(t, 1e9)[0]
	for want, o := range map[string]orrery.LoadOptions{
		"context 262145":        {Context: 262145},
		"chunk 65537":           {Chunk: orrery.MaxChunk + 1},
		"a block of 16385":      {BlockTokens: orrery.MaxBlockTokens + 1},
		"4097 sequences":        {Sequences: orrery.MaxSequences + 1},
		"a timeout is negative": {StepTimeout: -1},
	} {
		_, err := c.Load(t.Context(), "recall", o)
		refused(t, want, err, want)
		if !errors.As(err, new(*orrery.OptionsError)) {
			t.Errorf("%v is no error of the options", err)
		}
	}
}

func TestWhatNoNodeCanBeIsRefused(t *testing.T) {
	for what, c := range map[string]struct {
		cfg  orrery.Config
		want string
	}{
		"an unknown way to wait": {orrery.Config{Synch: 77}, "synch 77"},
		"unknown checksums":      {orrery.Config{Checksums: 77}, "checksums 77"},
		"too many threads":       {orrery.Config{Threads: 1 << 30}, "threads"},
		"an address of no port":  {orrery.Config{Listen: "here"}, `listen address "here"`},
		"an unknown device":      {orrery.Config{Device: "abacus"}, "auto, cpu, metal"},
	} {
		cluster, err := orrery.Start(t.Context(), c.cfg)
		refused(t, what, err, c.want)
		if err == nil {
			cluster.Close()
		}
	}
	_, err := orrery.ChooseDevice("abacus")
	refused(t, "a choice of an unknown device", err, "auto, cpu, metal")
}

func TestWhatWasClosedSaysSo(t *testing.T) {
	c, m := startRecall(t)
	ctx := t.Context()
	s, err := m.NewSession(ctx, orrery.SessionOptions{Context: 128})
	if err != nil {
		t.Fatal(err)
	}
	_, err = c.Load(ctx, "", orrery.LoadOptions{})
	refused(t, "a model without a name", err, "recall")
	closed := func(what string, err error) {
		t.Helper()
		if !errors.Is(err, orrery.ErrClosed) {
			t.Errorf("%s: %v", what, err)
		}
	}
	s.Close()
	_, err = s.Generate(ctx, "Once", orrery.GenerateOptions{})
	closed("a session", err)
	_, err = s.SwitchMode(ctx, orrery.Ring)
	closed("a switch of a session", err)
	closed("a fill of a session", s.Fill(ctx, 10))
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	_, err = m.Generate(ctx, "Once", orrery.GenerateOptions{})
	closed("a model", err)
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	_, err = c.Load(ctx, "recall", orrery.LoadOptions{})
	closed("a cluster", err)
	_, err = c.Status(ctx)
	closed("a cluster's status", err)
}

func TestTheTimesOfAnAnswerBeginWhenItIsAskedFor(t *testing.T) {
	_, m := startRecall(t)
	for range 200 {
		g, err := m.Generate(context.Background(), "Once", orrery.GenerateOptions{MaxTokens: 1, IgnoreEOS: true})
		if err != nil {
			t.Fatal(err)
		}
		for _, err := range g.Tokens() {
			if err != nil {
				t.Fatal(err)
			}
		}
		if s := g.Stats(); s.TTFT <= 0 || s.Prefill <= 0 || s.PrefillRate() <= 0 {
			t.Fatalf("first token after %v, prefill took %v", s.TTFT, s.Prefill)
		}
	}
}
