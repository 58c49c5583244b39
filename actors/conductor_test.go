package actors

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/orrery-ai/orrery/model/modeltest"
	"github.com/orrery-ai/orrery/placement"
	"github.com/orrery-ai/orrery/residence"
)

var modes = []placement.Mode{placement.Pipeline, placement.Pooled, placement.Ring}

func TestEveryModeGivesTheTokensOfOneNode(t *testing.T) {
	ids := prompt(70)
	want := alone(t, ids, 30)
	r := newRig(t, 3)
	c := r.load(r.spec(placement.Pipeline))
	for _, mode := range modes { // ring loads the missing layers first
		seq := r.sequence(c, mode)
		same(t, mode.String(), r.generate(c, seq, Job{IDs: ids, MaxTokens: 30}), want)
		c.CloseSequence(seq)
	}
	seq := r.sequence(c, placement.Pipeline)
	got := r.generate(c, seq, Job{IDs: ids, MaxTokens: 30, SwitchAt: []SwitchAt{{3, placement.Ring}, {9, placement.Pooled}, {15, placement.Pipeline}}})
	same(t, "with switches", got, want)
}

func TestLoadFailsByTheNameOfTheNodeThatCannot(t *testing.T) {
	other := t.TempDir()
	if err := modeltest.Write(other, modeltest.Options{Seed: 1}); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct{ dir, want string }{
		"no model":      {"", "no such model here"},
		"another model": {other, "fingerprint"},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, 3)
			r.refs["n1"] = c.dir
			_, err := Load(r.context(), r.systems[0], r.endpoints[0], r.spec(placement.Pipeline))
			if err == nil || !strings.Contains(err.Error(), "node n1") || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("loaded: %v", err)
			}
			r.eventually("nothing stays loaded", r.nothingLoaded)
			r.mu.Lock()
			delete(r.refs, "n1")
			r.mu.Unlock()
			again := r.load(r.spec(placement.Pipeline))
			r.generate(again, r.sequence(again, placement.Pooled), Job{IDs: prompt(9), MaxTokens: 2})
		})
	}
}

// What was promised to one model is not promised to another, and comes back when the first is closed, at
// once: a load that comes while it is being unloaded waits for that.
func TestWhatIsPromisedToOneModelIsNotPromisedToAnother(t *testing.T) {
	r := newRig(t, 2)
	s := r.spec(placement.Pipeline)
	s.Memory[1].Fixed = 1 << 29 // of 1 GiB
	s.Memory[1].KV += 1 << 28
	first := r.load(s)
	if _, err := Load(r.context(), r.systems[0], r.endpoints[0], s); err == nil || !strings.Contains(err.Error(), "node n1") || !strings.Contains(err.Error(), "promised") {
		t.Fatalf("the second load: %v", err)
	}
	first.Close()
	r.load(s).Close()
	r.load(s)
}

func TestCloseUnloadsEverywhere(t *testing.T) {
	r := newRig(t, 3)
	c := r.load(r.spec(placement.Ring))
	run := r.start(c, r.sequence(c, placement.Ring), Job{IDs: prompt(100), MaxTokens: 100})
	r.next(run)
	c.Close()
	if _, _, err := r.drain(run); err == nil {
		t.Error("a generation outlived its model")
	}
	r.eventually("nothing stays loaded", r.nothingLoaded)
	if _, err := c.Open(r.context(), placement.Ring, 256); err == nil {
		t.Error("a sequence of a model that was closed")
	}
}

func TestClosedSequencesGiveTheirMemoryBack(t *testing.T) {
	r := newRig(t, 3)
	c := r.load(r.spec(placement.Ring))
	for _, mode := range modes {
		seq := r.sequence(c, mode)
		r.generate(c, seq, Job{IDs: prompt(60), MaxTokens: 20, SwitchAt: []SwitchAt{{5, placement.Pooled}, {12, placement.Ring}}})
		if r.kvBytes() == 0 {
			t.Error("80 tokens take no memory")
		}
		c.CloseSequence(seq)
		r.eventually("the memory is free again", func() bool { return r.kvBytes() == 0 })
	}
	busy := r.sequence(c, placement.Pooled)
	run := r.start(c, busy, Job{IDs: prompt(60), MaxTokens: 100})
	r.next(run)
	c.CloseSequence(busy)
	if _, _, err := r.drain(run); err == nil {
		t.Error("a job outlived its sequence")
	}
	r.eventually("the memory is free again", func() bool { return r.kvBytes() == 0 })
}

func TestABusySequenceRefusesASecondJob(t *testing.T) {
	r := newRig(t, 2)
	c := r.load(r.spec(placement.Pipeline))
	seq := r.sequence(c, placement.Pipeline)
	var mu sync.Mutex
	rows := 0
	begin, proceed := make(chan bool), make(chan bool)
	var once sync.Once
	run := r.start(c, seq, Job{IDs: prompt(40), Logits: func(first int, logits []float32) error {
		once.Do(func() { begin <- true; <-proceed })
		mu.Lock()
		defer mu.Unlock()
		rows += len(logits) / 256
		return nil
	}})
	<-begin
	for _, j := range []Job{{IDs: prompt(2), MaxTokens: 1}, {IDs: prompt(2), Logits: func(int, []float32) error { return nil }}} {
		if _, err := c.Start(r.context(), seq, j); err == nil || !strings.Contains(err.Error(), "busy") {
			t.Errorf("a second job: %v", err)
		}
	}
	close(proceed)
	if _, _, err := r.drain(run); err != nil {
		t.Fatal(err)
	}
	if mu.Lock(); rows != 40 {
		t.Errorf("the logits of %d tokens of 40 came", rows)
	}
	mu.Unlock()
	if _, err := c.Start(r.context(), seq+9, Job{IDs: prompt(2)}); err == nil {
		t.Error("a job on a sequence that is not open")
	}
	if _, err := c.Start(r.context(), seq, Job{}); err == nil {
		t.Error("a job with nothing to feed")
	}
}

func TestASinkThatFailsEndsItsJob(t *testing.T) {
	r := newRig(t, 2)
	c := r.load(r.spec(placement.Pipeline))
	seq := r.sequence(c, placement.Pipeline)
	full := errors.New("the disk is full")
	if _, _, err := r.drain(r.start(c, seq, Job{IDs: prompt(60), Logits: func(int, []float32) error { return full }})); !errors.Is(err, full) {
		t.Errorf("the job ended with %v", err)
	}
	r.generate(c, seq, Job{IDs: prompt(5), MaxTokens: 3})
}

func TestAPromptBeyondTheContextIsRefused(t *testing.T) {
	r := newRig(t, 1)
	c := r.load(r.spec(placement.Pipeline))
	seq := r.sequence(c, placement.Pipeline)
	var beyond *ContextError
	if _, err := c.Start(r.context(), seq, Job{IDs: prompt(257)}); !errors.As(err, &beyond) || beyond.Tokens != 257 || beyond.Room != 256 || beyond.Error() == "" {
		t.Errorf("%v", err)
	}
	// However many tokens are wanted, the context bounds them.
	if n := len(r.generate(c, seq, Job{IDs: prompt(250), MaxTokens: math.MaxInt})); n != 6 {
		t.Errorf("%d tokens after 250 of 256", n)
	}
}

func TestASessionGoesOnAfterACancelledPrefill(t *testing.T) {
	ids := prompt(200)
	want := alone(t, ids, 10)
	enough := errors.New("enough")
	r := newRig(t, 3)
	c := r.load(r.spec(placement.Ring))
	for _, mode := range modes {
		seq := r.sequence(c, mode)
		run := r.start(c, seq, Job{IDs: ids, MaxTokens: 10})
		e := r.next(run)
		fed := e.Count
		c.Cancel(seq, run, enough)
		for e = r.next(run); e.Kind != Ended; e = r.next(run) {
			fed = e.Count
		}
		if e.Err != enough {
			t.Fatalf("%v: ended with %v", mode, e.Err)
		}
		rest := r.start(c, seq, Job{IDs: ids[fed:], MaxTokens: 10})
		if rest.Base != fed || rest.Feed != len(ids)-fed {
			t.Errorf("%v: goes on from %d with %d tokens, %d were fed", mode, rest.Base, rest.Feed, fed)
		}
		got, _, err := r.drain(rest)
		if err != nil {
			t.Fatal(err)
		}
		same(t, mode.String(), got, want)
		c.CloseSequence(seq)
	}
}

// A token that was given out belongs to the session even if it was not fed yet when the job was cancelled,
// which is so while a switch holds the next step back.
func TestASessionGoesOnAfterACancelledDecode(t *testing.T) {
	ids := prompt(30)
	want := alone(t, ids, 40)
	r := newRig(t, 3)
	c := r.load(r.spec(placement.Ring))
	for i := range 12 {
		mode := modes[i%3]
		seq := r.sequence(c, mode)
		run := r.start(c, seq, Job{IDs: ids, MaxTokens: 40, SwitchAt: []SwitchAt{{i, modes[(i+1)%3]}}})
		var got []int32
		for len(got) <= i {
			if e := r.next(run); e.Kind == Generated {
				got = append(got, e.Token)
			}
		}
		c.Cancel(seq, run, context.Canceled)
		more, _, err := r.drain(run)
		if !errors.Is(err, context.Canceled) {
			t.Fatalf("ended with %v", err)
		}
		got = append(got, more...)
		more, switches, err := r.drain(r.start(c, seq, Job{MaxTokens: 40 - len(got)}))
		if err != nil || len(switches) > 0 {
			t.Fatalf("the next job ended with %v and was told of %d switches", err, len(switches))
		}
		got = append(got, more...)
		same(t, fmt.Sprintf("from %v, cancelled after %d", mode, i), got, want)
		c.CloseSequence(seq)
	}
}

// Where one node computes whole steps the stop token has been fed when it is known to be one, and what follows it been chosen.
func TestAJobGoesOnBehindAStopToken(t *testing.T) {
	ids := prompt(20)
	want := alone(t, ids, 12)
	at := slices.Index(want, want[5]) // its first occurrence
	r := newRig(t, 2)
	c := r.load(r.spec(placement.Ring))
	for _, mode := range modes {
		seq := r.sequence(c, mode)
		upTo := func() {
			same(t, mode.String()+", up to the stop token", r.generate(c, seq, Job{IDs: ids, MaxTokens: 12, Stop: []int32{want[at]}}), want[:at+1])
		}
		upTo()
		same(t, mode.String()+", one after it", r.generate(c, seq, Job{MaxTokens: 1}), want[at+1:at+2])
		same(t, mode.String()+", after that", r.generate(c, seq, Job{MaxTokens: 10 - at}), want[at+2:])
		c.CloseSequence(seq)
		seq = r.sequence(c, mode)
		upTo()
		same(t, mode.String()+", after it", r.generate(c, seq, Job{MaxTokens: 11 - at}), want[at+1:])
		c.CloseSequence(seq)
	}
}

func TestTwoSequencesInDifferentModesDoNotDisturbEachOther(t *testing.T) {
	r := newRig(t, 3)
	c := r.load(r.spec(placement.Ring))
	prompts := [][]int32{prompt(90), prompt(41)[7:]}
	wants := [][]int32{alone(t, prompts[0], 20), alone(t, prompts[1], 20)}
	for i, first := range modes {
		second := modes[(i+1)%3]
		a, b := r.sequence(c, first), r.sequence(c, second)
		runA := r.start(c, a, Job{IDs: prompts[0], MaxTokens: 20, SwitchAt: []SwitchAt{{4, second}}})
		runB := r.start(c, b, Job{IDs: prompts[1], MaxTokens: 20, SwitchAt: []SwitchAt{{9, first}}})
		for j, run := range []*Running{runA, runB} {
			got, _, err := r.drain(run)
			if err != nil {
				t.Fatal(err)
			}
			same(t, fmt.Sprintf("sequence %d of %v and %v", j, first, second), got, wants[j])
		}
		c.CloseSequence(a)
		c.CloseSequence(b)
	}
}

// Between two rounds of one prefill the other sequences have their turn.
func TestALongRingPrefillDoesNotStarveDecoding(t *testing.T) {
	r := newRig(t, 2)
	c := r.load(r.spec(placement.Ring))
	ring, other := r.sequence(c, placement.Ring), r.sequence(c, placement.Pipeline)
	long := r.start(c, ring, Job{IDs: prompt(240), MaxTokens: 1}) // 15 rounds of 16 tokens
	short := r.start(c, other, Job{IDs: prompt(3), MaxTokens: 12})
	var last time.Time // when the whole prompt was read
	for e := range long.Events {
		if e.Kind == Fed && e.Count == 240 {
			last = e.At
		}
	}
	before := 0
	for e := range short.Events {
		if e.Kind == Generated && e.At.Before(last) {
			before++
		}
	}
	if before < 8 {
		t.Errorf("%d of 12 tokens came while the other sequence read its prompt", before)
	}
}

// A round of ring prefill is computed alone. Whoever waits for it, or for one that is about to begin, must
// be let go on when its sequence goes away.
func TestSequencesGoOnWhenTheOneTheyWaitForIsClosed(t *testing.T) {
	r := newRig(t, 3)
	c := r.load(r.spec(placement.Ring))
	for i := range 8 {
		ring, other := r.sequence(c, placement.Ring), r.sequence(c, placement.Pipeline)
		long := r.start(c, ring, Job{IDs: prompt(250), MaxTokens: 1})
		short := r.start(c, other, Job{IDs: prompt(30), MaxTokens: 5})
		for range i {
			r.next(long)
		}
		if i%2 == 0 {
			c.CloseSequence(ring)
		} else {
			c.Cancel(ring, long, context.Canceled)
		}
		if tokens, _, err := r.drain(short); err != nil || len(tokens) != 5 {
			t.Fatalf("%d tokens, %v", len(tokens), err)
		}
		r.drain(long)
		c.CloseSequence(ring)
		c.CloseSequence(other)
	}
}

func TestAModeThatDoesNotFitIsRefusedWithTheReason(t *testing.T) {
	ids := prompt(20)
	want := alone(t, ids, 20)
	r := newRig(t, 2)
	s := r.spec(placement.Pipeline)
	s.Refused[placement.Ring] = "n1 lacks 3 GB"
	c := r.load(s)
	if _, err := c.Open(r.context(), placement.Ring, 256); err == nil || !strings.Contains(err.Error(), "n1 lacks 3 GB") {
		t.Errorf("opened: %v", err)
	}
	seq := r.sequence(c, placement.Pipeline)
	run := r.start(c, seq, Job{IDs: ids, MaxTokens: 20, SwitchAt: []SwitchAt{{2, placement.Ring}, {4, placement.Pooled}}})
	report, err := c.Switch(r.context(), seq, placement.Ring)
	if err == nil || !errors.Is(err, residence.ErrSwitching) && (!strings.Contains(err.Error(), "n1 lacks 3 GB") || report.From == placement.Ring) {
		t.Errorf("switched: %+v, %v", report, err)
	}
	got, switches, err := r.drain(run)
	if err != nil {
		t.Fatal(err)
	}
	same(t, "after a refused switch", got, want)
	if len(switches) != 2 || switches[0].Err == nil || !strings.Contains(switches[0].Err.Error(), "n1 lacks 3 GB") || switches[1].Err != nil || switches[1].From != placement.Pipeline {
		t.Errorf("%+v", switches)
	}
}

func TestALostNodeEndsEverythingWithItsName(t *testing.T) {
	for name, lose := range map[string]func(r *rig, c *Conductor){
		"membership says so": func(r *rig, c *Conductor) { c.NodeLost("n1", errors.New("it left")) },
		"its connections break": func(r *rig, c *Conductor) {
			r.endpoints[0].OnPeerLost(c.NodeLost) // in a cluster that is a hint to membership, which says so then
			r.endpoints[1].Close()
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, 3)
			c := r.load(r.spec(placement.Pooled))
			seq, idle := r.sequence(c, placement.Pooled), r.sequence(c, placement.Pipeline)
			run := r.start(c, seq, Job{IDs: prompt(30), MaxTokens: 200})
			for r.next(run).Kind != Generated {
			}
			c.NodeLost("n9", errors.New("it is not one of ours"))
			lose(r, c)
			_, _, err := r.drain(run)
			var lost *NodeLostError
			if !errors.As(err, &lost) || lost.Node != "n1" || !strings.Contains(err.Error(), "n1") || errors.Unwrap(lost) == nil {
				t.Fatalf("the generation ended with %v", err)
			}
			if !errors.As(c.Broken(), &lost) {
				t.Errorf("the model is broken by %v", c.Broken())
			}
			if _, err := c.Open(r.context(), placement.Pipeline, 256); !errors.As(err, &lost) {
				t.Errorf("opened: %v", err)
			}
			if _, err := c.Start(r.context(), idle, Job{IDs: prompt(2)}); !errors.As(err, &lost) {
				t.Errorf("started: %v", err)
			}
			if _, err := c.Switch(r.context(), idle, placement.Pipeline); !errors.As(err, &lost) {
				t.Errorf("switched: %v", err)
			}
		})
	}
}

func TestANodeUnloadsWhatALostConductorHadLoaded(t *testing.T) {
	r := newRig(t, 2)
	r.load(r.spec(placement.Pipeline))
	r.eventually("it is loaded", func() bool { return r.stats(1).WeightBytes > 0 })
	r.systems[1].Root.Send(r.nodes[1], &PeerGone{Name: "n7"})
	if r.stats(1).WeightBytes == 0 {
		t.Error("unloaded because of another node")
	}
	r.systems[1].Root.Send(r.nodes[1], &PeerGone{Name: "n0"})
	r.eventually("it is unloaded", func() bool { return r.stats(1).WeightBytes == 0 })
}

func TestSwitchesAnswerWhoAsked(t *testing.T) {
	r := newRig(t, 2)
	c := r.load(r.spec(placement.Pipeline))
	seq := r.sequence(c, placement.Pipeline)
	r.generate(c, seq, Job{IDs: prompt(30), MaxTokens: 3})
	for _, mode := range []placement.Mode{placement.Pooled, placement.Ring, placement.Ring, placement.Pipeline} {
		report, err := c.Switch(r.context(), seq, mode)
		if err != nil || report.To != mode || report.Tokens != 32 || report.Err != nil {
			t.Fatalf("%+v, %v", report, err)
		}
		if moved := report.Bytes > 0; moved != (mode == placement.Pooled || mode == placement.Pipeline) {
			t.Errorf("to %v: %d bytes", mode, report.Bytes)
		}
	}
	if _, err := c.Switch(r.context(), seq+7, placement.Ring); err == nil {
		t.Error("switched a sequence that is not open")
	}
}
