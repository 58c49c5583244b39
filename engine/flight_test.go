package engine

import (
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/orrery-ai/orrery/attention"
	"github.com/orrery-ai/orrery/device"
	"github.com/orrery-ai/orrery/device/cpu"
	"github.com/orrery-ai/orrery/sampling"
)

// watched is a device whose streams count the steps that begin before the token of the one before is known.
type watched struct {
	device.Device
	ahead *atomic.Int64
}

type watchedStream struct {
	device.Pacer
	ahead *atomic.Int64
}

func (w watched) NewStream() device.Stream {
	s := w.Device.NewStream()
	if p, ok := s.(device.Pacer); ok {
		return watchedStream{p, w.ahead}
	}
	return s
}

func (w watchedStream) EmbedChosen(dst device.Tensor, table device.Matrix, ids []int32) {
	w.ahead.Add(1)
	w.Pacer.EmbedChosen(dst, table, ids)
}

// processors is a node with a CPU.
func processors() setup {
	return setup{nodes: 1, block: 3, device: func() device.Device { return cpu.New(1) }, kv: attention.F32}
}

// generated reads 5 tokens and chooses some more, in steps of one that are handed out one after the other, or together.
func generated(t *testing.T, s setup, together bool, p sampling.Params) (tokens []int32, ahead int64) {
	t.Helper()
	var count atomic.Int64
	inner := s.device
	s.nodes, s.device = 1, func() device.Device { return watched{inner(), &count} }
	b := newBench(t, s)
	b.open(piped(1, b.model.Config.Layers, 1))
	const prompt, wanted = 5, 9
	chunk := func(first int, ids []int32, w Want) {
		w.Token, w.Sampling = true, p
		b.steps++
		if err := b.driver.Chunk(0, seqID, b.steps, 1, first, ids, w); err != nil {
			t.Fatal(err)
		}
	}
	take := func() {
		r := b.result()
		if r.Err != nil || r.Step != uint64(len(tokens)+1) {
			t.Fatalf("step %d of %d: %v", r.Step, len(tokens)+1, r.Err)
		}
		tokens = append(tokens, r.Token)
	}
	ids := b.ids(prompt)
	if !together {
		chunk(0, ids, Want{})
		for take(); len(tokens) < wanted; take() {
			chunk(prompt+len(tokens)-1, tokens[len(tokens)-1:], Want{})
		}
		return tokens, count.Load()
	}
	b.engines[0].busy.Lock() // so that the second is there when the first has been recorded
	chunk(0, ids, Want{Followed: true})
	for i := 1; i < wanted; i++ {
		chunk(prompt+i-1, []int32{-1}, Want{Follows: true, Followed: i < wanted-1})
		if i == 1 {
			b.engines[0].busy.Unlock()
		}
	}
	for len(tokens) < wanted {
		take()
	}
	return tokens, count.Load()
}

func TestStepsThatFollowEachOtherChooseTheSameTokens(t *testing.T) {
	drawn := sampling.Params{Temperature: 1, Seed: 3}
	for name, c := range map[string]struct {
		setup func() setup
		p     sampling.Params
		ahead bool // steps begin before the one before has ended
	}{
		"on the CPU":         {setup: processors},
		"on the CPU, drawn":  {setup: processors, p: drawn},
		"on a device":        {setup: func() setup { return emulated(t, setup{nodes: 1, block: 3}) }, ahead: true},
		"on a device, drawn": {setup: func() setup { return emulated(t, setup{nodes: 1, block: 3}) }, p: drawn},
	} {
		t.Run(name, func(t *testing.T) {
			want, _ := generated(t, c.setup(), false, c.p)
			got, ahead := generated(t, c.setup(), true, c.p)
			if !slices.Equal(got, want) {
				t.Errorf("together %v, one after the other %v", got, want)
			}
			if (ahead > 0) != c.ahead {
				t.Errorf("%d steps began before the token of the one before was known", ahead)
			}
		})
	}
}

func TestAStepThatFollowsNothingIsRefused(t *testing.T) {
	b := newBench(t, processors())
	b.open(piped(1, b.model.Config.Layers, 1))
	for _, first := range []int{0, 1} {
		b.steps++
		if err := b.driver.Chunk(0, seqID, b.steps, 1, first, []int32{-1}, Want{Token: true, Follows: true}); err != nil {
			t.Fatal(err)
		}
		if r := b.result(); r.Err == nil || !strings.Contains(r.Err.Error(), "none was chosen") {
			t.Errorf("the step at %d: %+v", first, r)
		}
	}
}

func TestAStepThatNoneFollowsAfterAllEnds(t *testing.T) {
	b := newBench(t, emulated(t, setup{nodes: 1}))
	b.open(piped(1, b.model.Config.Layers, 1))
	ids := b.ids(6)
	for first, end := 0, 5; end <= 6; first, end = end, end+1 { // whoever drives has changed his mind, and says himself what comes
		b.steps++
		if err := b.driver.Chunk(0, seqID, b.steps, 1, first, ids[first:end], Want{Token: true, Followed: true}); err != nil {
			t.Fatal(err)
		}
		if r := b.result(); r.Err != nil || r.Step != b.steps || r.Token < 0 {
			t.Fatalf("%+v", r)
		}
	}
}
