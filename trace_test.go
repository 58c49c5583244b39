package orrery_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/orrery-ai/orrery"
	"github.com/orrery-ai/orrery/trace"
	"github.com/orrery-ai/orrery/trace/tracetest"
)

const layersOfRecall = 6

func TestATraceCoversAllSessionsOfAModelAndWhatWasCollectedOnTheWay(t *testing.T) {
	nodes := startNodes(t, 1e9, 2e9)
	ctx, cancel := context.WithTimeout(context.Background(), 4*time.Minute)
	defer cancel()
	m, err := nodes[1].Load(ctx, "recall", orrery.LoadOptions{Mode: orrery.Pooled, Chunk: 64, BlockTokens: 16, Context: 512, Sequences: 2})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	tracing, err := m.Trace(ctx, orrery.TraceOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := m.Trace(ctx, orrery.TraceOptions{}); err == nil || !strings.Contains(err.Error(), "already") {
		t.Errorf("a second trace: %v", err)
	}
	for range 2 {
		g, err := m.Generate(ctx, document+question, orrery.GenerateOptions{MaxTokens: 6, IgnoreEOS: true})
		if err != nil {
			t.Fatal(err)
		}
		for _, err := range g.Tokens() {
			if err != nil {
				t.Fatal(err)
			}
		}
		if err := tracing.Collect(ctx); err != nil {
			t.Fatal(err)
		}
	}
	tr, err := tracing.Stop(ctx)
	if err != nil {
		t.Fatal(err)
	}
	tracetest.Check(t, tr, layersOfRecall)
	sequences := map[uint64]int{}
	for _, token := range tr.Decoding() {
		sequences[token.Seq]++
	}
	if len(sequences) != 2 || tr.Driver.Name != "n1" || len(tr.Prefills()) != 2 {
		t.Errorf("tokens by sequence %v, driven by %s, %d prompts", sequences, tr.Driver.Name, len(tr.Prefills()))
	}
	for seq, n := range sequences {
		if n != 5 {
			t.Errorf("%d tokens of sequence %d", n, seq)
		}
	}
	if _, err := m.Trace(ctx, orrery.TraceOptions{Spans: trace.MaxSpans + 1}); err == nil {
		t.Error("there is room for any number of spans")
	}
}
