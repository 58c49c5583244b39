package gated

import (
	"encoding/binary"
	"errors"
	"flag"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/orrery-ai/orrery/metalkern/gpu"
)

func (b *bench) reach(d time.Duration) error { return b.queue.Reach(time.Now().Add(d)) }

// impatient are queues that give gates up soon, so that steps are split.
var impatient = map[string]Options{
	"bound":                 {Fast: true, Looks: 100, Patience: time.Hour},
	"bound, halts":          {Fast: true, Coherent: true, Halts: true, Looks: 100, Patience: time.Hour},
	"patience, safe":        {Patience: 5 * time.Millisecond},
	"patience, safe, halts": {Coherent: true, Halts: true, Patience: 5 * time.Millisecond},
}

func TestAPartIsRecordedWhileTheOneBeforeAwaitsItsMessage(t *testing.T) {
	inBothWays(t, func(t *testing.T, o Options) {
		b := newBench(t, o)
		b.exchange(0)
		first := b.read()
		b.queue.Fence()
		b.pass(1)
		second := b.read()
		b.queue.Fence()
		if b.queue.Reached() {
			t.Fatal("what awaits a message has run")
		}
		b.send(0, 5)
		b.send(1, 6)
		if err := b.reach(limit); err != nil {
			t.Fatal(err)
		}
		sum, _ := mixed(0, 5, 0)
		b.all(first, sum)
		if err := b.reach(limit); err != nil || !b.queue.Reached() {
			t.Fatal(err)
		}
		sum, _ = mixed(sum, 6, 1)
		b.all(second, sum)
		if len(b.queue.list) != 0 || len(b.queue.flying) != 0 {
			t.Errorf("%d operations are kept, %d batches", len(b.queue.list), len(b.queue.flying))
		}
	})
}

func TestAPartThatFailsEndsThoseBehindItAndTheQueueGoesOn(t *testing.T) {
	inBothWays(t, func(t *testing.T, o Options) {
		b := newBench(t, o)
		b.send(0, 5)
		b.pass(0)
		whole := b.read()
		b.queue.Fence()
		b.pass(1)
		b.queue.Fence()
		if err := b.reach(limit); err != nil {
			t.Fatal(err)
		}
		sum, _ := mixed(0, 5, 0)
		b.all(whole, sum)
		b.pass(2)
		b.queue.Fence()
		cause := errors.New("the peer is gone")
		b.in.Fail(cause)
		for range 2 {
			if err := b.reach(limit); err != cause {
				t.Fatal(err)
			}
		}
		if n := b.out.Words.Done.Load(); n != 1 {
			t.Errorf("%d messages are signalled", n)
		}
		after := b.read()
		b.queue.Fence()
		if err := b.reach(limit); err != nil {
			t.Fatal(err)
		}
		b.all(after, sum)
	})
}

// What lies before a fence is not undone by what fails behind it, even if both failed the same gate's patience.
func TestAPartOutlivesTheFailureOfTheOneBehindIt(t *testing.T) {
	for _, all := range []map[string]Options{ways, impatient} {
		for name, o := range all {
			t.Run(name, func(t *testing.T) {
				b := newBench(t, o)
				b.pass(0)
				got := b.read()
				b.queue.Fence()
				b.pass(1)
				b.queue.Fence()
				cause := errors.New("the peer is gone")
				var other sync.WaitGroup
				other.Go(func() {
					time.Sleep(10 * time.Millisecond)
					b.send(0, 5)
					b.in.Fail(cause)
				})
				if err := b.reach(limit); err != nil {
					t.Fatal(err)
				}
				sum, _ := mixed(0, 5, 0)
				b.all(got, sum)
				if err := b.reach(limit); err != cause {
					t.Fatal(err)
				}
				other.Wait()
			})
		}
	}
}

func TestAPartThatIsPoisonedGoesOnSplitAndTheOneBehindItRunsOnce(t *testing.T) {
	for name, o := range impatient {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, o)
			var want uint32
			var got [][]uint32
			var other sync.WaitGroup
			other.Go(func() {
				for seq := range uint32(6) {
					time.Sleep(10 * time.Millisecond)
					for seq > b.in.Words.Done.Load()+1 {
						time.Sleep(time.Millisecond)
					}
					b.send(seq, 7+seq)
					b.out.SetReady(seq)
				}
			})
			for seq := range uint32(6) {
				b.pass(seq)
				got = append(got, b.read())
				b.queue.Fence()
				if seq == 0 {
					continue
				}
				if err := b.reach(limit); err != nil {
					t.Fatal(err)
				}
				want, _ = mixed(want, 7+seq-1, seq-1)
				b.all(got[seq-1], want)
			}
			if err := b.reach(limit); err != nil {
				t.Fatal(err)
			}
			want, _ = mixed(want, 7+5, 5)
			b.all(got[5], want)
			other.Wait()
		})
	}
}

func TestAWaitEndsAllPartsAndAFenceTooManyIsAnError(t *testing.T) {
	b := newBench(t, ways["fast"])
	b.send(0, 5)
	b.pass(0)
	first := b.read()
	b.queue.Fence()
	second := b.read()
	if err := b.wait(limit); err != nil {
		t.Fatal(err)
	}
	sum, _ := mixed(0, 5, 0)
	b.all(first, sum)
	b.all(second, sum)
	if !b.queue.Reached() {
		t.Error("what was waited for has not been reached")
	}
	if err := b.reach(limit); err != nil {
		t.Fatal(err)
	}
	for range gpu.MostFences + 1 {
		b.queue.Fence()
	}
	if err := b.reach(limit); err == nil {
		t.Error("there may be any number of fences")
	}
	_ = b.reach(limit)
}

func TestAPartEndsAtItsDeadline(t *testing.T) {
	inBothWays(t, func(t *testing.T, o Options) {
		b := newBench(t, o)
		b.pass(0)
		b.queue.Fence()
		if err := b.reach(50 * time.Millisecond); !errors.As(err, new(*gpu.TimeoutError)) {
			t.Fatal(err)
		}
		b.send(0, 5)
		b.pass(0)
		got := b.read()
		b.queue.Fence()
		if err := b.reach(limit); err != nil {
			t.Fatal(err)
		}
		sum, _ := mixed(0, 5, 1)
		b.all(got, sum)
	})
}

// However steps are cut into parts, some of them waited for together, results are those of the messages in order.
func TestAnyPartsGiveTheSameResult(t *testing.T) {
	if err := flag.Set("rapid.checks", "20"); err != nil { // each takes tens of milliseconds
		t.Fatal(err)
	}
	rapid.Check(t, func(t *rapid.T) {
		o := drawnOptions(t)
		steps := rapid.SliceOfN(rapid.IntRange(0, 3), 2, 7).Draw(t, "messages of each part")
		naps := rapid.SliceOfN(rapid.IntRange(0, 3), 16, 16).Draw(t, "naps")
		b := newBench(t, o)
		total := uint32(0)
		for _, n := range steps {
			total += uint32(n)
		}
		var other sync.WaitGroup
		var wrong atomic.Uint32
		other.Go(func() {
			var sum, read uint32
			for seq := uint32(0); read < total; {
				time.Sleep(time.Duration(naps[(seq+read)%16]) * 200 * time.Microsecond)
				if seq < total && seq < b.in.Words.Done.Load()+2 {
					b.send(seq, seq*seq)
					seq++
				}
				for ; read != b.out.Words.Done.Load(); read++ {
					var answer uint32
					sum, answer = mixed(sum, read*read, read)
					if binary.LittleEndian.Uint32(b.out.Slots[read%2][4*(words-1):]) != answer {
						wrong.Add(1)
					}
					b.out.SetReady(read + 1)
				}
			}
		})
		type result struct {
			got  []uint32
			want uint32
		}
		var open []result
		seq, sum := uint32(0), uint32(0)
		reach := func() {
			if err := b.reach(limit); err != nil {
				t.Fatal(err)
			}
			b.all(open[0].got, open[0].want)
			open = open[1:]
		}
		for _, n := range steps {
			for range n {
				if rapid.Bool().Draw(t, "passed") {
					b.pass(seq)
				} else {
					b.exchange(seq)
				}
				sum, _ = mixed(sum, seq*seq, seq)
				seq++
			}
			r := result{b.read(), sum}
			if rapid.IntRange(0, 3).Draw(t, "waited for") == 0 {
				if err := b.wait(limit); err != nil {
					t.Fatal(err)
				}
				b.all(r.got, r.want)
				for len(open) > 0 {
					reach()
				}
				continue
			}
			b.queue.Fence()
			open = append(open, r)
			for len(open) == gpu.MostFences || len(open) > 0 && rapid.Bool().Draw(t, "reached") {
				for rapid.Bool().Draw(t, "asked") {
					b.queue.Reached()
				}
				reach()
			}
		}
		for len(open) > 0 {
			reach()
		}
		other.Wait()
		if wrong.Load() != 0 {
			t.Errorf("%d answers are wrong", wrong.Load())
		}
	})
}
