//go:build !race

package engine

import (
	"testing"

	"github.com/orrery-ai/orrery/attention"
	"github.com/orrery-ai/orrery/device"
	"github.com/orrery-ai/orrery/metalkern"
	"github.com/orrery-ai/orrery/metalkern/gpu"
	"github.com/orrery-ai/orrery/metalkern/gpu/gputest"
)

// TestStepsThatFollowEachOtherAllocateNothing is about one token, on a CPU and on a GPU, of which only what records is there.
func TestStepsThatFollowEachOtherAllocateNothing(t *testing.T) {
	for name, s := range map[string]setup{
		"on the CPU": {nodes: 1, block: 1 << 10},
		"on a GPU": {nodes: 1, block: 1 << 10, kv: attention.F16, device: func() device.Device {
			d, err := metalkern.NewDevice(&gputest.Host{Device: gpu.Info{Kind: "cuda", Units: 132, Pool: 227 << 10}})
			if err != nil {
				t.Fatal(err)
			}
			return d
		}},
	} {
		t.Run(name, func(t *testing.T) { followersAllocateNothing(t, s) })
	}
}

func followersAllocateNothing(t *testing.T, s setup) {
	b := newBench(t, s)
	b.open(piped(1, b.model.Config.Layers, 1))
	at, unknown := 0, []int32{-1}
	chunk := func(ids []int32, w Want) {
		b.steps++
		w.Token, w.Followed = true, true
		if err := b.driver.Chunk(0, seqID, b.steps, 1, at, ids, w); err != nil {
			t.Fatal(err)
		}
		at += len(ids)
	}
	next := func() {
		chunk(unknown, Want{Follows: true})
		if r := <-b.results; r.Err != nil {
			t.Fatal(r.Err)
		}
	}
	chunk(b.ids(3), Want{})
	for range 50 {
		next()
	}
	if n := testing.AllocsPerRun(600, next); n > 0 {
		t.Errorf("%v allocations a token", n)
	}
}
