package actors

import (
	"errors"
	"slices"
	"testing"

	"github.com/orrery-ai/orrery/attention"
	"github.com/orrery-ai/orrery/device"
	"github.com/orrery-ai/orrery/metalkern/emulator/emulatortest"
	"github.com/orrery-ai/orrery/model/modeltest"
	"github.com/orrery-ai/orrery/placement"
	"github.com/orrery-ai/orrery/sampling"
	"github.com/orrery-ai/orrery/transport"
)

// emulators is a rig of nodes with emulated GPUs, or the test is skipped.
func emulators(t *testing.T, nodes int) *rig {
	t.Helper()
	open := func() device.Device { return emulatortest.Device(t) }
	return newRigOf(t, nodes, computers{open, modeltest.Options{Format: device.F16}, attention.F16}, func(_ int, c *transport.Config) { c.Synch = transport.Safe })
}

// relays is how many tokens have come to node 0's device from the device of the node with the last layers.
func (r *rig) relays() uint64 {
	return r.endpoints[0].Counters()[transport.HiddenAhead].MessagesIn
}

// Whatever becomes of a step that was recorded ahead, tokens are those of one node.
func TestStepsAheadOnSeveralGPUsGiveTheTokensOfOne(t *testing.T) {
	ids, drawn := prompt(20), sampling.Params{Temperature: 1, Seed: 5}
	const n = 8
	one := emulators(t, 1)
	c := one.load(one.spec(placement.Pipeline))
	want := one.generate(c, one.sequence(c, placement.Pipeline), Job{IDs: ids, MaxTokens: n, Sampling: drawn})

	r := emulators(t, 2)
	c = r.load(r.spec(placement.Ring))
	seq := r.sequence(c, placement.Pipeline)
	at := slices.Index(want, want[4]) // its first occurrence
	same(t, "up to a stop token", r.generate(c, seq, Job{IDs: ids, MaxTokens: n, Stop: []int32{want[at]}, Sampling: drawn}), want[:at+1])
	same(t, "after it", r.generate(c, seq, Job{MaxTokens: n - 1 - at, Sampling: drawn}), want[at+1:])
	c.CloseSequence(seq)
	if r.relays() == 0 {
		t.Error("no token has come from device to device")
	}
	a, b := r.sequence(c, placement.Pipeline), r.sequence(c, placement.Pipeline)
	switches := []SwitchAt{{2, placement.Ring}, {4, placement.Pooled}, {5, placement.Pipeline}}
	first, second := r.start(c, a, Job{IDs: ids, MaxTokens: n, Sampling: drawn, SwitchAt: switches}), r.start(c, b, Job{IDs: ids, MaxTokens: 4, Sampling: drawn})
	for what, run := range map[string]*Running{"with switches": first, "beside another sequence": second} {
		got, _, err := r.drain(run)
		if err != nil {
			t.Fatal(err)
		}
		same(t, what, got, want[:len(got)])
	}
}

func TestACancelledSequenceGoesOnBehindTheStepsThatWereAhead(t *testing.T) {
	ids := prompt(20)
	const n = 8
	one := emulators(t, 1)
	c := one.load(one.spec(placement.Pipeline))
	want := one.generate(c, one.sequence(c, placement.Pipeline), Job{IDs: ids, MaxTokens: n})
	r := emulators(t, 2)
	c = r.load(r.spec(placement.Pipeline))
	seq := r.sequence(c, placement.Pipeline)
	run := r.start(c, seq, Job{IDs: ids, MaxTokens: n})
	var got []int32
	for len(got) < 4 {
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
