package batching

import (
	"flag"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"
	"pgregory.net/rapid"

	"github.com/orrery-ai/orrery/residence"
)

// The folder in which rapid would leave what fails is that of the transcripts.
func init() {
	if err := flag.Set("rapid.nofailfile", "true"); err != nil {
		panic(err)
	}
}

// ownersOf is a split of layers over nodes, two each.
func ownersOf(nodes []int) (all []residence.Owner) {
	for i, n := range nodes {
		all = append(all, residence.Owner{Layers: residence.Span{First: 2 * i, End: 2*i + 2}, Node: n})
	}
	return all
}

// TestTranscripts plays the stories in testdata/tokens. Run with -rewrite after a change that is meant. After each
// event all steps begin that may. An event of several sequences is one of each, one after the other, before that.
func TestTranscripts(t *testing.T) {
	datadriven.Walk(t, "testdata/tokens", func(t *testing.T, path string) {
		var b *Batcher
		datadriven.RunTest(t, path, func(t *testing.T, c *datadriven.TestData) string {
			var ids []uint64
			nodes, most := []int{0}, 8
			c.MaybeScanArgs(t, "id", &ids)
			c.MaybeScanArgs(t, "on", &nodes)
			c.MaybeScanArgs(t, "most", &most)
			event := map[string]func(uint64){
				"new":      nil,
				"ready":    func(id uint64) { b.Ready(id, ownersOf(nodes)) },
				"withdraw": func(id uint64) { b.Withdraw(id) },
				"done":     func(id uint64) { b.Done(id) },
				"token": func(id uint64) { // and it goes on
					b.Done(id)
					b.Ready(id, ownersOf(nodes))
				},
				"gone": func(id uint64) { b.Gone(id) },
			}
			do, known := event[c.Cmd]
			if !known {
				t.Fatalf("%s: unknown event", c.Cmd)
			}
			if c.Cmd == "new" {
				b = New(most)
			}
			for _, id := range ids {
				do(id)
			}
			var out strings.Builder
			for step := b.Next(nil); len(step) > 0; step = b.Next(nil) {
				fmt.Fprintf(&out, "step of %v\n", step)
			}
			for _, w := range b.ways {
				fmt.Fprintf(&out, "on %d nodes: %d in flight, waiting %v\n", w.nodes, len(w.flights), w.waiting)
			}
			return out.String()
		})
	})
}

// TestNobodyWaitsForNothing plays random events: steps are no larger than may be and no more than there are nodes, a
// sequence is in one at a time, all have their turn in the order of becoming ready, and none waits while a step may
// begin.
func TestNobodyWaitsForNothing(t *testing.T) {
	ways := [][]int{{0}, {0, 1}, {2, 0, 1}, {0, 1, 0}}
	nodes := []int{1, 2, 3, 2}
	rapid.Check(t, func(t *rapid.T) {
		most := rapid.IntRange(1, 9).Draw(t, "most")
		b := New(most)
		waiting := make([][]uint64, len(ways)) // in the order of becoming ready
		flights := make([][][]uint64, len(ways))
		without := func(ids []uint64, id uint64) []uint64 {
			return slices.DeleteFunc(ids, func(i uint64) bool { return i == id })
		}
		end := func(id uint64) {
			for w := range ways {
				for i := range flights[w] {
					flights[w][i] = without(flights[w][i], id)
				}
				flights[w] = slices.DeleteFunc(flights[w], func(f []uint64) bool { return len(f) == 0 })
			}
		}
		withdraw := func(id uint64) {
			for w := range ways {
				waiting[w] = without(waiting[w], id)
			}
		}
		flies := func(id uint64) bool {
			return slices.ContainsFunc(flights, func(fs [][]uint64) bool {
				return slices.ContainsFunc(fs, func(f []uint64) bool { return slices.Contains(f, id) })
			})
		}
		for range rapid.IntRange(1, 80).Draw(t, "events") {
			id, w := rapid.Uint64Range(1, 20).Draw(t, "sequence"), rapid.IntRange(0, len(ways)-1).Draw(t, "way")
			switch rapid.IntRange(0, 7).Draw(t, "event") {
			default:
				b.Ready(id, ownersOf(ways[w]))
				if !flies(id) && !slices.Contains(waiting[w], id) {
					withdraw(id)
					waiting[w] = append(waiting[w], id)
				}
			case 0:
				b.Withdraw(id)
				withdraw(id)
			case 1, 2:
				b.Done(id)
				end(id)
			case 3:
				b.Gone(id)
				withdraw(id)
				end(id)
			}
			for step := b.Next(nil); len(step) > 0; step = b.Next(nil) {
				w := slices.IndexFunc(waiting, func(ids []uint64) bool { return slices.Contains(ids, step[0]) })
				if w < 0 || len(step) > len(waiting[w]) || !slices.Equal(waiting[w][:len(step)], step) {
					t.Fatalf("%v begin, there wait %v", step, waiting)
				}
				if len(step) > most || len(flights[w]) >= nodes[w] {
					t.Fatalf("%v begin, at most %d, with %v in flight", step, most, flights[w])
				}
				waiting[w] = waiting[w][len(step):]
				flights[w] = append(flights[w], step)
			}
			for w := range ways {
				if len(waiting[w]) > 0 && len(flights[w]) < nodes[w] {
					t.Fatalf("%v wait, with %v in flight on %d nodes", waiting[w], flights[w], nodes[w])
				}
			}
		}
	})
}

func TestNothingIsAllocatedFromStepToStep(t *testing.T) {
	b, owners, ids := New(8), ownersOf([]int{0, 1}), make([]uint64, 0, 8)
	if n := testing.AllocsPerRun(100, func() {
		for id := range uint64(6) {
			b.Ready(id, owners)
		}
		for ids = b.Next(ids[:0]); len(ids) > 0; ids = b.Next(ids[:0]) {
			for _, id := range ids {
				b.Done(id)
			}
		}
	}); n > 0 {
		t.Errorf("%v allocations", n)
	}
}
