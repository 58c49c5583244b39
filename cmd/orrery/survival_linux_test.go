package main

import (
	"context"
	"fmt"
	"path/filepath"
	"testing"

	"github.com/orrery-ai/orrery"
	"github.com/orrery-ai/orrery/bench"
	"github.com/orrery-ai/orrery/recall"
)

// slack is what a process may take more than another of the same program, in bytes: what placement counts for the
// process itself is measured in each.
const slack = 1 << 20

// TestAPromiseIsEnough finds out what nodes promise for a model at its full context, and has others generate up to
// the last token of it that cannot have a byte more than that, and offer no more.
func TestAPromiseIsEnough(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes ten seconds")
	}
	newMemoryGroup(t, 1<<30) // skips at once where there is no limiting
	for _, c := range []struct {
		nodes, context int
		mode           orrery.Mode
	}{
		{1, 65536, orrery.Pipeline},
		{3, 32768, orrery.Pooled},
	} {
		t.Run(fmt.Sprintf("%d nodes, %v, %d tokens", c.nodes, c.mode, c.context), func(t *testing.T) {
			o := orrery.LoadOptions{Mode: c.mode, Context: c.context, Chunk: 256}
			limits := promised(t, c.nodes, o)
			var groups []*memoryGroup
			var nodes []*testNode
			for i, limit := range limits {
				g := newMemoryGroup(t, limit)
				args := nodeArgs(nodes, limit)
				groups, nodes = append(groups, g), append(nodes, awaitNode(t, nodeNames[i:i+1], startCommand(t, nil, g.command(program, filepath.Join(t.TempDir(), "orrery"), args...))))
			}
			ctx := within(t, 2*longWithin)
			m, err := join(t, ctx, nodes).Load(ctx, recall.Name, o)
			if err != nil {
				t.Fatal(err)
			}
			e := bench.Exercise{Mode: c.mode, Compute: 3 * 512, Last: 256, Decode: 32}
			if c.mode == orrery.Pooled {
				e.Spread, e.Asking = c.nodes*256, o.Chunk
			}
			if err := e.Run(ctx, m); err != nil {
				t.Errorf("with what was promised: %v", err)
			}
			for i, g := range groups {
				t.Logf("node %s: %.1f MiB were promised; the group took %.1f MiB at the most", nodes[i].name, float64(g.limit)/(1<<20), float64(g.most())/(1<<20))
				if n := g.killed(t); n > 0 {
					t.Errorf("node %s was killed for want of memory", nodes[i].name)
				}
			}
		})
	}
}

// nodeArgs are those of the next node beside others, which offers so much memory.
func nodeArgs(others []*testNode, memory int64) []string {
	args := []string{"node", "--name", nodeNames[len(others) : len(others)+1], "--bind", "127.0.0.1:0", "--threads", "1", "--memory", fmt.Sprint(memory),
		"--bandwidth", "10GB", "--calibrate", "off"}
	if len(others) > 0 {
		args = append(args, "--join", others[0].addr)
	}
	return args
}

// promised is what each of some nodes keeps for a model, when they have more than enough.
func promised(t *testing.T, n int, o orrery.LoadOptions) (limits []int64) {
	t.Helper()
	var nodes []*testNode
	for i := range n {
		nodes = append(nodes, awaitNode(t, nodeNames[i:i+1], start(t, nodeArgs(nodes, 4<<30)...)))
	}
	ctx, cancel := context.WithTimeout(t.Context(), longWithin)
	defer cancel()
	c := join(t, ctx, nodes)
	if _, err := c.Load(ctx, recall.Name, o); err != nil {
		t.Fatal(err)
	}
	status, err := c.Status(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range status {
		if s.Promised < 1<<20 {
			t.Fatalf("node %s keeps %d bytes for a model", s.Name, s.Promised)
		}
		limits = append(limits, s.Promised+slack)
	}
	return limits
}
