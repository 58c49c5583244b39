package actors

import (
	"math"
	"slices"
	"testing"

	"github.com/orrery-ai/orrery/placement"
	"github.com/orrery-ai/orrery/proto"
)

func TestLoadingIsToldAsNodesTellIt(t *testing.T) {
	type told struct {
		node        string
		done, total int64
	}
	var all []told
	r := newRig(t, 2)
	s := r.spec(placement.Pipeline)
	s.OnLoading = func(node string, done, total int64) { all = append(all, told{node, done, total}) }
	c := r.load(s)
	for _, msg := range []*proto.LayersLoading{
		{Node: 1, Done: 5, Total: 9}, {Node: 2, Done: 5, Total: 9}, {Node: 0, Done: 10, Total: 9}, {Node: 0, Done: 1, Total: math.MaxUint64}, {Node: 0, Done: 9, Total: 9},
	} {
		r.systems[0].Root.Send(c.pid, msg)
	}
	r.sequence(c, placement.Pipeline) // which is opened after all of them were taken
	if want := []told{{"n1", 5, 9}, {"n0", 9, 9}}; !slices.Equal(all, want) {
		t.Errorf("%v, want %v", all, want)
	}
}
