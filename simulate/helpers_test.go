package simulate

import (
	"context"
	"fmt"
	"math"
	"slices"

	"github.com/orrery-ai/orrery/placement"
)

const gib = 1 << 30

// model is one of 32 equal layers: grouped attention of 32 heads over 8 keys and values of 128.
func model() (placement.Model, placement.Work) {
	const layers, layer, kv = 32, 200 << 20, 4096
	m := placement.Model{Name: "m", EmbedBytes: 500 << 20, HeadBytes: 500 << 20}
	w := placement.Work{HeadRead: 500 << 20, HeadFLOPs: 1 << 30, HiddenBytes: 1 << 14, QueryBytes: 4 * 32 * 128, PartialBytes: 4 * 32 * 130}
	for range layers {
		m.LayerBytes = append(m.LayerBytes, layer)
		m.KVBytesPerToken = append(m.KVBytesPerToken, kv)
		w.ReadBytes = append(w.ReadBytes, layer)
		w.TokenFLOPs = append(w.TokenFLOPs, 2*layer)
		w.PairFLOPs = append(w.PairFLOPs, 4*32*128)
	}
	return m, w
}

// cluster is what a test simulates. Its zero fields are filled in by config.
type cluster struct {
	nodes    int
	speeds   []float64 // bandwidth of each; nil is 400 GB/s
	mode     placement.Mode
	context  int // default 64K
	link     Link
	arity    int
	noise    Noise
	seed     uint64
	windows  []int
	bytesFor float64 // operations a byte that nodes do; default 100
}

var fast = Link{Link: placement.Link{Latency: 30e-6, Bandwidth: 5e9}}

func (s *Simulation) decode(t fatal, tokens, steps int) Steps {
	t.Helper()
	r, err := s.Decode(context.Background(), tokens, steps)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func (s *Simulation) read(t fatal, tokens int) Prefill {
	t.Helper()
	r, err := s.Prefill(context.Background(), tokens)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// fatal is what tests and rapid's have in common.
type fatal interface {
	Helper()
	Fatal(...any)
}

func (c cluster) config(t fatal) Config {
	t.Helper()
	m, w := model()
	m.Windows = c.windows
	r := placement.Request{Model: m, Mode: c.mode, Context: c.context, Sequences: 1, Chunk: 1024, BlockTokens: 256}
	if r.Context == 0 {
		r.Context = 1 << 16
	}
	if c.bytesFor == 0 {
		c.bytesFor = 100
	}
	for i := range c.nodes {
		b := 400e9
		if c.speeds != nil {
			b = c.speeds[i]
		}
		r.Nodes = append(r.Nodes, placement.Node{Name: fmt.Sprint("n", i), Memory: 100 * gib, Bandwidth: b, FLOPS: c.bytesFor * b})
	}
	if c.link == (Link{}) {
		c.link = fast
	}
	p, err := placement.Place(r)
	if err != nil {
		t.Fatal(err)
	}
	links := make([][]placement.Link, c.nodes)
	for i := range links {
		links[i] = slices.Repeat([]placement.Link{c.link.Link}, c.nodes)
	}
	cost, err := placement.NewCost(r, p, w, links, 0.5)
	if err != nil {
		t.Fatal(err)
	}
	return Config{Cost: cost, Links: []Link{c.link}, Between: func(int, int) int { return 0 }, Arity: c.arity, Noise: c.noise, Seed: c.seed}
}

func (c cluster) simulation(t fatal) *Simulation {
	t.Helper()
	s, err := New(c.config(t))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func near(a, b float64) bool { return math.Abs(a-b) <= 1e-9*max(math.Abs(a), math.Abs(b)) }

// within reports whether a is b, but for a share of it.
func within(a, b, share float64) bool { return math.Abs(a-b) <= share*b }
