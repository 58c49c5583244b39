package verbs

import (
	"math/rand/v2"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/orrery-ai/orrery/internal/standin"
)

// listening makes an end's events something to look for without waiting, until the end of the test.
func listening(t testing.TB, e *end) {
	t.Helper()
	file := must[*os.File](t)(e.channel.File())
	t.Cleanup(func() { file.Close() })
}

// events takes all events, and says how many.
func (e *end) events(t testing.TB) (n int) {
	t.Helper()
	for must[bool](t)(e.channel.Event()) {
		n++
	}
	return n
}

// The ends meet as in Dekker's algorithm: one writes the message and then looks for a request, the other writes
// the request and then looks for a message. One of them has to see what the other wrote. The larger the message,
// the longer a processor can keep the last of its writes to itself.
func TestAMessageThatRacesWithNotifyIsPolledOrMakesAnEvent(t *testing.T) {
	f := standin.Start(t)
	ctx, pd := open(t, f)
	a, b := connected(t, ctx, pd)
	listening(t, b)
	const rounds = 10_000
	var begun, sent atomic.Int32
	until := func(n *atomic.Int32, i int32) {
		for n.Load() < i {
			runtime.Gosched()
		}
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for i := range int32(rounds) {
			if until(&begun, i+1); begun.Load() > rounds {
				return // the test has failed
			}
			if err := a.pair.PostSend(1, a.address, room, a.mr.LKey); err != nil {
				t.Error(err)
			}
			if done, err := a.queue.Poll(); len(done) != 1 || done[0].Status != Success {
				t.Errorf("the send completes as %+v, %v", done, err)
			}
			sent.Store(i + 1)
		}
	})
	defer wg.Wait()
	defer begun.Store(rounds + 1)
	for i := range int32(rounds) {
		b.post(t, 1)
		begun.Store(i + 1)
		for from, d := time.Now(), rand.N(20*time.Microsecond); time.Since(from) < d; { // the send is under way
		}
		if err := b.queue.Notify(true); err != nil {
			t.Fatal(err)
		}
		polled := len(must[[]Completion](t)(b.queue.Poll()))
		until(&sent, i+1)
		if b.events(t) == 0 && polled == 0 {
			t.Fatalf("message %d of %d came after the poll, and made no event", i, rounds)
		}
		if polled == 0 {
			must[[]Completion](t)(b.queue.Poll())
		}
	}
}

func TestARequestForEveryCompletionIsNotWeakenedByALaterOne(t *testing.T) {
	f := standin.Start(t)
	ctx, pd := open(t, f)
	for _, c := range []struct {
		what     string
		requests []bool // each for solicited messages only?
		want     int
	}{
		{"none", nil, 0},
		{"messages", []bool{true}, 0},
		{"everything", []bool{false}, 1},
		{"messages, then everything", []bool{true, false}, 1},
		{"everything, then messages", []bool{false, true}, 1},
	} {
		a, b := connected(t, ctx, pd)
		listening(t, a)
		for _, solicited := range c.requests {
			if err := a.queue.Notify(solicited); err != nil {
				t.Fatal(err)
			}
		}
		b.post(t, 1)
		if err := a.pair.PostSend(1, a.address, 1, a.mr.LKey); err != nil {
			t.Fatal(err)
		}
		if n := a.events(t); n != c.want {
			t.Errorf("asked for %s: a send that is done makes %d events, want %d", c.what, n, c.want)
		}
	}
}
