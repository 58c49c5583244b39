package actors

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/orrery-ai/orrery/placement"
)

// However many prompts are read, the nodes have no more of them than keeps all busy: what waits there waits for all
// that came before, with its deadline running.
func TestManyPromptsTakeTurnsAtTheNodes(t *testing.T) {
	const sequences = 12
	r := stalled(t)
	s := r.spec(placement.Pipeline)
	r.keep(&s, sequences+1)
	c := r.load(s)
	before := r.steps()
	for i := range sequences {
		r.start(c, r.sequence(c, placement.Pipeline), Job{IDs: prompt(100 + i), MaxTokens: 1})
	}
	r.sequence(c, placement.Pipeline) // all that was to begin has begun
	if n, most := r.steps()-before, uint64(1+window(2, false)); n > most {
		t.Errorf("%d steps of prompts were handed out before a second result came, more than %d", n, most)
	}
}

// Between any two rounds of ring prefill, of one prompt or of several, a sequence that decodes has a token.
func TestRoundsLeaveOthersTheirTurn(t *testing.T) {
	const long = 2048
	r := newRig(t, 2)
	s := r.spec(placement.Ring)
	s.Context = long
	r.keep(&s, 4)
	c := r.load(s)
	var readers []uint64
	for range 3 {
		readers = append(readers, r.sequence(c, placement.Ring))
	}
	seq, err := c.Open(r.context(), placement.Ring, long)
	if err != nil {
		t.Fatal(err)
	}
	decoder := r.start(c, seq, Job{IDs: prompt(3), MaxTokens: long - 8})
	first := r.next(decoder)
	for first.Kind != Generated {
		first = r.next(decoder)
	}
	var runs []*Running
	for i, seq := range readers {
		runs = append(runs, r.start(c, seq, Job{IDs: prompt(200 + i), MaxTokens: 1}))
	}
	var rounds []time.Time
	for _, run := range runs {
		for e := r.next(run); e.Kind != Ended; e = r.next(run) {
			if e.Kind == Fed && e.Count < 192 { // what is left then is no round
				rounds = append(rounds, e.At)
			}
		}
	}
	c.Cancel(seq, decoder, context.Canceled)
	tokens := []time.Time{first.At}
	for e := r.next(decoder); e.Kind != Ended; e = r.next(decoder) {
		tokens = append(tokens, e.At)
	}
	slices.SortFunc(rounds, time.Time.Compare)
	for i, end := range rounds[1:] {
		if begin := rounds[i]; end.Before(tokens[len(tokens)-1]) && !slices.ContainsFunc(tokens, func(at time.Time) bool { return at.After(begin) && at.Before(end) }) {
			t.Errorf("no token came between rounds %d and %d", i, i+1)
		}
	}
}
