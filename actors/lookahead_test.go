package actors

import (
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/orrery-ai/orrery/residence"
)

func ownersOf(nodes ...int) (all []residence.Owner) {
	for i, n := range nodes {
		all = append(all, residence.Owner{Layers: residence.Span{First: 2 * i, End: 2*i + 2}, Node: n})
	}
	return all
}

// play runs a job on a model of nodes, handing out steps ahead if it may, and returns the tokens that it gave, what is
// in the cache, and the length at which a switch was asked for, -1 without one.
func play(t *rapid.T, l lookahead, prompt int, stop []int, step func(cache []int) int, ahead bool) (tokens, cache []int, switched int) {
	type flight struct {
		fed   []int // nil: the token of the step before
		alone bool  // it leaves no token to another step
	}
	var flying []flight
	owners, switched := l.owners, -1
	pending := make([]int, prompt)
	for i := range pending {
		pending[i] = 1000 + i
	}
	for ended := false; !ended || len(flying) > 0; {
		if l.due >= 0 && l.produced >= l.due && !ended {
			if len(flying) > 0 {
				t.Fatal("a switch is due while a step runs")
			}
			switched, l.due = len(cache)+len(pending), -1
		}
		if len(pending) > 0 && !ended {
			flying = append(flying, flight{fed: pending, alone: !l.followed(len(pending), 0)})
			pending = nil
		}
		if n := len(flying); ahead && n == 1 && !ended {
			tokens := max(len(flying[0].fed), 1)
			if l.follows(tokens) {
				if flying[0].alone {
					t.Fatal("a step follows one that leaves no token")
				}
				flying = append(flying, flight{alone: !l.followed(1, 1)})
			}
		}
		if len(flying) > 2 {
			t.Fatalf("%d steps run", len(flying))
		}
		f := flying[0]
		flying = flying[1:]
		if f.fed == nil {
			f.fed = tokens[len(tokens)-1:]
		}
		cache = append(cache, f.fed...)
		if ended { // the step behind the end
			continue
		}
		token := step(cache)
		tokens = append(tokens, token)
		if l.produced++; l.produced >= l.most || slices.Contains(stop, token) {
			ended = true
		}
		if l.each(len(f.fed)) {
			l.relayed = owners
		}
		if len(flying) == 0 {
			pending = tokens[len(tokens)-1:]
		}
	}
	return tokens, cache, switched
}

// Steps that are handed out ahead change neither what is generated nor where a switch falls, and leave in the cache
// what the sequence is: the prompt, what was given out, and at most the last token of that, which the next job would
// feed.
func TestStepsAheadChangeNothing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := lookahead{most: rapid.IntRange(1, 20).Draw(t, "most"), due: rapid.IntRange(-1, 20).Draw(t, "switch"), watched: rapid.IntRange(0, 5).Draw(t, "watched") == 0,
			spread: rapid.IntRange(0, 5).Draw(t, "spread") == 0, alone: rapid.IntRange(0, 5).Draw(t, "others") > 0, owners: rapid.SampledFrom([][]residence.Owner{ownersOf(0), ownersOf(0, 1), ownersOf(2, 0, 1), ownersOf(0, 1, 0)}).Draw(t, "owners")}
		prompt := rapid.IntRange(1, 9).Draw(t, "prompt")
		stop := rapid.SliceOfN(rapid.IntRange(0, 9), 0, 2).Draw(t, "stops")
		seed := rapid.IntRange(0, 1000).Draw(t, "seed")
		step := func(cache []int) int {
			sum := seed
			for i, id := range cache {
				sum = sum*31 + id + i
			}
			return (sum%10 + 10) % 10
		}
		want, had, at := play(t, l, prompt, stop, step, false)
		got, has, when := play(t, l, prompt, stop, step, true)
		if !slices.Equal(got, want) || when != at {
			t.Fatalf("ahead %v, switched at %d; else %v, at %d", got, when, want, at)
		}
		if !slices.Equal(has[:min(len(has), len(had))], had) || len(has) > len(had)+1 || len(has) > prompt+len(got) {
			t.Fatalf("the cache has %v, without steps ahead %v", has, had)
		}
	})
}

func TestOnlyWhatNobodyWatchesIsAheadAndNodesMustHaveRelayed(t *testing.T) {
	for name, c := range map[string]struct {
		l    lookahead
		n    int
		want bool
	}{
		"one owner":                   {lookahead{most: 9, due: -1, owners: ownersOf(0), alone: true}, 1, true},
		"one owner, a prompt":         {lookahead{most: 9, due: -1, owners: ownersOf(0), alone: true}, 7, true},
		"two that relay":              {lookahead{most: 9, due: -1, owners: ownersOf(0, 1), relayed: ownersOf(0, 1), alone: true}, 1, true},
		"two that do not":             {lookahead{most: 9, due: -1, owners: ownersOf(0, 1), alone: true}, 1, false},
		"two, of which others relay":  {lookahead{most: 9, due: -1, owners: ownersOf(0, 1), relayed: ownersOf(1, 0), alone: true}, 1, false},
		"two that ask each other":     {lookahead{most: 9, due: -1, owners: ownersOf(0, 1), relayed: ownersOf(0, 1), alone: true, spread: true}, 1, false},
		"two, and another sequence":   {lookahead{most: 9, due: -1, owners: ownersOf(0, 1), relayed: ownersOf(0, 1)}, 1, false},
		"two, a prompt":               {lookahead{most: 9, due: -1, owners: ownersOf(0, 1), relayed: ownersOf(0, 1), alone: true}, 7, false},
		"one node twice":              {lookahead{most: 9, due: -1, owners: ownersOf(0, 1, 0), relayed: ownersOf(0, 1, 0), alone: true}, 1, false},
		"one owner, another sequence": {lookahead{most: 9, due: -1, owners: ownersOf(0)}, 1, false},
		"the last token":              {lookahead{most: 9, produced: 8, due: -1, owners: ownersOf(0), alone: true}, 1, false},
		"a switch is due":             {lookahead{most: 9, produced: 3, due: 4, owners: ownersOf(0), alone: true}, 1, false},
		"a switch is due in a while":  {lookahead{most: 9, produced: 2, due: 4, owners: ownersOf(0), alone: true}, 1, true},
		"a trace, or logits are read": {lookahead{most: 9, due: -1, watched: true, owners: ownersOf(0), alone: true}, 1, false},
	} {
		t.Run(name, func(t *testing.T) {
			if got := c.l.follows(c.n); got != c.want {
				t.Errorf("a step follows: %v", got)
			}
		})
	}
}
