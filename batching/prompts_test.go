package batching

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"
	"pgregory.net/rapid"
)

// TestTranscriptsOfPrompts plays the stories in testdata/prompts. After each event all steps begin that may. An event
// of several sequences is one of each, one after the other, before that, and others says how many steps of another kind
// are in flight from then on.
func TestTranscriptsOfPrompts(t *testing.T) {
	datadriven.Walk(t, "testdata/prompts", func(t *testing.T, path string) {
		var p *Prompts
		parts, others := 0, 0
		datadriven.RunTest(t, path, func(t *testing.T, c *datadriven.TestData) string {
			var ids []uint64
			nodes := []int{0}
			c.MaybeScanArgs(t, "id", &ids)
			c.MaybeScanArgs(t, "on", &nodes)
			c.MaybeScanArgs(t, "others", &others)
			event := map[string]func(uint64){
				"new":   nil,
				"ready": func(id uint64) { p.Ready(id, ownersOf(nodes)) },
				"round": func(id uint64) { p.ReadyRound(id) },
				"done": func(id uint64) {
					if p.round != id {
						parts--
					}
					p.Done(id)
				},
				"withdraw": func(id uint64) { p.Withdraw(id) },
				"gone": func(id uint64) {
					if r := p.readers[id]; r != nil {
						parts -= r.flight
					}
					p.Gone(id)
				},
				"look": nil,
			}
			do, known := event[c.Cmd]
			if !known {
				t.Fatalf("%s: unknown event", c.Cmd)
			}
			if c.Cmd == "new" {
				p, parts, others = NewPrompts(), 0, 0
			}
			for _, id := range ids {
				do(id)
			}
			var out strings.Builder
			if !p.Open() {
				out.WriteString("nothing but a round may begin\n")
			}
			for p.Open() {
				id := p.Next()
				if id == 0 {
					break
				}
				parts++
				fmt.Fprintf(&out, "part of %d\n", id)
			}
			if id := p.NextRound(parts + others); id != 0 {
				fmt.Fprintf(&out, "round of %d\n", id)
			}
			for _, q := range p.queues {
				fmt.Fprintf(&out, "%d of %d in flight, waiting %v\n", q.flight, q.window, q.waiting)
			}
			if len(p.rounds) > 0 {
				fmt.Fprintf(&out, "waiting for a round %v\n", p.rounds)
			}
			return out.String()
		})
	})
}

// TestPromptsTakeTurns plays random events: no more parts are in flight than may be, a round is alone, between two of
// them all others have had their turn, and everybody has it in the order of becoming ready.
func TestPromptsTakeTurns(t *testing.T) {
	nodes := [][]int{{0}, {0, 1}, {2, 0, 1}}
	rapid.Check(t, func(t *rapid.T) {
		p := NewPrompts()
		waiting := make([][]uint64, len(nodes))
		flights := map[uint64]int{} // parts of a sequence
		way := map[uint64]int{}     // of a sequence
		flight := make([]int, len(nodes))
		var rounds []uint64
		round, rested := uint64(0), true
		without := func(ids []uint64, id uint64) []uint64 {
			return slices.DeleteFunc(ids, func(i uint64) bool { return i == id })
		}
		withdraw := func(id uint64) {
			rounds = without(rounds, id)
			for w := range waiting {
				waiting[w] = without(waiting[w], id)
			}
		}
		over := func(id uint64, parts int) {
			if round == id {
				round, rested = 0, false
			}
			flights[id] -= parts
			flight[way[id]] -= parts
		}
		for range rapid.IntRange(1, 80).Draw(t, "events") {
			id, w := rapid.Uint64Range(1, 9).Draw(t, "sequence"), rapid.IntRange(0, len(nodes)-1).Draw(t, "way")
			switch rapid.IntRange(0, 7).Draw(t, "event") {
			default:
				if flights[id] > 0 {
					w = way[id]
				}
				if round == id {
					continue
				}
				p.Ready(id, ownersOf(nodes[w]))
				if !slices.Contains(waiting[w], id) {
					withdraw(id)
					waiting[w] = append(waiting[w], id)
				}
			case 0, 1:
				if flights[id] > 0 || round == id {
					continue
				}
				p.ReadyRound(id)
				if !slices.Contains(rounds, id) {
					withdraw(id)
					rounds = append(rounds, id)
				}
			case 2:
				p.Withdraw(id)
				withdraw(id)
			case 3, 4:
				p.Done(id)
				over(id, min(1, flights[id]))
			case 5:
				p.Gone(id)
				withdraw(id)
				over(id, flights[id])
			}
			for p.Open() {
				id := p.Next()
				if id == 0 {
					break
				}
				w := slices.IndexFunc(waiting, func(ids []uint64) bool { return len(ids) > 0 && ids[0] == id })
				if w < 0 {
					t.Fatalf("a part of %d begins, there wait %v", id, waiting)
				}
				if flight[w] > len(nodes[w]) || round != 0 || len(rounds) > 0 && rested {
					t.Fatalf("a part of %d begins, with %d in flight, the round of %d, and %v waiting for one", id, flight[w], round, rounds)
				}
				waiting[w] = waiting[w][1:]
				way[id] = w
				flights[id]++
				flight[w]++
			}
			for w := range waiting {
				if len(waiting[w]) > 0 && flight[w] <= len(nodes[w]) && round == 0 && (len(rounds) == 0 || !rested) {
					t.Fatalf("%v wait for nothing", waiting[w])
				}
			}
			all := flight[0] + flight[1] + flight[2]
			others := rapid.IntRange(0, 1).Draw(t, "others") // steps of one token in flight
			if id := p.NextRound(all + others); id != 0 {
				if round != 0 || all+others > 0 || len(rounds) == 0 || rounds[0] != id {
					t.Fatalf("the round of %d begins beside that of %d and %d steps, there wait %v", id, round, all+others, rounds)
				}
				round, rounds = id, rounds[1:]
			} else if round == 0 && all+others == 0 && len(rounds) > 0 {
				t.Fatalf("%v wait for nothing", rounds)
			}
			rested = true
		}
	})
}

func TestNothingIsAllocatedFromPartToPart(t *testing.T) {
	p, owners := NewPrompts(), ownersOf([]int{0, 1})
	if n := testing.AllocsPerRun(100, func() {
		for id := range uint64(6) {
			p.Ready(id+1, owners)
		}
		for id := p.Next(); id != 0; id = p.Next() {
			p.Done(id)
		}
		p.ReadyRound(1)
		p.Done(p.NextRound(0))
	}); n > 0 {
		t.Errorf("%v allocations", n)
	}
}
