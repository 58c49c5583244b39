package engine

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/orrery-ai/orrery/placement"
	"github.com/orrery-ai/orrery/residence"
	"github.com/orrery-ai/orrery/sampling"
	"github.com/orrery-ai/orrery/transport"
)

const relayPrompt, relayWanted = 5, 9

// steps is a run of steps on a bench in which each owner gives a result.
type steps struct {
	*bench
	epoch   *residence.Epoch
	p       sampling.Params
	tokens  []int32
	relayed int // steps of which all owners say so
	taken   uint64
	came    map[uint64]*outcome
}

// outcome is what has come of a step.
type outcome struct {
	results, relayed int
	token            int32
}

func (s *steps) chunk(first int, ids []int32, w Want) {
	s.Helper()
	w.Token, w.Sampling = true, s.p
	s.steps++
	if err := s.driver.Chunk(s.epoch.OwnerOf(0), seqID, s.steps, s.epoch.Number, first, ids, w); err != nil {
		s.Fatal(err)
	}
}

// take waits until all owners that are to have given their results of the next step.
func (s *steps) take(owners int) {
	s.Helper()
	s.taken++
	for {
		o := s.came[s.taken]
		if o != nil && o.results == owners {
			s.tokens = append(s.tokens, o.token)
			if o.relayed == owners {
				s.relayed++
			}
			return
		}
		r := s.result()
		if r.Err != nil {
			s.Fatalf("step %d on node %d: %v", r.Step, r.Node, r.Err)
		}
		if o = s.came[r.Step]; o == nil {
			o = &outcome{token: -1}
			s.came[r.Step] = o
		}
		if o.results++; r.Relayed {
			o.relayed++
		}
		o.token = max(o.token, r.Token)
	}
}

// relayedOn reads a prompt and chooses some tokens: each step handed out behind the one whose token is waited for, or when that is known.
func relayedOn(t *testing.T, s setup, e *residence.Epoch, together bool, p sampling.Params) *steps {
	t.Helper()
	b := newBench(t, s)
	b.open(e)
	r := &steps{bench: b, epoch: e, p: p, came: map[uint64]*outcome{}}
	owners := len(e.Owners)
	r.chunk(0, b.ids(relayPrompt), Want{})
	r.take(1)
	for i := range relayWanted {
		follows := together && i > 1
		w := Want{Each: owners > 1, Follows: follows, Followed: together && i > 0 && i < relayWanted-1 || owners == 1 && together && i == 0}
		ids := []int32{-1}
		if !follows {
			ids = r.tokens[i:]
		}
		r.chunk(relayPrompt+i, ids, w)
		if !together || i == 0 {
			r.take(owners)
		} else if i > 1 {
			r.take(owners)
		}
	}
	for len(r.tokens) < relayWanted+1 {
		r.take(owners)
	}
	return r
}

// withRelay is an epoch in which nodes own layers after one another.
func withRelay(nodes int) *residence.Epoch { return piped(1, 3, nodes) }

func TestStepsThatAreRelayedChooseTheSameTokens(t *testing.T) {
	drawn := sampling.Params{Temperature: 1, Seed: 3}
	for _, c := range []struct {
		nodes    int
		together bool
		p        sampling.Params
	}{{2, true, sampling.Params{}}, {3, true, drawn}, {2, false, drawn}} {
		want := relayedOn(t, emulated(t, setup{nodes: 1, block: 3}), withRelay(1), false, c.p).tokens
		for name, way := range ways {
			t.Run(fmt.Sprintf("%s, %d nodes, together %v", name, c.nodes, c.together), func(t *testing.T) {
				got := relayedOn(t, emulated(t, setup{nodes: c.nodes, block: 3, transport: way}), withRelay(c.nodes), c.together, c.p)
				if !slices.Equal(got.tokens, want) {
					t.Errorf("relayed %v, on one node %v", got.tokens, want)
				}
				if got.relayed != relayWanted {
					t.Errorf("%d steps of %d were relayed", got.relayed, relayWanted)
				}
				n := got.engines[0].cfg.Endpoint.Counters()[transport.HiddenAhead]
				if tokens := uint64(relayWanted - 2); c.together && (n.MessagesOut != relayWanted || n.MessagesIn != tokens || n.BytesIn != 4*tokens) {
					t.Errorf("the first owner's messages are counted as %+v", n)
				}
				if hosts := got.engines[0].cfg.Endpoint.Counters()[transport.Hidden].MessagesOut; hosts != 1+relayWanted {
					t.Errorf("%d messages between hosts, not one for the prompt and one to announce each step", hosts)
				}
			})
		}
	}
}

// Exchanges with holders of blocks go on within steps that are relayed, and steps of one owner that exchanges follow each other.
func TestStepsThatExchangeFollowEachOther(t *testing.T) {
	for name, way := range ways {
		for _, owners := range []int{1, 2} {
			t.Run(fmt.Sprintf("%s, %d owners", name, owners), func(t *testing.T) {
				one := newBench(t, emulated(t, setup{nodes: 1}))
				want := dealtSteps(t, one, piped(1, 3, 1), nil)
				s := setup{nodes: 2, transport: way}
				first, second := piped(1, 3, owners), piped(2, 3, owners)
				first.Mode, second.Mode, second.Covered = placement.Pooled, placement.Pooled, 8
				for _, o := range second.Owners {
					for block := range 2 {
						second.Held = append(second.Held, residence.Holding{Rect: rect(o.Layers.First, o.Layers.End, 4*block, 4*block+4), Node: block})
					}
				}
				b := newBench(t, emulated(t, s))
				got := dealtSteps(t, b, first, second)
				if !slices.Equal(got, want) {
					t.Errorf("with blocks on two nodes %v, on one %v", got, want)
				}
				if n := b.exchanges(0, 1); n != uint32(relayWanted*first.Owners[0].Layers.Len()) {
					t.Errorf("node 0 has asked for %d layers", n)
				}
			})
		}
	}
}

// dealtSteps reads 8 tokens in an epoch, deals them out as another one says, if there is one, and chooses tokens in it.
func dealtSteps(t *testing.T, b *bench, first, second *residence.Epoch) []int32 {
	t.Helper()
	b.open(first)
	r := &steps{bench: b, epoch: first, came: map[uint64]*outcome{}}
	r.chunk(0, b.ids(8), Want{})
	r.take(1)
	if second != nil {
		for _, h := range second.Held {
			for _, o := range second.Owners {
				if o.Layers.First == h.Rect.Layers.First && o.Node != h.Node {
					b.copyTo(3, o.Node, h.Node, h.Rect)
				}
			}
		}
		b.takeUp(second, 3, 0, 1)
		r.epoch = second
	}
	owners := len(first.Owners)
	for i := range relayWanted {
		w := Want{Each: owners > 1, Follows: i > 0, Followed: i < relayWanted-1}
		ids := []int32{-1}
		if i == 0 {
			ids = r.tokens
		}
		r.chunk(8+i, ids, w)
		if i > 0 {
			r.take(owners)
		}
	}
	r.take(owners)
	return r.tokens
}

func TestALostNodeEndsStepsThatAreRelayed(t *testing.T) {
	for name, lose := range map[string]func(b *bench){
		"it closes":            func(b *bench) { b.engines[1].Close() },
		"its endpoint is gone": func(b *bench) { b.engines[1].cfg.Endpoint.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, emulated(t, setup{nodes: 2}))
			b.open(withRelay(2))
			r := &steps{bench: b, epoch: withRelay(2), came: map[uint64]*outcome{}}
			r.chunk(0, b.ids(relayPrompt), Want{})
			r.take(1)
			r.chunk(relayPrompt, r.tokens, Want{Each: true, Followed: true})
			r.take(2)
			lose(b)
			r.chunk(relayPrompt+1, []int32{-1}, Want{Each: true, Follows: true, Followed: true})
			r.chunk(relayPrompt+2, []int32{-1}, Want{Each: true, Follows: true})
			for {
				res := b.result()
				if res.Err != nil && res.Step == r.steps {
					if !strings.Contains(res.Err.Text, "n1") {
						t.Errorf("the result is %+v", res)
					}
					return
				}
			}
		})
	}
}

func TestANodeThatSaysNothingEndsRelayedStepsAtTheirDeadline(t *testing.T) {
	b := newBench(t, emulated(t, setup{nodes: 2, timeout: 5 * time.Second})) // longer than the steps before take
	b.open(withRelay(2))
	r := &steps{bench: b, epoch: withRelay(2), came: map[uint64]*outcome{}}
	r.chunk(0, b.ids(relayPrompt), Want{})
	r.take(1)
	b.engines[1].busy.Lock() // it takes no announcement
	goOn := sync.OnceFunc(b.engines[1].busy.Unlock)
	t.Cleanup(goOn) // before its engines are closed, which wait for it
	r.chunk(relayPrompt, r.tokens, Want{Each: true, Followed: true})
	r.chunk(relayPrompt+1, []int32{-1}, Want{Each: true, Follows: true})
	for {
		if res := b.result(); res.Err != nil {
			goOn()
			b.engines[1].Close() // it has taken the announcements by then, whose weights go next
			if res.Node != 0 || res.Err.Lost != "n1" || !strings.Contains(res.Err.Text, "n1 on lane hidden-ahead") {
				t.Errorf("the result is %+v", res)
			}
			return
		}
	}
}

func TestAStepThatCannotBeRelayedSaysWhyAndLaterOnesGoByTheHosts(t *testing.T) {
	b := newBench(t, emulated(t, setup{nodes: 2}))
	ids := b.ids(relayPrompt + 2)
	for round := range 2 {
		b.open(withRelay(2))
		r := &steps{bench: b, epoch: withRelay(2), came: map[uint64]*outcome{}, taken: b.steps}
		r.chunk(0, ids[:relayPrompt], Want{})
		r.take(1)
		if round == 0 {
			b.engines[1].RemoveSequence(seqID)
			r.chunk(relayPrompt, ids[:1], Want{Each: true, Followed: true})
			failed := 0
			for res := b.result(); failed == 0; res = b.result() {
				if res.Err != nil {
					failed++
					if res.Node != 1 || !strings.Contains(res.Err.Text, "is not open on n1") {
						t.Errorf("the result is %+v", res)
					}
				}
				if failed > 0 {
					break
				}
			}
			r.chunk(relayPrompt+1, []int32{-1}, Want{Each: true, Follows: true}) // nothing is computed from what does not come
			for {
				if res := b.result(); res.Err != nil {
					break
				}
			}
			continue
		}
		r.chunk(relayPrompt, ids[:1], Want{Each: true})
		r.take(2)
		if r.relayed != 0 {
			t.Error("a step is relayed over a link on which one has failed")
		}
	}
}
