package orrery

import (
	"testing"

	"github.com/orrery-ai/orrery/cluster"
	"github.com/orrery-ai/orrery/engine"
)

func TestSlotsAreForTheGPUsThatThereAre(t *testing.T) {
	cpu := cluster.Node{Machine: "m", CPUs: "0-3"}
	gpu := func(machine string) cluster.Node {
		return cluster.Node{Machine: machine, CPUs: cluster.GPU + "0"}
	}
	for name, c := range map[string]struct {
		nodes []cluster.Node
		want  int
	}{
		"none":             {[]cluster.Node{cpu, cpu}, 0},
		"one":              {[]cluster.Node{cpu, gpu("m")}, 0},
		"of two machines":  {[]cluster.Node{gpu("m"), gpu("n")}, engine.SlotTokens(false)},
		"of nobody knows":  {[]cluster.Node{gpu(""), gpu("")}, engine.SlotTokens(false)},
		"of one machine":   {[]cluster.Node{gpu("m"), gpu("m")}, engine.SlotTokens(true)},
		"with one of it":   {[]cluster.Node{gpu("m"), gpu("n"), gpu("m")}, engine.SlotTokens(true)},
		"beside a CPU's":   {[]cluster.Node{gpu("m"), cpu, gpu("n")}, engine.SlotTokens(false)},
		"alone on its own": {[]cluster.Node{gpu("m")}, 0},
	} {
		if got := slotTokens(c.nodes); got != c.want {
			t.Errorf("GPUs %s: slots of %d tokens, want %d", name, got, c.want)
		}
	}
}
