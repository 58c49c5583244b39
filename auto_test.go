package orrery

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"
)

// crossing predicts that pooled is slower up to a context and faster from there on, and ring always slow.
type crossing int

func (c crossing) Step(m Mode, _, context int) float64 {
	switch {
	case m == Pipeline:
		return 1
	case m == Pooled && context >= int(c):
		return 0.001
	}
	return 1000
}

func (crossing) Prefill(Mode, int, int) float64 { return 1 }
func (crossing) Move(Mode, Mode, int) float64   { return 1e-9 }

// autoModel is the embedded model, loaded in Auto on two nodes that have measured nothing.
func autoModel(t *testing.T, ctx context.Context) *Model {
	t.Helper()
	var nodes []*Cluster
	for i := range 2 {
		cfg := Config{Name: fmt.Sprint("n", i), Memory: 1 << 30, Bandwidth: 1e9, Threads: 1, NoCalibration: true, Logger: slog.New(slog.DiscardHandler)}
		if i > 0 {
			cfg.Join = []string{nodes[0].Addr()}
		}
		n, err := Start(ctx, cfg)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { n.Close() })
		nodes = append(nodes, n)
	}
	if err := nodes[0].WaitNodes(ctx, 2); err != nil {
		t.Fatal(err)
	}
	m, err := nodes[0].Load(ctx, "recall", LoadOptions{Mode: Auto, Context: 1024, BlockTokens: 16})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func write(t *testing.T, ctx context.Context, m *Model, o GenerateOptions) (tokens []int32, s Stats) {
	t.Helper()
	o.IgnoreEOS = true
	g, err := m.Generate(ctx, "falcon (noun): diurnal birds of prey having long pointed powerful wings", o)
	if err != nil {
		t.Fatal(err)
	}
	for token, err := range g.Tokens() {
		if err != nil {
			t.Fatal(err)
		}
		if token.ID >= 0 {
			tokens = append(tokens, token.ID)
		}
	}
	return tokens, g.Stats()
}

func TestAutoSaysWhatItChoseAndKeepsTheTokens(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 4*time.Minute)
	defer cancel()
	m := autoModel(t, ctx)
	want, plain := write(t, ctx, m, GenerateOptions{Mode: Pipeline, MaxTokens: 200})
	if len(plain.Choices) != 0 {
		t.Errorf("in pipeline: %+v", plain.Choices)
	}
	got, s := write(t, ctx, m, GenerateOptions{MaxTokens: 200})
	if len(s.Choices) == 0 || s.Choices[0].Mode != Pipeline || s.Choices[0].Change || !strings.Contains(s.Choices[0].Reason, "node n0") {
		t.Errorf("without predictions: %+v", s.Choices)
	}
	if !slices.Equal(got, want) {
		t.Errorf("tokens %v, in pipeline %v", got, want)
	}
	m.conductor.Steer(crossing(150), "")
	got, s = write(t, ctx, m, GenerateOptions{MaxTokens: 200})
	if len(s.Choices) < 2 || s.Choices[1].Mode != Pooled || s.Choices[1].Tokens < 150 || len(s.Switches) == 0 || s.Switches[0].To != Pooled || s.Switches[0].Err != nil || s.Switches[0].Bytes == 0 {
		t.Errorf("choices %+v, switches %+v", s.Choices, s.Switches)
	}
	if !slices.Equal(got, want) {
		t.Errorf("tokens %v, in pipeline %v", got, want)
	}
	got, s = write(t, ctx, m, GenerateOptions{MaxTokens: 200, SwitchAt: []SwitchAt{{Token: 20, Mode: Ring}}})
	if len(s.Choices) != 0 || len(s.Switches) != 1 || s.Switches[0].To != Ring {
		t.Errorf("with a switch that was asked for: choices %+v, switches %+v", s.Choices, s.Switches)
	}
	if !slices.Equal(got, want) {
		t.Errorf("tokens %v, in pipeline %v", got, want)
	}
}

// Nobody knows how long an answer of no given length will be: a switch must pay within what is to be expected.
func TestAutoExpectsNoLongerAnswerThanThereHasBeen(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 4*time.Minute)
	defer cancel()
	m := autoModel(t, ctx)
	m.conductor.Steer(crossing(1), "")
	_, s := write(t, ctx, m, GenerateOptions{})
	if len(s.Choices) == 0 || !strings.Contains(s.Choices[0].Reason, "256 to write") {
		t.Errorf("%+v", s.Choices)
	}
}
