package simulate

import (
	"testing"

	"pgregory.net/rapid"
)

func TestEveryMemberIsTheChildOfItsParentOnly(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 300).Draw(t, "members")
		tr := shape(rapid.IntRange(0, 70).Draw(t, "arity"), n)
		parents := make([]int, n)
		for m := range int32(n) {
			first, end := tr.children(m)
			for c := first; c < end; c++ {
				parents[c]++
				if tr.parent(c) != m || c <= m {
					t.Fatalf("%d is a child of %d, and its parent %d", c, m, tr.parent(c))
				}
			}
		}
		for m, k := range parents {
			if want := min(m, 1); k != want {
				t.Fatalf("member %d is a child %d times", m, k)
			}
		}
	})
}

func TestEventsHappenInOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var q queue
		last := event{at: -1}
		for range rapid.IntRange(1, 200).Draw(t, "operations") {
			if len(q.heap) > 0 && rapid.Bool().Draw(t, "pop") {
				e := q.pop()
				if e.before(&last) {
					t.Fatalf("%+v after %+v", e, last)
				}
				last = e
				continue
			}
			q.push(event{at: max(last.at, 0) + float64(rapid.IntRange(0, 5).Draw(t, "later"))})
		}
		for len(q.heap) > 0 {
			e := q.pop()
			if e.before(&last) {
				t.Fatalf("%+v after %+v", e, last)
			}
			last = e
		}
	})
}
