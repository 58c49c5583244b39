package orrery

import (
	"context"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/orrery-ai/orrery/cluster"
)

// logBook is what was logged.
type logBook struct {
	mu   sync.Mutex
	text strings.Builder
}

func (b *logBook) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *logBook) count(what string) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return strings.Count(b.text.String(), what)
}

func TestAClientIsWarnedOfANodeThatIsShortOfMemory(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	var book logBook
	log := slog.New(slog.NewTextHandler(&book, &slog.HandlerOptions{Level: slog.LevelWarn}))
	start := func(cfg Config) *Cluster {
		c, err := Start(ctx, cfg)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		return c
	}
	node := start(Config{Name: "a", Memory: 1 << 30, Bandwidth: 1e9, Threads: 1, Logger: slog.New(slog.DiscardHandler)})
	client := start(Config{Name: "c", Client: true, Join: []string{node.Addr()}, Logger: log})
	if err := client.WaitNodes(ctx, 1); err != nil {
		t.Fatal(err)
	}
	if _, err := client.Load(ctx, "recall", LoadOptions{Context: 1024}); err != nil {
		t.Fatal(err)
	}
	say := func(short int64, line string) {
		t.Helper()
		node.memory.set(1<<29, short)
		for ctx.Err() == nil && book.count(line) == 0 {
			time.Sleep(10 * time.Millisecond)
		}
		if n := book.count(line); n != 1 {
			t.Errorf("%q was logged %d times", line, n)
		}
	}
	say(1<<28, "other programs took memory that a node has promised")
	node.memory.set(1<<28, 1<<28) // it promises something else, and is as short
	if n := client.Nodes()[0]; n.Short != 1<<28 || n.Withheld() != n.Memory {
		t.Errorf("%+v", n)
	}
	say(0, "the memory that a node has promised is there again")
	if n := book.count("other programs"); n != 1 {
		t.Errorf("it was logged %d times that the node is short", n)
	}
	if n := (cluster.Node{Memory: 5, Promised: 7}); n.Withheld() != 5 {
		t.Errorf("of 5 bytes %d are promised", n.Withheld())
	}
}

func TestANodeThatOffersMoreThanIsFreeWarnsOfIt(t *testing.T) {
	for memory, want := range map[int64]int{1 << 50: 1, 1 << 28: 0} {
		var book logBook
		c, err := Start(t.Context(), Config{Memory: memory, Threads: 1, Device: DeviceCPU, Bandwidth: 1e9, NoCalibration: true, Logger: slog.New(slog.NewTextHandler(&book, nil))})
		if err != nil {
			t.Fatal(err)
		}
		if n := book.count("more memory than is free"); n != want {
			t.Errorf("%d bytes: %d warnings, want %d", memory, n, want)
		}
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	}
}
