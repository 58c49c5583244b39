package actors

import (
	"errors"
	"slices"
	"testing"

	"github.com/orrery-ai/orrery/attention"
	"github.com/orrery-ai/orrery/device"
	"github.com/orrery-ai/orrery/metalkern"
	"github.com/orrery-ai/orrery/metalkern/gpu"
	"github.com/orrery-ai/orrery/model/modeltest"
	"github.com/orrery-ai/orrery/placement"
	"github.com/orrery-ai/orrery/sampling"
	"github.com/orrery-ai/orrery/transport"
)

// emulators is a rig of nodes with emulated GPUs, or the test is skipped.
func emulators(t *testing.T, nodes int) *rig {
	t.Helper()
	open := func() device.Device {
		h, err := metalkern.Open("emulator")
		if unavailable := new(gpu.UnavailableError); errors.As(err, &unavailable) {
			t.Skip(err)
		}
		if err != nil {
			t.Fatal(err)
		}
		d, err := metalkern.NewDevice(h)
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	return newRigOf(t, nodes, computers{open, modeltest.Options{Format: device.F16}, attention.F16}, func(_ int, c *transport.Config) { c.Synch = transport.Safe })
}

// relays is how many tokens have come to node 0's device from the device of the node with the last layers.
func (r *rig) relays() uint64 {
	return r.endpoints[0].Counters()[transport.HiddenAhead].MessagesIn
}

// Whoever owns the layers, and whatever becomes of a step that was recorded ahead, tokens are those of one node.
func TestStepsAheadOnSeveralGPUsGiveTheTokensOfOne(t *testing.T) {
	ids, drawn := prompt(20), sampling.Params{Temperature: 1, Seed: 5}
	const n = 12
	one := emulators(t, 1)
	c := one.load(one.spec(placement.Pipeline))
	want := one.generate(c, one.sequence(c, placement.Pipeline), Job{IDs: ids, MaxTokens: n})
	wantDrawn := one.generate(c, one.sequence(c, placement.Pipeline), Job{IDs: ids, MaxTokens: n, Sampling: drawn})

	r := emulators(t, 2)
	c = r.load(r.spec(placement.Ring))
	for _, mode := range modes {
		before := r.relays()
		seq := r.sequence(c, mode)
		at := slices.Index(want, want[5]) // its first occurrence
		same(t, mode.String()+", up to a stop token", r.generate(c, seq, Job{IDs: ids, MaxTokens: n, Stop: []int32{want[at]}}), want[:at+1])
		same(t, mode.String()+", after it", r.generate(c, seq, Job{MaxTokens: n - 1 - at}), want[at+1:])
		c.CloseSequence(seq)
		seq = r.sequence(c, mode)
		same(t, mode.String()+", drawn", r.generate(c, seq, Job{IDs: ids, MaxTokens: n, Sampling: drawn}), wantDrawn)
		c.CloseSequence(seq)
		if came := r.relays() - before; (came > n) != (mode == placement.Pipeline) {
			t.Errorf("%v: %d tokens have come from device to device", mode, came)
		}
	}
	seq := r.sequence(c, placement.Pipeline)
	same(t, "with switches", r.generate(c, seq, Job{IDs: ids, MaxTokens: n, SwitchAt: []SwitchAt{{3, placement.Pooled}, {6, placement.Ring}, {9, placement.Pipeline}}}), want)
	c.CloseSequence(seq)

	a, b := r.sequence(c, placement.Pipeline), r.sequence(c, placement.Pooled)
	first, second := r.start(c, a, Job{IDs: ids, MaxTokens: n}), r.start(c, b, Job{IDs: ids, MaxTokens: n, Sampling: drawn})
	for run, want := range map[*Running][]int32{first: want, second: wantDrawn} {
		got, _, err := r.drain(run)
		if err != nil {
			t.Fatal(err)
		}
		same(t, "beside another sequence", got, want)
	}
}

func TestACancelledSequenceGoesOnBehindTheStepsThatWereAhead(t *testing.T) {
	ids := prompt(20)
	const n = 12
	one := emulators(t, 1)
	c := one.load(one.spec(placement.Pipeline))
	want := one.generate(c, one.sequence(c, placement.Pipeline), Job{IDs: ids, MaxTokens: n})
	r := emulators(t, 2)
	c = r.load(r.spec(placement.Pipeline))
	seq := r.sequence(c, placement.Pipeline)
	run := r.start(c, seq, Job{IDs: ids, MaxTokens: n})
	var got []int32
	for len(got) < 5 {
		if e := r.next(run); e.Kind == Generated {
			got = append(got, e.Token)
		}
	}
	cause := errors.New("nobody listens any more")
	c.Cancel(seq, run, cause)
	rest, _, err := r.drain(run)
	if err != cause {
		t.Fatal(err)
	}
	got = append(got, rest...)
	got = append(got, r.generate(c, seq, Job{MaxTokens: n - len(got)})...)
	same(t, "cancelled, and gone on", got, want)
}
