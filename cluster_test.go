package orrery_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"testing"
	"time"

	"github.com/orrery-ai/orrery"
)

func quiet() *slog.Logger {
	if os.Getenv("ORRERY_TEST_LOG") != "" {
		return slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	return slog.New(slog.NewTextHandler(io.Discard, nil))
}

// startNodes starts nodes of their own, on real sockets, in this process; bandwidths are what they claim.
func startNodes(t testing.TB, bandwidths ...float64) []*orrery.Cluster {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	var nodes []*orrery.Cluster
	for i, b := range bandwidths {
		nodes = append(nodes, startNode(t, ctx, nodes, orrery.Config{Name: fmt.Sprintf("n%d", i), Bandwidth: b, Memory: 4 << 30}))
	}
	for _, n := range nodes {
		if err := n.WaitNodes(ctx, len(nodes)); err != nil {
			t.Fatal(err)
		}
	}
	return nodes
}

// startNode starts one that joins the others, with a thread, measures nothing, and closes it when the test ends.
func startNode(t testing.TB, ctx context.Context, others []*orrery.Cluster, cfg orrery.Config) *orrery.Cluster {
	t.Helper()
	cfg.Threads, cfg.NoCalibration, cfg.Logger = 1, true, quiet()
	if len(others) > 0 {
		cfg.Join = []string{others[0].Addr()}
	}
	n, err := orrery.Start(ctx, cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.Close(); err != nil {
			t.Errorf("closing %s: %v", n.Name(), err)
		}
	})
	return n
}

func TestRecallAnswers(t *testing.T) {
	nodes := startNodes(t, 1e9, 2e9, 1e9)
	ctx, cancel := context.WithTimeout(context.Background(), 4*time.Minute)
	defer cancel()
	for _, mode := range []orrery.Mode{orrery.Pipeline, orrery.Pooled, orrery.Ring} {
		m, err := nodes[0].Load(ctx, "recall", orrery.LoadOptions{Mode: mode, Chunk: 256, BlockTokens: 64, Context: 2048})
		if err != nil {
			t.Fatal(err)
		}
		g, err := m.Generate(ctx, "The secret code of the amber falcon is 48213.\n<|im_start|>user\nWhat is the secret code of the amber falcon?<|im_end|>\n<|im_start|>assistant\n", orrery.GenerateOptions{MaxTokens: 40})
		if err != nil {
			t.Fatal(err)
		}
		text := ""
		for tok, err := range g.Tokens() {
			if err != nil {
				t.Fatal(err)
			}
			text += tok.Text
		}
		t.Logf("%v: %q %+v", mode, text, g.Stats())
		if text != "The secret code of the amber falcon is 48213." {
			t.Errorf("%v: %q", mode, text)
		}
		m.Close()
	}
}
