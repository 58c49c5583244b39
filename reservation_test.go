package orrery_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/orrery-ai/orrery"
	"github.com/orrery-ai/orrery/cluster"
	"github.com/orrery-ai/orrery/placement"
)

// patience bounds what should come soon; no test is a claim about time.
const patience = 30 * time.Second

func within(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

// client joins nodes, to load models on them.
func client(t testing.TB, name string, to *orrery.Cluster, nodes int) *orrery.Cluster {
	t.Helper()
	c, err := orrery.Start(within(t), orrery.Config{Name: name, Client: true, Join: []string{to.Addr()}, Logger: quiet()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if err := c.WaitNodes(within(t), nodes); err != nil {
		t.Fatal(err)
	}
	return c
}

func gossips(t testing.TB, c *orrery.Cluster, what string, is func([]cluster.Node) bool) {
	t.Helper()
	for end := time.Now().Add(patience); !is(c.Nodes()); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("never: %s: %+v", what, c.Nodes())
		}
	}
}

func TestASecondClientPlansWithWhatTheFirstHasLeft(t *testing.T) {
	nodes := startNodes(t, 1e9, 1e9)
	first, second := client(t, "first", nodes[0], 2), client(t, "second", nodes[0], 2)
	large := orrery.LoadOptions{Context: 32768, Sequences: 40}
	m, err := first.Load(within(t), "recall", large)
	if err != nil {
		t.Fatal(err)
	}
	gossips(t, second, "both nodes tell what they have promised", func(ns []cluster.Node) bool { return ns[0].Promised > 0 && ns[1].Promised > 0 })
	_, err = second.Load(within(t), "recall", large)
	var refusal *placement.Refusal
	if !errors.As(err, &refusal) {
		t.Fatalf("loading as much again: %v", err)
	}
	for _, row := range refusal.Rows {
		if row.Has >= row.Memory || !strings.Contains(row.Taken, "recall of first") {
			t.Errorf("%+v", row)
		}
	}
	if text := refusal.Table(); !strings.Contains(text, "of 4.0 GiB") || !strings.Contains(text, "recall of first") {
		t.Errorf("%s", text)
	}
	small, err := second.Load(within(t), "recall", orrery.LoadOptions{Context: 2048})
	if err != nil {
		t.Fatalf("loading what fits: %v", err)
	}
	small.Close()
	m.Close() // its memory is free for who closed it at once, whatever gossip says by then
	if m, err = first.Load(within(t), "recall", large); err != nil {
		t.Fatal(err)
	}
	m.Close()
	gossips(t, first, "nothing is promised any more", func(ns []cluster.Node) bool { return ns[0].Promised+ns[1].Promised == 0 })
}

func TestAGenerationTakesOnlyWhatItNeeds(t *testing.T) {
	nodes := startNodes(t, 1e9)
	m, err := nodes[0].Load(within(t), "recall", orrery.LoadOptions{Context: 8192, Waiting: -1})
	if err != nil {
		t.Fatal(err)
	}
	var open []*orrery.Generation
	for range 8 { // of 256 tokens and less each, where one of 8192 fits
		g, err := m.Generate(within(t), "falcon", orrery.GenerateOptions{MaxTokens: 100})
		if err != nil {
			t.Fatal(err)
		}
		open = append(open, g)
	}
	_, err = m.NewSession(within(t), orrery.SessionOptions{})
	var full *orrery.AdmissionError
	if !errors.As(err, &full) || full.Open != 8 || full.FreeTokens != 8192-8*256 {
		t.Fatalf("a session of the whole context: %v", err)
	}
	s, err := m.NewSession(within(t), orrery.SessionOptions{Context: full.FreeTokens})
	if err != nil {
		t.Fatalf("a session of what is free: %v", err)
	}
	s.Close()
	for _, g := range open {
		g.Close()
	}
	if s, err = m.NewSession(within(t), orrery.SessionOptions{}); err != nil {
		t.Fatal(err)
	}
	s.Close()
}

func TestSessionsWaitForEachOther(t *testing.T) {
	nodes := startNodes(t, 1e9, 1e9)
	m, err := nodes[0].Load(within(t), "recall", orrery.LoadOptions{Context: 512, BlockTokens: 64, Chunk: 64})
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for range 6 {
		wg.Go(func() {
			s, err := m.NewSession(within(t), orrery.SessionOptions{Mode: orrery.Pooled})
			if err != nil {
				t.Error(err)
				return
			}
			defer s.Close()
			g, err := s.Generate(within(t), "The secret code of the amber falcon", orrery.GenerateOptions{MaxTokens: 5, IgnoreEOS: true})
			if err != nil {
				t.Error(err)
				return
			}
			for _, err := range g.Tokens() {
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
}
