package actors

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/orrery-ai/orrery/placement"
	"github.com/orrery-ai/orrery/transport"
)

// opening is a sequence that somebody is waiting for.
type opening struct {
	id   uint64
	err  error
	done chan struct{}
}

// opening asks for a sequence. The conductor gets to know of it before of anything that is done afterwards.
func (r *rig) opening(c *Conductor, tokens int) *opening {
	o := &opening{id: c.lastSeq.Add(1), done: make(chan struct{})}
	q := transport.NewQuestion(c.system)
	c.system.Root.RequestWithCustomSender(c.pid, &openSequence{o.id, placement.Pipeline, tokens}, q.PID())
	go func() {
		defer close(o.done)
		defer q.Close()
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		_, o.err = transport.Answer[*sequenceReady](ctx, q)
	}()
	return o
}

func (o *opening) isOpen() bool {
	select {
	case <-o.done:
		return o.err == nil
	default:
		return false
	}
}

func (r *rig) wait(o *opening) {
	r.Helper()
	select {
	case <-o.done:
	case <-time.After(patience):
		r.Fatal("a sequence was neither opened nor refused")
	}
}

func TestSequencesBeyondTheMemoryWaitAndGoOnInOrder(t *testing.T) {
	r := newRig(t, 2)
	s := r.spec(placement.Pipeline)
	s.MaxWaiting = 2
	c := r.load(s)
	first, second := r.sequence(c, placement.Pipeline), r.sequence(c, placement.Pooled)
	third := r.opening(c, 256)
	fourth := r.opening(c, 1)
	_, err := c.Open(r.context(), placement.Pipeline, 256)
	var full *AdmissionError
	if !errors.As(err, &full) {
		t.Fatalf("a fifth: %v", err)
	}
	if full.Open != 2 || full.Waiting != 2 || full.FreeTokens != 0 || full.Tokens != 256 || full.Waited != 0 {
		t.Errorf("%+v", full)
	}
	for _, want := range []string{"256 tokens", "KV cache for 0 is free", "2 sequences are open", "2 wait"} {
		if !strings.Contains(full.Error(), want) {
			t.Errorf("%q does not say %q", full, want)
		}
	}
	c.CloseSequence(first)
	r.wait(third)
	if third.err != nil || fourth.isOpen() { // nobody overtakes, and now nothing is left
		t.Fatalf("the third: %v; the fourth is open: %v", third.err, fourth.isOpen())
	}
	r.generate(c, third.id, Job{IDs: prompt(9), MaxTokens: 2})
	c.CloseSequence(second)
	r.wait(fourth)
	if fourth.err != nil {
		t.Fatal(fourth.err)
	}
}

func TestWhoGivesUpWaitingLeavesItsPlace(t *testing.T) {
	r := newRig(t, 2)
	s := r.spec(placement.Pipeline)
	s.MaxWaiting = 1
	c := r.load(s)
	first := r.sequence(c, placement.Pipeline)
	r.sequence(c, placement.Pipeline)
	for range 3 { // the queue has one place: the next finds it free
		enough := errors.New("enough")
		ctx, cancel := context.WithTimeoutCause(context.Background(), 20*time.Millisecond, enough)
		if _, err := c.Open(ctx, placement.Pipeline, 256); err != enough {
			t.Fatalf("it ended with %v", err)
		}
		cancel()
	}
	next := r.opening(c, 256)
	c.CloseSequence(first)
	if r.wait(next); next.err != nil {
		t.Fatal(next.err)
	}
	for range 5 { // who does not even begin to wait leaves nothing either
		ended, cancel := context.WithCancel(context.Background())
		cancel()
		if _, err := c.Open(ended, placement.Pipeline, 256); err == nil {
			t.Error("opened for nobody")
		}
	}
	c.CloseSequence(next.id)
	r.sequence(c, placement.Pipeline)
}

func TestNobodyWaitsForEver(t *testing.T) {
	r := newRig(t, 1)
	s := r.spec(placement.Pipeline)
	s.MaxWaiting, s.WaitTimeout = 1, time.Millisecond
	c := r.load(s)
	r.sequence(c, placement.Pipeline)
	r.sequence(c, placement.Pipeline)
	_, err := c.Open(r.context(), placement.Pipeline, 256)
	var e *AdmissionError
	if !errors.As(err, &e) || e.Waited <= 0 || e.Open != 2 || e.Waiting != 0 || !strings.Contains(e.Error(), "after") {
		t.Errorf("%v", err)
	}
}

func TestALostNodeAnswersWhoeverWaits(t *testing.T) {
	r := newRig(t, 2)
	s := r.spec(placement.Pipeline)
	s.MaxWaiting = 1
	c := r.load(s)
	r.sequence(c, placement.Pipeline)
	r.sequence(c, placement.Pipeline)
	waiting := r.opening(c, 256)
	c.NodeLost("n1", errors.New("it left"))
	var lost *NodeLostError
	if r.wait(waiting); !errors.As(waiting.err, &lost) {
		t.Errorf("it ended with %v", waiting.err)
	}
}

func TestAShorterContextTakesLessOfThePromise(t *testing.T) {
	r := newRig(t, 2)
	s := r.spec(placement.Pipeline)
	c := r.load(s)
	open := 0
	var full *AdmissionError
	for ; full == nil; open++ {
		if _, err := c.Open(r.context(), placement.Pooled, 40); err != nil && !errors.As(err, &full) {
			t.Fatal(err)
		}
	}
	if open -= 1; open < 8 || full.Open != open || full.FreeTokens >= 40 {
		t.Errorf("%d sequences of 40 tokens where 2 of 256 fit, and then: %v", open, full)
	}
	if full.FreeTokens > 0 {
		id, err := c.Open(r.context(), placement.Pipeline, full.FreeTokens)
		if err != nil {
			t.Fatalf("%d tokens were said to be free: %v", full.FreeTokens, err)
		}
		var beyond *ContextError
		if _, err := c.Start(r.context(), id, Job{IDs: prompt(full.FreeTokens + 1)}); !errors.As(err, &beyond) || beyond.Context != full.FreeTokens {
			t.Errorf("a prompt beyond its own context: %v", err)
		}
	}
	for _, tokens := range []int{0, -1, 257} {
		if _, err := c.Open(r.context(), placement.Pipeline, tokens); err == nil || !strings.Contains(err.Error(), "256") {
			t.Errorf("a context of %d: %v", tokens, err)
		}
	}
}

// Nodes have exactly what they promised, and not a byte more. As many sequences as are admitted, of different
// lengths and in all modes, go to their full context at the same time, and switch on the way.
func TestWhoeverIsAdmittedComesToItsFullContext(t *testing.T) {
	for _, nodes := range []int{1, 2, 3} {
		t.Run(fmt.Sprint(nodes), func(t *testing.T) {
			r := newRig(t, nodes)
			s := r.spec(placement.Ring)
			r.keep(&s, 3)
			for i := range s.Memory {
				s.Memory[i].Fixed = 1<<30 - s.Memory[i].KV
			}
			c := r.load(s)
			limits := []int{256, 50, 131, 256, 77, 19, 8, 33, 4, 4}
			ids := prompt(256)
			want := alone(t, ids[:4], 200)
			var wg sync.WaitGroup
			opened := 0
			for i, limit := range limits {
				mode := modes[i%3]
				id, err := c.Open(r.context(), mode, limit)
				if err != nil {
					var full *AdmissionError
					if !errors.As(err, &full) || full.FreeTokens >= limit {
						t.Fatal(err)
					}
					continue
				}
				opened++
				fed := 4
				if i%2 == 0 {
					fed = max(4, limit/2)
				}
				run := r.start(c, id, Job{IDs: ids[:min(fed, limit-1)], MaxTokens: limit,
					SwitchAt: []SwitchAt{{limit / 8, modes[(i+1)%3]}, {limit / 4, modes[(i+2)%3]}, {limit * 2 / 5, mode}}})
				wg.Go(func() {
					tokens, switches, err := r.drain(run)
					for _, sw := range switches {
						if sw.Err != nil && !strings.Contains(sw.Err.Error(), "memory is full") {
							t.Errorf("sequence %d: %v", i, sw.Err)
						}
					}
					if err != nil {
						t.Errorf("sequence %d of %d tokens was ended after %d: %v", i, limit, len(tokens), err)
					} else if n := min(fed, limit-1) + len(tokens); n != limit {
						t.Errorf("sequence %d came to %d tokens of %d", i, n, limit)
					} else if fed == 4 && limit > 4 && limit <= 200 {
						same(t, fmt.Sprintf("sequence %d", i), tokens, want[:len(tokens)])
					}
				})
			}
			wg.Wait()
			if opened < 5 {
				t.Errorf("%d sequences were admitted", opened)
			}
		})
	}
}

func TestASwitchBorrowsWhatItNeedsAndPaysItBack(t *testing.T) {
	r := newRig(t, 2)
	c := r.load(r.spec(placement.Ring))
	promised := r.stats(0).PromisedBytes
	id, err := c.Open(r.context(), placement.Pipeline, 100)
	if err != nil {
		t.Fatal(err)
	}
	r.generate(c, id, Job{IDs: prompt(95), MaxTokens: 1})
	if _, err := c.Switch(r.context(), id, placement.Pooled); err != nil {
		t.Fatal(err)
	}
	r.eventually("what was lent is paid back", func() bool { return r.stats(0).PromisedBytes == promised })
	r.generate(c, id, Job{MaxTokens: 2})
	c.CloseSequence(id)
	r.eventually("the memory is free again", func() bool { return r.kvBytes() == 0 && r.stats(0).PromisedBytes == promised })
}

func TestASwitchForWhichThereIsNoMemoryLeavesEverythingAsItWas(t *testing.T) {
	ids := prompt(90)
	want := alone(t, ids, 9)
	r := newRig(t, 2)
	s := r.spec(placement.Ring)
	s.Memory[1].Fixed = 1<<30 - s.Memory[1].KV // nothing is left to lend
	c := r.load(s)
	id, err := c.Open(r.context(), placement.Pipeline, 100)
	if err != nil {
		t.Fatal(err)
	}
	run := r.start(c, id, Job{IDs: ids, MaxTokens: 9, SwitchAt: []SwitchAt{{2, placement.Pooled}, {4, placement.Ring}}})
	got, switches, err := r.drain(run)
	if err != nil {
		t.Fatal(err)
	}
	same(t, "in spite of failed switches", got, want)
	if len(switches) != 2 {
		t.Fatalf("%d reports of two switches", len(switches))
	}
	for _, sw := range switches {
		if sw.Err == nil || sw.From != placement.Pipeline || !strings.Contains(sw.Err.Error(), "memory is full") || !strings.Contains(sw.Err.Error(), "n1") {
			t.Errorf("%+v", sw)
		}
	}
	r.eventually("what was lent for them is paid back", func() bool { return r.stats(0).PromisedBytes == s.Memory[0].Fixed+s.Memory[0].KV })
}
