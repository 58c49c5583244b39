package topology_test

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/orrery-ai/orrery/transport"
	"github.com/orrery-ai/orrery/transport/topology"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestStarTakesInTheOrderOfTheNodesWhoeverIsAtItsCentre(t *testing.T) {
	for self := range 5 {
		for _, peers := range [][]int{{}, {0, 1, 2, 3, 4}, {1, 3}, {4}, {0}} {
			peers = slices.DeleteFunc(slices.Clone(peers), func(n int) bool { return n == self })
			var did []string
			err := topology.Star(self, peers,
				func(n int) error { did = append(did, fmt.Sprint("ask ", n)); return nil },
				func() { did = append(did, "own") },
				func(n int) error { did = append(did, fmt.Sprint("take ", n)); return nil })
			if err != nil {
				t.Fatal(err)
			}
			var want []string
			for _, n := range peers {
				want = append(want, fmt.Sprint("ask ", n))
			}
			want = append(want, "own")
			all := append(slices.Clone(peers), self)
			slices.Sort(all)
			for _, n := range all {
				want = append(want, fmt.Sprint("take ", n))
			}
			if !slices.Equal(did, want) {
				t.Errorf("node %d with %v: %q, want %q", self, peers, did, want)
			}
		}
	}
}

func TestStarEndsWithTheFirstError(t *testing.T) {
	broken := errors.New("broken")
	for _, failing := range []string{"ask 1", "ask 3", "take 1", "take 2", "take 3"} {
		var last string
		step := func(what string) func(n int) error {
			return func(n int) error {
				if last = fmt.Sprint(what, n); last == failing {
					return broken
				}
				return nil
			}
		}
		err := topology.Star(2, []int{1, 3}, step("ask "), func() {}, step("take "))
		if err != broken || last != failing {
			t.Errorf("%s: %v, after %s", failing, err, last)
		}
	}
}

func TestGroupsAreChecked(t *testing.T) {
	for _, nodes := range [][]int{{}, {1, 2}, {0, 1, 1}} {
		if _, err := topology.NewGroup(0, nodes...); err == nil {
			t.Errorf("node 0 is in the group %v", nodes)
		}
	}
	g, err := topology.NewGroup(7, 3, 7, 5)
	if err != nil || g.Len() != 3 || g.Next() != 5 || g.Prev() != 3 {
		t.Errorf("%v, %v", g, err)
	}
	if g, err = topology.NewGroup(4, 4); err != nil || g.Next() != 4 || g.Prev() != 4 {
		t.Errorf("%v, %v", g, err)
	}
}

func TestAFailedSendEndsTheShiftAndReleasesItsItem(t *testing.T) {
	broken := errors.New("broken")
	var released []int
	b := topology.NewBelt(func(int) error { return broken },
		func() (int, error) { t.Error("took after a failed send"); return 0, nil },
		func(item int) { released = append(released, item) })
	defer b.Close()
	if err := b.AllGather(3, 9, func(int) {}); err != broken || !slices.Equal(released, []int{9}) {
		t.Errorf("%v, released %v", err, released)
	}
}

// node is one of some nodes with lanes between all of them, in both directions.
type node struct {
	in  []*transport.Receiver
	out []*transport.Sender
}

func nodes(t *testing.T, n int) []*node {
	t.Helper()
	key := transport.LaneKey{Model: 1, Purpose: transport.Hidden}
	var es []*transport.Endpoint
	for i := range n {
		e, err := transport.Listen("127.0.0.1:0", transport.Config{Cluster: "test", Node: fmt.Sprint("n", i), Logger: slog.New(slog.NewTextHandler(io.Discard, nil))})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { e.Close() })
		es = append(es, e)
	}
	ns := make([]*node, n)
	for i, e := range es {
		ns[i] = &node{in: make([]*transport.Receiver, n), out: make([]*transport.Sender, n)}
		for j := range n {
			e.SetPeer(fmt.Sprint("n", j), es[j].Addr())
			var err error
			if ns[i].in[j], err = e.Receiver(fmt.Sprint("n", j), key, 100); err != nil {
				t.Fatal(err)
			}
		}
	}
	for i, e := range es {
		for j := range n {
			var err error
			if ns[i].out[j], err = e.Sender(fmt.Sprint("n", j), key, 100); err != nil {
				t.Fatal(err)
			}
		}
	}
	return ns
}

func (n *node) send(to int, text string) error {
	return n.out[to].Send(time.Now().Add(20*time.Second), []byte(text))
}

func (n *node) take(from int) (string, error) {
	m, err := n.in[from].Receive(time.Now().Add(20 * time.Second))
	if err != nil {
		return "", err
	}
	defer m.Release()
	return string(m.Bytes), nil
}

// Six nodes are a pipeline of three stages, each a ring of two: the two share what they have, and hand
// over to the two of the next stage.
func TestAPipelineOfRings(t *testing.T) {
	const stages, width = 3, 2
	ns := nodes(t, stages*width)
	results := make([]string, width)
	var wg sync.WaitGroup
	for self, n := range ns {
		wg.Go(func() {
			stage, place := self/width, self%width
			ring, err := topology.NewGroup(self, stage*width, stage*width+1)
			if err != nil {
				t.Error(err)
				return
			}
			b := topology.NewBelt(func(s string) error { return n.send(ring.Next(), s) },
				func() (string, error) { return n.take(ring.Prev()) }, func(string) {})
			defer b.Close()
			mine := fmt.Sprint(place)
			if stage > 0 {
				if mine, err = n.take(self - width); err != nil {
					t.Error(err)
					return
				}
			}
			var all string
			if err := b.AllGather(ring.Len(), mine, func(s string) { all += s }); err != nil {
				t.Error(err)
				return
			}
			all = "(" + all + ")"
			if stage == stages-1 {
				results[place] = all
			} else if err := n.send(self+width, all); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if want := []string{"(((01)(10))((10)(01)))", "(((10)(01))((01)(10)))"}; !slices.Equal(results, want) {
		t.Errorf("%q, want %q", results, want)
	}
}
