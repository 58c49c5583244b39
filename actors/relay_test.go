package actors

import (
	"errors"
	"log/slog"
	"slices"
	"testing"
	"time"

	"github.com/orrery-ai/orrery/attention"
	"github.com/orrery-ai/orrery/device"
	"github.com/orrery-ai/orrery/metalkern/emulator/emulatortest"
	"github.com/orrery-ai/orrery/model/modeltest"
	"github.com/orrery-ai/orrery/placement"
	"github.com/orrery-ai/orrery/sampling"
	"github.com/orrery-ai/orrery/transport"
	"github.com/orrery-ai/orrery/transport/fault"
)

// emulators is a rig of nodes with emulated GPUs, or the test is skipped.
func emulators(t *testing.T, nodes int) *rig {
	t.Helper()
	return emulatorsWith(t, nodes, func(int, *transport.Config) {})
}

// emulatorsWith is emulators with what change makes of the configuration of each node's endpoint.
func emulatorsWith(t *testing.T, nodes int, change func(node int, c *transport.Config)) *rig {
	t.Helper()
	open := func() device.Device { return emulatortest.Device(t) }
	return newRigOf(t, nodes, computers{open, modeltest.Options{Format: device.F16}, attention.F16}, func(node int, c *transport.Config) {
		c.Synch = transport.Safe
		change(node, c)
	})
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

// What a step is announced by is late, so that the sequence is closed before the next owner hears of the step. A node
// that knew the sequence no more would refuse the step, and end what the devices exchange, for all sequences to come.
func TestClosingASequenceInTheMiddleOfItsStepsLeavesTheWaysBetweenDevices(t *testing.T) {
	ids := prompt(20)
	const n = 4
	one := emulators(t, 1)
	c := one.load(one.spec(placement.Pipeline))
	want := one.generate(c, one.sequence(c, placement.Pipeline), Job{IDs: ids, MaxTokens: n})
	for _, c := range []struct {
		mode      placement.Mode
		script    string
		announced transport.Purpose // where steps are
		closes    uint64            // when so many messages have gone out there
		used      transport.Purpose // what comes to node 0 from the other's device
	}{
		{placement.Pipeline, "after 3 frames of hidden: stall 300ms", transport.Hidden, 4, transport.HiddenAhead},
		{placement.Pooled, "after 2 frames of query: delay 30ms", transport.Query, 3, transport.PartialAhead},
	} {
		t.Run(c.mode.String(), func(t *testing.T) {
			script, err := fault.Parse(c.script)
			if err != nil {
				t.Fatal(err)
			}
			in := fault.New(script, slog.New(slog.DiscardHandler))
			t.Cleanup(in.Close)
			r := emulatorsWith(t, 2, func(node int, tc *transport.Config) {
				if node == 0 {
					tc.Dial, tc.Share = in.Dial, in.Share
				}
			})
			loaded := r.load(r.spec(c.mode))
			seq := r.sequence(loaded, c.mode)
			run := r.start(loaded, seq, Job{IDs: ids, MaxTokens: n})
			for by := time.Now().Add(patience); r.endpoints[0].Counters()[c.announced].MessagesOut < c.closes; time.Sleep(time.Millisecond) {
				if time.Now().After(by) {
					t.Fatalf("%+v have gone out", r.endpoints[0].Counters()[c.announced])
				}
			}
			loaded.CloseSequence(seq)
			if _, _, err := r.drain(run); !errors.Is(err, ErrClosed) {
				t.Fatalf("the job ended with %v", err)
			}
			came := func() uint64 { return r.endpoints[0].Counters()[c.used].MessagesIn }
			for range 2 { // while the first is on its way messages of the one that was closed may still come
				before := came()
				seq = r.sequence(loaded, c.mode)
				same(t, "after another one was closed", r.generate(loaded, seq, Job{IDs: ids, MaxTokens: n}), want)
				loaded.CloseSequence(seq)
				if came() == before {
					t.Error("nothing goes from device to device any more")
				}
			}
		})
	}
}
