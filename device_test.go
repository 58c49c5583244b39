package orrery_test

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/orrery-ai/orrery"
	"github.com/orrery-ai/orrery/cluster"
	"github.com/orrery-ai/orrery/metalkern/emulator/emulatortest"
	"github.com/orrery-ai/orrery/placement"
)

// mixed is a cluster of a node that computes on the CPU and one that does on an emulated GPU, the faster of them last.
func mixed(t *testing.T, ctx context.Context, devices ...string) *orrery.Cluster {
	t.Helper()
	emulatortest.Device(t).Close() // or the test is skipped
	var nodes []*orrery.Cluster
	for i, device := range devices {
		nodes = append(nodes, startNode(t, ctx, nodes, orrery.Config{Name: device, Device: device, Bandwidth: 1e9 + float64(i), Memory: 2 << 30}))
	}
	if err := nodes[0].WaitNodes(ctx, len(nodes)); err != nil {
		t.Fatal(err)
	}
	return nodes[0]
}

func TestExchangesAreMeasuredOfDevicesThatMakeThem(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
	defer cancel()
	c := mixed(t, ctx, "cpu", "emulator")
	links, err := c.MeasureLinks(ctx)
	if err != nil || len(links) != 1 || links[0].Ahead != 0 || links[0].Paused <= 0 {
		t.Errorf("a processor exchanges by itself: %+v, %v", links, err)
	}
}

// say generates 12 tokens after a question about a code, the last that the context has room for.
func say(t *testing.T, ctx context.Context, c *orrery.Cluster, mode orrery.Mode, kv orrery.KVFormat, switches []orrery.SwitchAt) []int32 {
	t.Helper()
	const prompt = "The secret code of the amber falcon is 48213.\n<|im_start|>user\nWhat is the secret code of the amber falcon?<|im_end|>\n<|im_start|>assistant\n"
	const context = 64
	m, err := c.Load(ctx, "recall", orrery.LoadOptions{Mode: mode, Chunk: 32, BlockTokens: 16, Context: context, KV: kv})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	const tokens = 12
	s, err := m.NewSession(ctx, orrery.SessionOptions{Mode: mode})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	read, err := m.Tokenizer().Encode(prompt, false)
	if err != nil {
		t.Fatal(err)
	}
	g, err := s.GenerateIDs(ctx, read[:context-tokens], orrery.GenerateOptions{MaxTokens: tokens, IgnoreEOS: true, SwitchAt: switches})
	if err != nil {
		t.Fatal(err)
	}
	var ids []int32
	for token, err := range g.Tokens() {
		if err != nil {
			t.Fatal(err)
		}
		if token.ID >= 0 {
			ids = append(ids, token.ID)
		}
	}
	if got := len(g.Stats().Switches); got != len(switches) {
		t.Errorf("%v: %d switches of %d were made", mode, got, len(switches))
	}
	return ids
}

func TestACPUAndAnEmulatedGPUSayTheSameInEveryModeAndAcrossSwitches(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
	defer cancel()
	alone, c := mixed(t, ctx, "cpu"), mixed(t, ctx, "cpu", "emulator")
	switches := []orrery.SwitchAt{{Token: 2, Mode: orrery.Pooled}, {Token: 4, Mode: orrery.Ring}, {Token: 6, Mode: orrery.Pipeline}}
	want := say(t, ctx, alone, orrery.Pipeline, orrery.KVF16, nil)
	for _, mode := range []orrery.Mode{orrery.Pipeline, orrery.Pooled, orrery.Ring} {
		if got := say(t, ctx, c, mode, orrery.KVF16, nil); !slices.Equal(got, want) {
			t.Errorf("%v: %v, not %v", mode, got, want)
		}
	}
	if got := say(t, ctx, c, orrery.Pipeline, orrery.KVF16, switches); !slices.Equal(got, want) {
		t.Errorf("switching: %v, not %v", got, want)
	}
	if got := say(t, ctx, mixed(t, ctx, "emulator"), orrery.Pipeline, orrery.KVF16, switches); !slices.Equal(got, want) {
		t.Errorf("switching on one node: %v, not %v", got, want)
	}
	for _, kv := range []orrery.KVFormat{orrery.KVQ8, orrery.KVQ4} {
		want := say(t, ctx, alone, orrery.Pipeline, kv, nil)
		if got := say(t, ctx, c, orrery.Pipeline, kv, switches); !slices.Equal(got, want) {
			t.Errorf("switching in %v: %v, not %v", kv, got, want)
		}
	}
}

func TestAGPUThatCannotAttendOverAFormatSaysSoWhenAModelIsLoaded(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
	defer cancel()
	_, err := mixed(t, ctx, "emulator").Load(ctx, "recall", orrery.LoadOptions{Context: 128, KV: orrery.KVF32})
	if err == nil || !strings.Contains(err.Error(), "--kv f16") {
		t.Errorf("keys and values in f32 on a GPU: %v", err)
	}
}

func TestDevicesThatThereAreNotAreRefused(t *testing.T) {
	for _, device := range []string{"abacus", "cuda:99", "cuda:x", "emulator:1"} {
		if c, err := orrery.Start(t.Context(), orrery.Config{Device: device, NoCalibration: true, Logger: quiet()}); err == nil {
			c.Close()
			t.Errorf("device %q was accepted", device)
		} else if !strings.Contains(err.Error(), strings.Split(device, ":")[0]) {
			t.Errorf("device %q: the error does not name it: %v", device, err)
		}
	}
}

func TestANodeOnAGPUIsMeasuredAndItsStepsArePredicted(t *testing.T) {
	if testing.Short() {
		t.Skip("the emulator is slow")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
	defer cancel()
	emulatortest.Device(t).Close() // or the test is skipped
	dir := t.TempDir()
	var rates placement.Rates
	for range 2 { // the second finds what the first has kept
		n, err := orrery.Start(ctx, orrery.Config{Device: "emulator", Memory: 1 << 30, CalibrationDir: dir, Logger: quiet()})
		if err != nil {
			t.Fatal(err)
		}
		defer n.Close()
		self := n.Nodes()[0]
		if r := self.Rates; !r.Known() || !(r.Gate > 0) || !(r.Record > 0) || r.Crowd != [3]float64{2, 3, 4} || self.OnGPU() {
			t.Errorf("it measured %+v", self)
		}
		if rates.Known() && rates != self.Rates {
			t.Errorf("then %+v, not %+v", self.Rates, rates)
		}
		rates = self.Rates
	}
	n, err := orrery.Start(ctx, orrery.Config{Device: "emulator", Memory: 1 << 30, Bandwidth: 1e9, Rates: rates, Logger: quiet()})
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	m, err := n.Load(ctx, "recall", orrery.LoadOptions{Mode: orrery.Auto, Chunk: 32, BlockTokens: 16, Context: 64})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	costs, err := m.Costs(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for _, mode := range []orrery.Mode{orrery.Pipeline, orrery.Pooled, orrery.Ring} {
		s := costs[mode].Step(32)
		if !(s.Weights > 0 && s.KV > 0 && s.HandOver >= 0) {
			t.Errorf("%v: a step is predicted to take %+v", mode, s)
		}
	}
}

func TestGPUsOfOneMachineShareNothing(t *testing.T) {
	one := cluster.Node{Machine: "m", CPUs: cluster.GPU + "0000:01:00"}
	other := cluster.Node{Machine: "m", CPUs: cluster.GPU + "0000:02:00"}
	if a, b := one.Placement(), other.Placement(); a.Machine == b.Machine || a.Machine == "m" {
		t.Errorf("two GPUs are on machines %q and %q", a.Machine, b.Machine)
	}
	unknown := cluster.Node{CPUs: cluster.GPU + "0000:01:00"}
	if p := unknown.Placement(); p.Machine != "" {
		t.Errorf("a GPU of an unknown machine is on %q", p.Machine)
	}
}
