package actors

import (
	"errors"
	"math"
	"strings"
	"sync"
	"testing"

	"github.com/orrery-ai/orrery/attention"
	"github.com/orrery-ai/orrery/placement"
	"github.com/orrery-ai/orrery/proto"
)

// filledLogits fills a sequence and feeds ids, a few at once and the others one at a time, with switches to
// other modes in between, and gives the logits of all of them.
func (r *rig) filledLogits(c *Conductor, seq uint64, depth int, ids []int32, to ...placement.Mode) []float32 {
	r.Helper()
	if err := c.Fill(r.context(), seq, depth); err != nil {
		r.Fatal(err)
	}
	vocab := r.model.Config.Vocab
	logits := make([]float32, len(ids)*vocab)
	var mu sync.Mutex
	write := func(first int, rows []float32) error {
		mu.Lock()
		defer mu.Unlock()
		copy(logits[(first-depth)*vocab:], rows)
		return nil
	}
	for part := range len(to) + 1 {
		if part > 0 {
			if _, err := c.Switch(r.context(), seq, to[part-1]); err != nil {
				r.Fatal(err)
			}
		}
		some := ids[part*len(ids)/(len(to)+1) : (part+1)*len(ids)/(len(to)+1)]
		if _, _, err := r.drain(r.start(c, seq, Job{IDs: some, OneByOne: 5, Logits: write})); err != nil {
			r.Fatal(err)
		}
	}
	return logits
}

// What is made up is a function of layer and position, not of who makes it up: one node and three, in every
// mode and across switches, go on from it alike.
func TestAFilledSequenceGoesOnAlikeInEveryMode(t *testing.T) {
	const depth = 101 // 25 blocks and a quarter
	ids := prompt(30)
	one := newRig(t, 1)
	c := one.load(one.spec(placement.Pipeline))
	want := one.filledLogits(c, one.sequence(c, placement.Pipeline), depth, ids)
	seq := one.sequence(c, placement.Pipeline)
	if err := c.Fill(one.context(), seq, depth); err != nil {
		t.Fatal(err)
	}
	tokens := one.generate(c, seq, Job{IDs: ids, MaxTokens: 20})

	r := newRig(t, 3)
	c = r.load(r.spec(placement.Pipeline))
	for _, modes := range [][]placement.Mode{
		{placement.Pipeline}, {placement.Pooled}, {placement.Ring},
		{placement.Pipeline, placement.Pooled, placement.Ring}, {placement.Ring, placement.Pipeline, placement.Pooled},
	} {
		seq := r.sequence(c, modes[0])
		got := r.filledLogits(c, seq, depth, ids, modes[1:]...)
		c.CloseSequence(seq)
		if worst, spread := apart(got, want); !(worst <= 1e-4*spread) {
			t.Errorf("%v: logits differ by %g of their spread", modes, worst/spread)
		}
		seq = r.sequence(c, modes[0])
		if err := c.Fill(r.context(), seq, depth); err != nil {
			t.Fatal(err)
		}
		same(t, modes[0].String(), r.generate(c, seq, Job{IDs: ids, MaxTokens: 20}), tokens)
		c.CloseSequence(seq)
		r.eventually("the memory is free again", func() bool { return r.kvBytes() == 0 })
	}
}

// apart is the largest difference, and the standard deviation.
func apart(got, want []float32) (worst, spread float64) {
	sum, squares := 0.0, 0.0
	for i, w := range want {
		worst = math.Max(worst, math.Abs(float64(got[i])-float64(w)))
		sum += float64(w)
		squares += float64(w) * float64(w)
	}
	n := float64(len(want))
	return worst, math.Sqrt(squares/n - sum/n*sum/n)
}

// The made-up part matters to what follows: a sequence without it, or with one token less, gives others.
func TestWhatIsMadeUpIsAttendedTo(t *testing.T) {
	ids := prompt(30)
	r := newRig(t, 1)
	c := r.load(r.spec(placement.Pipeline))
	want := r.filledLogits(c, r.sequence(c, placement.Pipeline), 64, ids)
	got := r.filledLogits(c, r.sequence(c, placement.Pipeline), 63, ids)
	if worst, spread := apart(got, want); worst < 1e-2*spread {
		t.Errorf("with a token less, logits differ by %g of their spread", worst/spread)
	}
}

func TestFillsFollowEachOtherAndWhatWasComputed(t *testing.T) {
	r := newRig(t, 3)
	c := r.load(r.spec(placement.Pooled))
	seq := r.sequence(c, placement.Pooled)
	token := int64(2 * 2 * 16 * 4) // in a layer: keys and values of 2 heads of 16 singles
	r.generate(c, seq, Job{IDs: prompt(10), MaxTokens: 5})
	for range 2 {
		if err := c.Fill(r.context(), seq, 50); err != nil {
			t.Fatal(err)
		}
		r.generate(c, seq, Job{IDs: prompt(7), MaxTokens: 3})
	}
	// 14, 50, 10, 50 and 10 tokens, one of them chosen and not fed.
	if least := 4 * token * 133; r.kvBytes() < least {
		t.Errorf("%d bytes of KV cache, less than %d", r.kvBytes(), least)
	}
}

func TestFillsThatCannotBeSaySo(t *testing.T) {
	r := newRig(t, 2)
	c := r.load(r.spec(placement.Pipeline))
	seq := r.sequence(c, placement.Pipeline)
	var context *ContextError
	if err := c.Fill(r.context(), seq, 257); !errors.As(err, &context) || context.Room != 256 {
		t.Errorf("beyond the context: %v", err)
	}
	for what, n := range map[string]int{"nothing": 0, "less": -1} {
		if err := c.Fill(r.context(), seq, n); err == nil {
			t.Errorf("%s is filled", what)
		}
	}
	if err := c.Fill(r.context(), seq+1, 5); err == nil {
		t.Error("a sequence that is not open is filled")
	}
	// Somebody else has taken most of a node's memory, against all promises.
	other := sequenceShardPID("n1", c.model, 999)
	epoch := &proto.Epoch{Number: 1, Mode: uint32(placement.Pipeline), Owners: []*proto.Owner{{Layers: &proto.Span{End: 4}}}}
	if _, err := Ask[*proto.SequenceOpened](r.context(), r.systems[0], layerShardPID("n1", c.model), &proto.OpenSequence{Sequence: 999, Epoch: epoch}); err != nil {
		t.Fatal(err)
	}
	r.systems[0].Root.Send(other, &proto.FillParts{Batch: 1, Ids: []uint32{0}, Rects: []*proto.Rect{{Layers: &proto.Span{End: 2}, Tokens: &proto.Span{End: 400}}}})
	took := 2 * 400 * r.model.Config.KVBytesPerToken(attention.F32)
	r.eventually("it has the memory", func() bool { return r.kvBytes() == took })
	if err := c.Fill(r.context(), seq, 200); err == nil || !strings.Contains(err.Error(), "memory is full") {
		t.Errorf("more than there is room for is filled: %v", err)
	}
	// Nothing is left of it, and the sequence goes on.
	r.eventually("the memory is free again", func() bool { return r.kvBytes() == took })
	if err := c.Fill(r.context(), seq, 8); err != nil {
		t.Error(err)
	}
	run := r.start(c, seq, Job{IDs: prompt(3), MaxTokens: 3})
	if _, _, err := r.drain(run); err != nil {
		t.Error(err)
	}
	run = r.start(c, seq, Job{IDs: prompt(3), MaxTokens: 80})
	if err := c.Fill(r.context(), seq, 8); err == nil {
		t.Error("a sequence with a job is filled")
	}
	c.Cancel(seq, run, errors.New("enough"))
	_, _, _ = r.drain(run)
	c.CloseSequence(seq)
}
