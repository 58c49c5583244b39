package orrery_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/orrery-ai/orrery"
	"github.com/orrery-ai/orrery/model/modeltest"
)

// TestLogitsEqualTransformersOnAnyClusterInEveryMode holds the worst logit of each golden to 1e-3 of their
// spread, on one node and on three unlike ones, with some of the tokens decoded and switches on the way.
func TestLogitsEqualTransformersOnAnyClusterInEveryMode(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 4*time.Minute)
	defer cancel()
	one, three := startNodes(t, 1e10)[0], startNodes(t, 1e10, 2e10, 1.5e10)[0]
	for _, g := range modeltest.Goldens(t, "model/testdata/goldens") {
		dir, ids, want := g.Dir(t), g.IDs(t), g.Logits(t)
		for name, c := range map[string]*orrery.Cluster{"1 node": one, "3 nodes": three} {
			for _, mode := range []orrery.Mode{orrery.Pipeline, orrery.Pooled, orrery.Ring} {
				t.Run(fmt.Sprintf("%s/%s/%v", g.Name, name, mode), func(t *testing.T) {
					m, err := c.Load(ctx, dir, orrery.LoadOptions{Mode: mode, Context: len(ids), Chunk: 16, BlockTokens: 8, KV: orrery.KVF32})
					if err != nil {
						t.Fatal(err)
					}
					defer m.Close()
					back := []orrery.SwitchAt{{Token: 40, Mode: orrery.Pooled}, {Token: 60, Mode: orrery.Ring}, {Token: 80, Mode: orrery.Pipeline}}
					for _, o := range []orrery.LogitsOptions{{}, {Decode: 20}, {Decode: 60, SwitchAt: back}} {
						got, switches := logitsOf(t, ctx, m, ids, o)
						checkSwitches(t, o.SwitchAt, switches)
						if worst, _ := largestDifference(got, want.Data); !(worst <= 1e-3*spread(want.Data)) {
							t.Errorf("%+v: the worst logit is off by %.2g of the spread", o, worst/spread(want.Data))
						}
					}
				})
			}
		}
	}
}
