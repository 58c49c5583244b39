package admission

import (
	"flag"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"
	"pgregory.net/rapid"
)

// The folder in which rapid would leave what fails is that of the transcripts.
func init() {
	if err := flag.Set("rapid.nofailfile", "true"); err != nil {
		panic(err)
	}
}

// TestTranscripts plays the stories in testdata. Run with -rewrite after a change that is meant.
func TestTranscripts(t *testing.T) {
	datadriven.Walk(t, "testdata", func(t *testing.T, path string) {
		var d *Desk
		at := func(seconds int) time.Time { return time.Unix(int64(seconds), 0) }
		datadriven.RunTest(t, path, func(t *testing.T, c *datadriven.TestData) string {
			var id uint64
			var needs, room []int64
			until, now, waiting := 1000, 0, 0
			c.MaybeScanArgs(t, "id", &id)
			c.MaybeScanArgs(t, "needs", &needs)
			c.MaybeScanArgs(t, "room", &room)
			c.MaybeScanArgs(t, "until", &until)
			c.MaybeScanArgs(t, "now", &now)
			c.MaybeScanArgs(t, "waiting", &waiting)
			var out strings.Builder
			say := func(what string, ids []uint64) {
				for _, id := range ids {
					fmt.Fprintf(&out, "%d %s\n", id, what)
				}
			}
			switch c.Cmd {
			case "new":
				d = NewDesk(room, waiting)
			case "ask":
				fmt.Fprintf(&out, "%d %v\n", id, d.Ask(Request{ID: id, Needs: needs, Until: at(until)}))
			case "leave":
				say("admitted", d.Leave(id))
			case "expire":
				expired, admitted := d.Expire(at(now))
				say("has waited too long", expired)
				say("admitted", admitted)
			default:
				t.Fatalf("%s: unknown event", c.Cmd)
			}
			fmt.Fprintf(&out, "free %v, open %d, waiting %d\n", d.free, d.Open(), d.Waiting())
			return out.String()
		})
	})
}

// TestNobodyIsPromisedWhatAnotherHolds plays random requests, departures and deadlines: what is admitted
// never exceeds what there is, everyone is admitted in the order of asking, and nobody waits for nothing.
func TestNobodyIsPromisedWhatAnotherHolds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		nodes := rapid.IntRange(1, 4).Draw(t, "nodes")
		draw := func(most int64, label string) []int64 {
			return rapid.SliceOfN(rapid.Int64Range(0, most), nodes, nodes).Draw(t, label)
		}
		room, most := draw(100, "room"), rapid.IntRange(0, 5).Draw(t, "waiting")
		d := NewDesk(room, most)
		needs, open, until := map[uint64][]int64{}, map[uint64]bool{}, map[uint64]time.Time{}
		var queue []uint64 // in the order of asking
		admitted := func(ids []uint64) {
			for _, id := range ids {
				if len(queue) == 0 || queue[0] != id {
					t.Fatalf("%d is admitted, the queue is %v", id, queue)
				}
				queue, open[id] = queue[1:], true
			}
		}
		now := time.Unix(0, 0)
		for id := uint64(1); id <= uint64(rapid.IntRange(1, 60).Draw(t, "events")); id++ {
			switch rapid.IntRange(0, 3).Draw(t, "event") {
			case 0, 1:
				needs[id], until[id] = draw(60, "needs"), now.Add(time.Duration(rapid.IntRange(1, 9).Draw(t, "patience")))
				switch v := d.Ask(Request{ID: id, Needs: needs[id], Until: until[id]}); v {
				case Admitted:
					if len(queue) > 0 {
						t.Fatalf("%d overtakes %v", id, queue)
					}
					open[id] = true
				case Waits:
					queue = append(queue, id)
				case TooMany:
					if len(queue) != most {
						t.Fatalf("refused with %d of %d waiting", len(queue), most)
					}
				case TooLarge:
					if fits(needs[id], room) {
						t.Fatalf("%v is too large for %v", needs[id], room)
					}
				}
			case 2:
				gone := uint64(rapid.IntRange(1, int(id)).Draw(t, "who leaves"))
				delete(open, gone)
				queue = slices.DeleteFunc(queue, func(q uint64) bool { return q == gone })
				admitted(d.Leave(gone))
			case 3:
				now = now.Add(time.Duration(rapid.IntRange(0, 5).Draw(t, "time")))
				expired, in := d.Expire(now)
				for _, id := range expired {
					if until[id].After(now) {
						t.Fatalf("%d expires at %v, before %v", id, now, until[id])
					}
					queue = slices.DeleteFunc(queue, func(q uint64) bool { return q == id })
				}
				admitted(in)
				for _, id := range queue {
					if !until[id].After(now) {
						t.Fatalf("%d still waits at %v, its deadline is %v", id, now, until[id])
					}
				}
			}
			left := slices.Clone(room)
			for id := range open {
				for n, bytes := range needs[id] {
					left[n] -= bytes
				}
			}
			if slices.Min(left) < 0 || !slices.Equal(left, d.free) {
				t.Fatalf("%v are left, the desk says %v", left, d.free)
			}
			if len(queue) > most || len(queue) != d.Waiting() || len(open) != d.Open() {
				t.Fatalf("%d wait (%d may), the desk says %d; %d are open, the desk says %d", len(queue), most, d.Waiting(), len(open), d.Open())
			}
			if len(queue) > 0 && fits(needs[queue[0]], left) {
				t.Fatalf("%d waits although %v are free", queue[0], left)
			}
		}
	})
}

func fits(needs, room []int64) bool {
	for n := range needs {
		if needs[n] > room[n] {
			return false
		}
	}
	return true
}
