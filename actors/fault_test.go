package actors

import (
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/orrery-ai/orrery/engine"
	"github.com/orrery-ai/orrery/placement"
	"github.com/orrery-ai/orrery/transport"
	"github.com/orrery-ai/orrery/transport/fault"
)

func TestADecodeOverADamagedConnectionGivesTheRightTokensOrSaysWhatHappened(t *testing.T) {
	const tokens = 12
	want := alone(t, prompt(20), tokens)
	for _, c := range []struct {
		script string
		mode   placement.Mode
		harm   bool // the generation cannot go on
	}{
		// In ring node 1 answers every query of node 0, and in pipeline hands every token to node 2.
		{"after 4 frames of partial: delay 2ms", placement.Ring, false},
		{"after 4 frames of partial: stall 50ms", placement.Ring, false},
		{"after 1 frame back on small: stall 50ms", placement.Ring, false},
		{"after 2 frames of partial: reorder 2", placement.Ring, false},
		{"after 4 frames of partial: truncate", placement.Ring, true},
		{"after 4 frames of partial: flip bit", placement.Ring, true},
		{"after 4 frames of partial: cut", placement.Ring, true},
		{"after 4 frames of partial: half-open", placement.Ring, true},
		{"after 2 frames of kv-ring: stall 50ms", placement.Ring, false},
		{"after 2 frames of kv-ring: flip bit", placement.Ring, true},
		{"after 2 frames of hidden: flip 3 bits", placement.Pipeline, true},
		{"after 2 frames of hidden: cut", placement.Pipeline, true},
		{"after 2 frames of hidden: stall 1h", placement.Pipeline, true},
	} {
		t.Run(c.script, func(t *testing.T) {
			t.Parallel()
			script, err := fault.Parse(c.script)
			if err != nil {
				t.Fatal(err)
			}
			var log logBook
			in := fault.New(script, slog.New(slog.NewTextHandler(&log, nil)))
			t.Cleanup(in.Close)
			ends := patience
			if c.harm {
				ends = 4 * time.Second // what the fault leaves without an answer; nothing before it must need as long
			}
			r := newRigWith(t, 3, func(node int, tc *transport.Config) {
				tc.Checksums, tc.DialTimeout = transport.ChecksumsOn, ends
				if node == 1 {
					tc.Dial, tc.Share = in.Dial, in.Share
				}
			})
			spec := r.spec(c.mode)
			if c.harm {
				spec.StepTimeout = ends
			}
			model, err := Load(r.context(), r.systems[0], r.endpoints[0], spec)
			if err != nil {
				t.Fatal(err)
			}
			got, _, err := r.drain(r.start(model, r.sequence(model, c.mode), Job{IDs: prompt(20), MaxTokens: tokens}))
			model.Close()
			if !strings.Contains(log.String(), "fault injected") {
				t.Error("the fault was not injected")
			}
			switch {
			case err == nil && !c.harm:
				same(t, c.script, got, want)
			case err == nil:
				t.Errorf("tokens %v came of it", got)
			case !c.harm:
				t.Errorf("it failed: %v", err)
			case !slices.ContainsFunc(r.names, func(node string) bool { return strings.Contains(err.Error(), "node "+node) }):
				t.Errorf("the error does not name a node: %v", err)
			case !slices.Equal(got, want[:len(got)]):
				t.Errorf("before the error came tokens %v, not %v", got, want[:len(got)])
			}
			again := r.load(r.spec(c.mode))
			same(t, "the next request", r.generate(again, r.sequence(again, c.mode), Job{IDs: prompt(20), MaxTokens: tokens}), want)
		})
	}
}

// stalled is a rig of two nodes where no result but the first comes back.
func stalled(t *testing.T) *rig {
	t.Helper()
	script, err := fault.Parse("after 1 frame of result: stall 1h")
	if err != nil {
		t.Fatal(err)
	}
	in := fault.New(script, slog.New(slog.DiscardHandler))
	t.Cleanup(in.Close)
	return newRigWith(t, 2, func(node int, tc *transport.Config) {
		tc.DialTimeout = time.Second
		if node == 1 {
			tc.Dial, tc.Share = in.Dial, in.Share
		}
	})
}

// A step that gives no token, or one that the model does not have, ends its sequence: nothing else would.
func TestAStepWithoutItsTokenEndsTheSequence(t *testing.T) {
	for name, token := range map[string]int32{"none": -1, "of another vocabulary": 256} {
		t.Run(name, func(t *testing.T) {
			r := stalled(t)
			c := r.load(r.spec(placement.Pipeline))
			run := r.start(c, r.sequence(c, placement.Pipeline), Job{IDs: prompt(1), MaxTokens: 9})
			for r.next(run).Kind != Generated {
			}
			r.systems[0].Root.Send(c.pid, &engine.Result{Node: 1, Step: 2, Token: token})
			if tokens, _, err := r.drain(run); err == nil || len(tokens) > 0 || !strings.Contains(err.Error(), "node n1: token") {
				t.Errorf("tokens %v, %v", tokens, err)
			}
		})
	}
}
