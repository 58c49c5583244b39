package engine

import (
	"testing"

	"pgregory.net/rapid"
)

// Whatever steps come in whatever order, both ends of a relay count the same messages, there is a slot for each, and nothing is computed from
// another step's token.
func TestASuccessionTakesEachTokenOfItsOwnStepAndLeavesRoomForTheNext(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const last = 1 // the node with the last layers
		var first, other succession
		var lane []place // tokens that were sent, and not taken
		at := map[uint64]int{}
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			seq := uint64(rapid.IntRange(1, 3).Draw(t, "sequence"))
			h := &header{Kind: kindChunk, Seq: seq, First: uint32(at[seq]), Count: uint32(rapid.SampledFrom([]int{1, 1, 1, 1, 4}).Draw(t, "tokens"))}
			if rapid.IntRange(0, 3).Draw(t, "lost") == 0 { // a step comes at another position
				h.First++
			}
			for _, flag := range []uint8{follows, followed} {
				if rapid.Bool().Draw(t, "flag") {
					h.Flags |= flag
				}
			}
			relayed := h.Count == 1 && rapid.IntRange(0, 4).Draw(t, "by hosts") > 0
			to := nobody
			if relayed {
				to = last
			}
			here := place{seq, int(h.First)}
			flew, flight := first.flies, first.last
			c, err := first.of(h, to)
			if err != nil {
				if h.Flags&follows == 0 || h.Count == 1 {
					t.Fatal(err)
				}
				continue
			}
			if c.behind && (!flew || flight != here || h.Flags&follows == 0) {
				t.Fatalf("%+v is recorded behind a step that chooses %+v", h, flight)
			}
			if !c.behind {
				first.landed()
			}
			if c.ids == fromNote {
				if relayed && len(lane) > 0 && lane[0] == here {
					t.Fatalf("the token of %+v is there, and not taken", h)
				}
				continue // nobody has noted it: the step is refused
			}
			if (c.ids == fromIDs) != (h.Flags&follows == 0) || c.ids == fromFlight && !c.behind || c.ids == fromLane && !c.takes {
				t.Fatalf("%+v takes the course %+v", h, c)
			}
			if c.takes {
				if len(lane) == 0 {
					t.Fatalf("%+v takes a token that was never sent", h)
				}
				if c.ids == fromLane && lane[0] != here {
					t.Fatalf("%+v is computed from the token for %+v", h, lane[0])
				}
				lane = lane[1:]
			}
			first.recorded(h, to, c)
			if relayed {
				ahead := *h
				ahead.Kind, ahead.Layer = kindAhead, 2
				d, err := other.of(&ahead, 0)
				if err != nil || d.ids != fromHidden || d.takes || d.tells != c.tells {
					t.Fatalf("the last owner takes the course %+v, the first %+v: %v", d, c, err)
				}
				other.recorded(&ahead, 0, d)
				if d.tells {
					if len(lane) > 0 {
						t.Fatalf("%d tokens have not been taken when that of %+v is sent", len(lane), h)
					}
					lane = append(lane, next(h))
				}
			}
			if h.Flags&followed != 0 && rapid.Bool().Draw(t, "left") {
				first.left(h)
			} else {
				first.landed()
			}
			at[seq] = int(h.First + h.Count)
			if len(lane) > 0 && rapid.IntRange(0, 20).Draw(t, "link lost") == 0 {
				first.lost(last)
				lane = nil
			}
		}
	})
}

func TestStepsOfSeveralTokensFollowNone(t *testing.T) {
	var r succession
	if _, err := r.of(&header{Kind: kindChunk, Flags: follows, Count: 2}, nobody); err == nil {
		t.Error("two tokens follow a step that chooses one")
	}
}
