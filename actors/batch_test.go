package actors

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/orrery-ai/orrery/placement"
	"github.com/orrery-ai/orrery/sampling"
	"github.com/orrery-ai/orrery/transport"
)

// several are jobs that differ in their prompts and in how their tokens are chosen.
func several(n, tokens int) (jobs []Job) {
	for i := range n {
		j := Job{IDs: prompt(60)[i : 2*i+1+7*(i%3)], MaxTokens: tokens}
		if i%2 == 1 {
			j.Sampling = sampling.Params{Temperature: 1, TopP: 0.95, Seed: uint64(i)}
		}
		jobs = append(jobs, j)
	}
	return jobs
}

// oneByOne is what one node generates for each of some jobs, one after the other.
func oneByOne(t *testing.T, jobs []Job) (want [][]int32) {
	t.Helper()
	r := newRig(t, 1)
	c := r.load(r.spec(placement.Pipeline))
	for _, j := range jobs {
		seq := r.sequence(c, placement.Pipeline)
		want = append(want, r.generate(c, seq, j))
		c.CloseSequence(seq)
	}
	return want
}

// steps is how many steps node 0 has handed out.
func (r *rig) steps() uint64 { return r.endpoints[0].Counters()[transport.Step].MessagesOut }

func TestSequencesThatDecodeTogetherGiveTheTokensOfOneNode(t *testing.T) {
	const tokens = 60
	jobs := several(11, tokens) // more than go together
	want := oneByOne(t, jobs)
	for _, nodes := range []int{1, 2, 3} {
		r := newRig(t, nodes)
		s := r.spec(placement.Ring)
		r.keep(&s, len(jobs))
		c := r.load(s)
		for _, mode := range modes {
			before := r.steps()
			var seqs []uint64
			var runs []*Running
			for _, j := range jobs {
				seqs = append(seqs, r.sequence(c, mode))
				runs = append(runs, r.start(c, seqs[len(seqs)-1], j))
			}
			for i, run := range runs {
				got, _, err := r.drain(run)
				if err != nil {
					t.Fatal(err)
				}
				same(t, fmt.Sprintf("sequence %d in %v on %d nodes", i, mode, nodes), got, want[i])
				c.CloseSequence(seqs[i])
			}
			if n := r.steps() - before; n >= uint64(len(jobs)*tokens) {
				t.Errorf("%v on %d nodes: %d tokens took %d steps: none went together", mode, nodes, len(jobs)*tokens, n)
			}
		}
	}
}

// Whatever becomes of one sequence, the others have their tokens.
func TestSequencesThatDecodeTogetherDoNotDisturbEachOther(t *testing.T) {
	const tokens = 60
	jobs := several(5, tokens)
	want := oneByOne(t, jobs)
	cause := errors.New("nobody listens any more")
	for name, disturb := range map[string]func(c *Conductor, seq uint64, run *Running){
		"closed":    func(c *Conductor, seq uint64, run *Running) { c.CloseSequence(seq) },
		"cancelled": func(c *Conductor, seq uint64, run *Running) { c.Cancel(seq, run, cause) },
		"switched": func(c *Conductor, seq uint64, run *Running) {
			if _, err := c.Switch(context.Background(), seq, placement.Pooled); err != nil {
				t.Error(err)
			}
		},
	} {
		for _, mode := range modes {
			t.Run(fmt.Sprintf("%s in %v", name, mode), func(t *testing.T) {
				r := newRig(t, 3)
				s := r.spec(placement.Ring)
				r.keep(&s, len(jobs))
				c := r.load(s)
				var seqs []uint64
				var runs []*Running
				for i, j := range jobs {
					if i == 3 {
						j.SwitchAt = []SwitchAt{{10, placement.Pipeline}, {20, placement.Ring}, {30, placement.Pooled}}
					}
					seqs = append(seqs, r.sequence(c, mode))
					runs = append(runs, r.start(c, seqs[i], j))
				}
				var had []int32
				for len(had) < 12 {
					if e := r.next(runs[2]); e.Kind == Generated {
						had = append(had, e.Token)
					}
				}
				disturb(c, seqs[2], runs[2])
				for i, run := range runs {
					got, switches, err := r.drain(run)
					switch {
					case i != 2 || name == "switched":
						if err != nil {
							t.Fatalf("sequence %d: %v", i, err)
						}
					case name == "closed" && (err == nil || !strings.Contains(err.Error(), "closed")), name == "cancelled" && err != cause:
						t.Errorf("it ended with %v", err)
					}
					if i == 2 {
						had = append(had, got...)
						got = had
						if name != "switched" {
							same(t, "up to there", got, want[i][:len(got)])
							continue
						}
					}
					if i == 3 && len(switches) == 0 { // one begins when that before it has ended
						t.Errorf("%d switches", len(switches))
					}
					same(t, fmt.Sprintf("sequence %d", i), got, want[i])
				}
				if name == "cancelled" {
					had = append(had, r.generate(c, seqs[2], Job{MaxTokens: 5, Sampling: jobs[2].Sampling})...)
					same(t, "gone on", had, want[2][:len(had)])
				}
			})
		}
	}
}

// What one sequence waits for beside the others, a long prompt, or a round of it, holds up none of them for ever.
func TestPromptsAreReadBesideSequencesThatDecodeTogether(t *testing.T) {
	jobs := append(several(3, 60), Job{IDs: prompt(150), MaxTokens: 10}, Job{IDs: prompt(90), MaxTokens: 10})
	want := oneByOne(t, jobs)
	r := newRig(t, 2)
	s := r.spec(placement.Ring)
	r.keep(&s, len(jobs))
	c := r.load(s)
	for i, mode := range modes {
		var runs []*Running
		var seqs []uint64
		for k, j := range jobs {
			seqs = append(seqs, r.sequence(c, modes[(i+k)%len(modes)]))
			runs = append(runs, r.start(c, seqs[k], j))
		}
		for k, run := range runs {
			got, _, err := r.drain(run)
			if err != nil {
				t.Fatal(err)
			}
			same(t, fmt.Sprintf("sequence %d, from %v", k, mode), got, want[k])
			c.CloseSequence(seqs[k])
		}
	}
}

// A model whose steps have room for two tokens puts no more sequences together.
func TestNoMoreSequencesGoTogetherThanStepsHaveRoomFor(t *testing.T) {
	jobs := several(5, 30)
	want := oneByOne(t, jobs)
	for _, chunk := range []int{1, 2} {
		r := newRig(t, 2)
		s := r.spec(placement.Pooled)
		s.Chunk = chunk
		if n := s.together(); n != chunk {
			t.Errorf("%d sequences are to go together with a chunk of %d", n, chunk)
		}
		r.keep(&s, len(jobs))
		c := r.load(s)
		var runs []*Running
		for _, j := range jobs {
			runs = append(runs, r.start(c, r.sequence(c, placement.Pooled), j))
		}
		for i, run := range runs {
			got, _, err := r.drain(run)
			if err != nil {
				t.Fatal(err)
			}
			same(t, fmt.Sprintf("sequence %d, with a chunk of %d", i, chunk), got, want[i])
		}
	}
}
