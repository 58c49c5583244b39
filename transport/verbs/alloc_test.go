//go:build !race

package verbs

import (
	"testing"

	"github.com/orrery-ai/orrery/internal/standin"
)

func TestPostAndPollAllocateNothing(t *testing.T) {
	f := standin.Start(t)
	ctx, pd := open(t, f)
	a, b := connected(t, ctx, pd)
	exchange := func() {
		b.post(t, 1)
		if err := a.pair.PostSend(1, a.address, 64, a.mr.LKey); err != nil {
			t.Fatal(err)
		}
		for _, e := range []*end{a, b} {
			done, err := e.queue.Poll()
			if err != nil || len(done) != 1 || done[0].Status != Success {
				t.Fatal(done, err)
			}
		}
	}
	if n := testing.AllocsPerRun(100, exchange); n > 0 {
		t.Errorf("%v allocations to post a receive and a send, and to poll twice", n)
	}
}
