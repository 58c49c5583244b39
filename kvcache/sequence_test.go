package kvcache

import (
	"errors"
	"sync"
	"testing"

	"github.com/orrery-ai/orrery/attention"
	"github.com/orrery-ai/orrery/placement"
	"github.com/orrery-ai/orrery/residence"
)

// split is an epoch in which node 0 owns the layers, and the tokens before covered are of node 0 up to at,
// and of node 1 from there on.
func split(number uint64, at, covered int) *residence.Epoch {
	e := &residence.Epoch{Number: number, Mode: placement.Pooled, Owners: []residence.Owner{{Layers: span(0, small.Layers)}}, Covered: covered}
	if at > 0 {
		e.Held = append(e.Held, residence.Holding{Rect: rect(0, small.Layers, 0, at), Node: 0})
	}
	if at < covered {
		e.Held = append(e.Held, residence.Holding{Rect: rect(0, small.Layers, at, covered), Node: 1})
	}
	return e
}

func TestStepsSeeWhatTheyAndEarlierOnesWrote(t *testing.T) {
	for name, steps := range map[string][]int{"tokens": {1, 1, 1, 1, 1, 1}, "chunks": {3, 6, 1, 9}, "all at once": {11}} {
		t.Run(name, func(t *testing.T) {
			b := NewBudget(1 << 20)
			s := newSequence(t, 0, b, alone(1, small.Layers, 0))
			at, opened, sealed := 0, 0, 0
			for _, n := range steps {
				st := grow(t, s, span(0, small.Layers), 0, at, n)
				at += n
				opened += len(st.Opened)
				sealed += len(st.Sealed)
				for l := range small.Layers {
					next := 0
					for _, kv := range st.AppendTail(nil, l) {
						for ; next < kv.End(); next++ {
							if next < kv.First || !intact(small, &kv, l, next) {
								t.Fatalf("layer %d token %d is not what was written", l, next)
							}
						}
					}
					if next != at {
						t.Fatalf("the tail of layer %d ends at %d, not %d", l, next, at)
					}
				}
			}
			if opened != (at+3)/4 || sealed != at/4 {
				t.Errorf("%d blocks opened and %d sealed by %d tokens", opened, sealed, at)
			}
			if want := small.bytesOf(small.Layers, 4*opened); b.Used() != want {
				t.Errorf("%d bytes used, want %d", b.Used(), want)
			}
			s.Release()
			if b.Used() != 0 {
				t.Errorf("%d bytes used after Release", b.Used())
			}
		})
	}
}

func TestABlockIsSealedByTheStepThatFillsItThoughItIsStoredToBeforeTheOneBeforeHasEnded(t *testing.T) {
	s := newSequence(t, 0, NewBudget(1<<20), alone(1, small.Layers, 0))
	defer s.Release()
	var steps [2]Step
	for i, n := range []int{3, 1} { // of a block of 4 tokens
		if err := steps[i].Begin(s, span(0, small.Layers), 0, 3*i, n); err != nil {
			t.Fatal(err)
		}
		steps[i].write(small)
		defer steps[i].Release()
	}
	for i, want := range []int{0, 1} {
		if steps[i].End(); len(steps[i].Sealed) != want {
			t.Errorf("step %d has sealed %d blocks, not %d", i, len(steps[i].Sealed), want)
		}
	}
}

func TestStepsMustContinueWhatIsThere(t *testing.T) {
	s := newSequence(t, 0, NewBudget(1<<20), alone(1, small.Layers, 0))
	grow(t, s, span(0, small.Layers), 0, 0, 6)
	for _, first := range []int{0, 5, 7} {
		if err := new(Step).Begin(s, span(0, small.Layers), 0, first, 1); err == nil {
			t.Errorf("a step from token %d, where 6 is next", first)
		}
	}
	s.Release()
	if err := new(Step).Begin(s, span(0, small.Layers), 0, 6, 1); err == nil {
		t.Error("a step of a sequence that was released")
	}
	if err := carry(s, s, 2, rect(0, 4, 0, 4)); err == nil {
		t.Error("a copy of a sequence that was released")
	}
}

func TestCopiesAreByteIdentical(t *testing.T) {
	for _, tokens := range []int{4, 8, 11, 1} { // whole blocks, and one closed short
		here, there := NewBudget(1<<20), NewBudget(1<<20)
		a := newSequence(t, 0, here, alone(1, small.Layers, 0))
		b := newSequence(t, 1, there, alone(1, small.Layers, 0))
		grow(t, a, span(0, small.Layers), 0, 0, tokens)
		takeUp(t, a, split(2, tokens, tokens), 0)
		takeUp(t, b, split(2, tokens, tokens), 0)
		if err := carry(a, b, 3, rect(0, small.Layers, 0, tokens)); err != nil {
			t.Fatal(err)
		}
		takeUp(t, a, split(4, 0, tokens), 3)
		takeUp(t, b, split(4, 0, tokens), 3)
		for l := range small.Layers {
			wantHeld(t, b.Table(4), l, 0, tokens)
			wantHeld(t, a.Table(2), l, 0, tokens)
		}
		if want := small.bytesOf(small.Layers, tokens); there.Used() != want {
			t.Errorf("%d tokens take %d bytes where they were copied to, want %d", tokens, there.Used(), want)
		}
		a.Retire(4)
		if here.Used() != 0 {
			t.Errorf("%d bytes stay where they were copied from", here.Used())
		}
	}
}

func TestAClosedBlockAndItsContinuationTile(t *testing.T) {
	s := newSequence(t, 0, NewBudget(1<<20), alone(1, small.Layers, 0))
	grow(t, s, span(0, small.Layers), 0, 0, 6)
	_, closed, err := s.TakeUp(alone(2, small.Layers, 6), 0)
	if err != nil || len(closed) != 1 || closed[0].Tokens != span(4, 6) {
		t.Fatalf("closed %v, %v", closed, err)
	}
	st := grow(t, s, span(0, small.Layers), 6, 6, 1)
	if len(st.Opened) != 1 || st.Opened[0].Tokens != span(6, 8) {
		t.Errorf("opened %v, want tokens 6-8", st.Opened)
	}
	grow(t, s, span(0, small.Layers), 6, 7, 3)
	takeUp(t, s, alone(3, small.Layers, 10), 0)
	for l := range small.Layers {
		wantHeld(t, s.Table(3), l, 0, 10)
		wantHeld(t, s.Table(2), l, 0, 6)
	}
}

func TestClosingAtATokenThatIsNotThereIsAnError(t *testing.T) {
	s := newSequence(t, 0, NewBudget(1<<20), alone(1, small.Layers, 0))
	grow(t, s, span(0, small.Layers), 0, 0, 6)
	if _, _, err := s.TakeUp(alone(2, small.Layers, 5), 0); err == nil {
		t.Error("closed before its end")
	}
	if _, _, err := s.TakeUp(alone(3, small.Layers, 7), 0); err == nil {
		t.Error("closed beyond its end")
	}
	if s.Table(2) != nil || s.Table(3) != nil || s.Table(1) == nil {
		t.Error("the epochs that are known have changed")
	}
	grow(t, s, span(0, small.Layers), 0, 6, 2)
}

func TestAnEpochWhoseBlocksAreMissingIsRefused(t *testing.T) {
	b := NewBudget(1 << 20)
	s := newSequence(t, 1, b, alone(1, small.Layers, 0))
	if err := s.Receive(2, span(0, 4), 0, 0, 4, make([]byte, 64), make([]byte, 64)); err != nil {
		t.Fatal(err) // one layer of four
	}
	if arrived, closed, err := s.TakeUp(split(3, 0, 4), 2); err == nil || len(arrived)+len(closed) > 0 {
		t.Errorf("taken up: %v, %v, %v", arrived, closed, err)
	}
	if s.Table(3) != nil || s.Table(1) == nil {
		t.Error("the epochs that are known have changed")
	}
	s.Discard(2)
	if b.Used() != 0 {
		t.Errorf("%d bytes used after the discarding of what had come", b.Used())
	}
}

func TestRetireGivesBackExactlyWhatNobodyUses(t *testing.T) {
	here, there := NewBudget(1<<20), NewBudget(1<<20)
	a := newSequence(t, 0, here, alone(1, small.Layers, 0))
	b := newSequence(t, 1, there, alone(1, small.Layers, 0))
	grow(t, a, span(0, small.Layers), 0, 0, 10)
	if err := carry(a, b, 2, rect(1, 3, 0, 4)); err != nil { // some layers of the first block
		t.Fatal(err)
	}
	e := alone(3, small.Layers, 8)
	e.Held = []residence.Holding{{Rect: rect(0, 1, 0, 8)}, {Rect: rect(1, 3, 0, 4), Node: 1}, {Rect: rect(1, 3, 4, 8)}, {Rect: rect(3, 4, 0, 8)}}
	takeUp(t, a, e, 2)
	takeUp(t, b, e, 2)
	whole := small.bytesOf(small.Layers, 12)
	if here.Used() != whole {
		t.Errorf("%d bytes used before the old epoch is retired, want %d", here.Used(), whole)
	}
	wantHeld(t, b.Table(3), 1, 0, 4)
	if dropped := a.Retire(3); len(dropped) > 0 || here.Used() != whole-small.bytesOf(2, 4) {
		t.Errorf("%d blocks dropped, %d bytes used, want %d", len(dropped), here.Used(), whole-small.bytesOf(2, 4))
	}
	if a.Table(1) != nil {
		t.Error("the retired epoch is still known")
	}
	wantHeld(t, a.Table(3), 0, 0, 8)
	wantHeld(t, a.Table(3), 1, 4, 8)
	wantHeld(t, a.Table(3), 3, 0, 8)

	// What is left of the block on both sides of the gap can move too, and the tail stays.
	if err := carry(a, b, 4, rect(0, 1, 0, 8)); err != nil {
		t.Fatal(err)
	}
	if err := carry(a, b, 4, rect(1, 3, 4, 8)); err != nil {
		t.Fatal(err)
	}
	if err := carry(a, b, 4, rect(3, 4, 0, 8)); err != nil {
		t.Fatal(err)
	}
	if err := carry(a, b, 4, rect(0, 4, 0, 4)); err == nil {
		t.Error("a part that is not here was copied")
	}
	for _, s := range []*Sequence{a, b} {
		takeUp(t, s, split(5, 0, 8), 4)
	}
	if dropped := a.Retire(5); len(dropped) != 2 || here.Used() != small.bytesOf(4, 4) {
		t.Errorf("%d blocks dropped, %d bytes used, want 2 and %d", len(dropped), here.Used(), small.bytesOf(4, 4))
	}
	for l := range small.Layers {
		wantHeld(t, b.Table(5), l, 0, 8)
	}
	b.Retire(5)
	if there.Used() != small.bytesOf(4, 8) {
		t.Errorf("%d bytes used by the copies, want %d", there.Used(), small.bytesOf(4, 8))
	}
}

func TestReleaseGivesBackCopiesThatAreStillArriving(t *testing.T) {
	here, there := NewBudget(1<<20), NewBudget(1<<20)
	a := newSequence(t, 0, here, alone(1, small.Layers, 0))
	b := newSequence(t, 1, there, alone(1, small.Layers, 0))
	grow(t, a, span(0, small.Layers), 0, 0, 8)
	for range 2 { // a repeated copy takes no further memory
		if err := carry(a, b, 2, rect(0, 4, 0, 8)); err != nil {
			t.Fatal(err)
		}
	}
	if there.Used() != small.bytesOf(4, 8) {
		t.Errorf("%d bytes used, want %d", there.Used(), small.bytesOf(4, 8))
	}
	b.Release()
	a.Release()
	if here.Used() != 0 || there.Used() != 0 {
		t.Errorf("%d and %d bytes used after Release", here.Used(), there.Used())
	}
	if err := b.Receive(2, span(0, 4), 0, 0, 4, make([]byte, 64), make([]byte, 64)); err == nil || there.Used() != 0 {
		t.Errorf("a released sequence took a copy: %v, %d bytes", err, there.Used())
	}
}

func TestCopiesOfABatchThatWasGivenUpAreNotKept(t *testing.T) {
	b := NewBudget(1 << 20)
	s := newSequence(t, 1, b, alone(1, small.Layers, 0))
	block := func(batch uint64) error {
		return s.Receive(batch, span(0, 4), 0, 0, 4, make([]byte, 64), make([]byte, 64))
	}
	if err := block(2); err != nil {
		t.Fatal(err)
	}
	s.Discard(2)
	if err := block(2); err == nil || b.Used() != 0 {
		t.Errorf("a late copy was taken in: %v, %d bytes", err, b.Used())
	}
	if err := block(3); err != nil {
		t.Errorf("a copy of the next batch: %v", err)
	}
}

func TestDiscardForgetsAnEpochThatAnotherNodeRefused(t *testing.T) {
	here, there := NewBudget(1<<20), NewBudget(1<<20)
	a := newSequence(t, 0, here, alone(1, small.Layers, 0))
	b := newSequence(t, 1, there, alone(1, small.Layers, 0))
	grow(t, a, span(0, small.Layers), 0, 0, 10)
	for batch := uint64(2); batch < 8; batch += 2 {
		if err := carry(a, b, batch, rect(0, 4, 0, 8)); err != nil {
			t.Fatal(err)
		}
		takeUp(t, b, split(batch+1, 0, 8), batch)
		if dropped := b.Discard(batch); len(dropped) != 2 || there.Used() != 0 || b.Table(batch+1) != nil || b.Table(1) == nil {
			t.Fatalf("try %d: %d blocks dropped, %d bytes used", batch, len(dropped), there.Used())
		}
	}
	if err := carry(a, b, 8, rect(0, 4, 0, 8)); err != nil {
		t.Fatal(err)
	}
	takeUp(t, a, split(9, 0, 8), 8)
	takeUp(t, b, split(9, 0, 8), 8)
	a.Retire(9)
	b.Retire(9)
	if dropped := b.Discard(8); len(dropped) > 0 {
		t.Error("blocks of an epoch that is in force were discarded")
	}
	wantHeld(t, b.Table(9), 2, 0, 8)
}

func TestRetireKeepsOneOfTwoCopies(t *testing.T) {
	there := NewBudget(1 << 20)
	a := newSequence(t, 0, NewBudget(1<<20), alone(1, small.Layers, 0))
	b := newSequence(t, 1, there, alone(1, small.Layers, 0))
	grow(t, a, span(0, small.Layers), 0, 0, 4)
	for i, batch := range []uint64{2, 4} {
		if err := carry(a, b, batch, rect(0, 4, 0, 4)); err != nil {
			t.Fatal(err)
		}
		takeUp(t, b, split(batch+1, 0, 4), batch)
		if want := small.bytesOf(4, 4*(i+1)); there.Used() != want {
			t.Fatalf("%d bytes used, want %d", there.Used(), want)
		}
	}
	if dropped := b.Retire(5); len(dropped) != 1 || there.Used() != small.bytesOf(4, 4) {
		t.Errorf("%d blocks dropped, %d bytes used, want 1 and %d", len(dropped), there.Used(), small.bytesOf(4, 4))
	}
	wantHeld(t, b.Table(5), 3, 0, 4)
}

func TestOpenBlocksAreNotCopied(t *testing.T) {
	s := newSequence(t, 0, NewBudget(1<<20), alone(1, small.Layers, 0))
	grow(t, s, span(0, small.Layers), 0, 0, 6)
	for _, r := range []residence.Rect{rect(0, 4, 4, 8), rect(0, 4, 0, 6), rect(0, 4, 1, 4), rect(0, 4, 4, 6)} {
		if parts, err := s.Parts(r); err == nil {
			t.Errorf("%v: %v", r, parts)
		}
	}
}

func TestAFullBudgetIsAnErrorAndTakesNothing(t *testing.T) {
	b := NewBudget(small.bytesOf(4, 8))
	s := newSequence(t, 0, b, alone(1, small.Layers, 0))
	grow(t, s, span(0, small.Layers), 0, 0, 8)
	var full *FullError
	if err := new(Step).Begin(s, span(0, small.Layers), 0, 8, 1); !errors.As(err, &full) {
		t.Fatalf("a step beyond the budget: %v", err)
	}
	if full.Need != small.bytesOf(4, 4) || full.Free != 0 || full.Limit != small.bytesOf(4, 8) || full.Error() == "" {
		t.Errorf("%+v", full)
	}
	if err := s.Receive(2, span(0, 4), 0, 0, 4, make([]byte, 64), make([]byte, 64)); !errors.As(err, &full) {
		t.Errorf("a copy beyond the budget: %v", err)
	}
	if b.Used() != small.bytesOf(4, 8) {
		t.Errorf("%d bytes used", b.Used())
	}
	takeUp(t, s, alone(3, small.Layers, 8), 0)
	wantHeld(t, s.Table(3), 0, 0, 8)
}

func TestReceiveRefusesWhatDoesNotFit(t *testing.T) {
	b := NewBudget(1 << 20)
	s := newSequence(t, 0, b, alone(1, small.Layers, 0))
	data := make([]byte, 1<<12)
	for name, c := range map[string]struct {
		layers          residence.Span
		layer, first, n int
		k, v            int
	}{
		"no tokens":           {span(0, 4), 0, 0, 0, 0, 0},
		"negative tokens":     {span(0, 4), 0, 0, -4, 0, 0},
		"too many tokens":     {span(0, 4), 0, 0, 5, 80, 80},
		"absurd tokens":       {span(0, 4), 0, 0, 1 << 40, 64, 64},
		"negative first":      {span(0, 4), 0, -4, 4, 64, 64},
		"keys short":          {span(0, 4), 0, 0, 4, 63, 64},
		"keys long":           {span(0, 4), 0, 0, 4, 65, 63},
		"no values":           {span(0, 4), 0, 0, 4, 64, 0},
		"layer of another":    {span(0, 2), 2, 0, 4, 64, 64},
		"layers beyond":       {span(0, 5), 0, 0, 4, 64, 64},
		"absurd layers":       {span(0, 1<<40), 0, 0, 4, 64, 64},
		"negative layers":     {span(-1, 4), 0, 0, 4, 64, 64},
		"layers back to back": {span(2, 2), 2, 0, 4, 64, 64},
	} {
		if err := s.Receive(2, c.layers, c.layer, c.first, c.n, data[:c.k], data[:c.v]); err == nil {
			t.Errorf("%s: taken in", name)
		}
	}
	if b.Used() != 0 {
		t.Errorf("%d bytes used", b.Used())
	}
}

func TestPackLeavesOutTheRoomBehind(t *testing.T) {
	g := small
	kv := attention.KV{Format: g.Format, HeadDim: 4, First: 8, Len: 3, Cap: 4, K: make([]byte, 64), V: make([]byte, 64)}
	for tok := 8; tok < 11; tok++ {
		each(g, &kv, tok, func(stored []byte, head int, value bool) { copy(stored, row(g, 1, tok, head, value)) })
	}
	k, v, err := Pack(g.Memory, &kv, g.Shape)
	if err != nil {
		t.Fatal(err)
	}
	packed := attention.KV{Format: g.Format, HeadDim: 4, First: 8, Len: 3, Cap: 3, K: k, V: v}
	if len(k) != 48 || len(v) != 48 {
		t.Fatalf("%d and %d bytes", len(k), len(v))
	}
	for tok := 8; tok < 11; tok++ {
		if !intact(g, &packed, 1, tok) {
			t.Errorf("token %d is not what was written", tok)
		}
	}
}

func TestTablesCanBeReadWhileEpochsComeAndGo(t *testing.T) {
	b := NewBudget(1 << 20)
	s := newSequence(t, 0, b, alone(1, small.Layers, 0))
	grow(t, s, span(0, small.Layers), 0, 0, 8)
	takeUp(t, s, alone(2, small.Layers, 8), 0)
	var readers sync.WaitGroup
	var dropped int
	stop := make(chan struct{})
	current := make(chan uint64, 1)
	current <- 2
	for range 3 {
		readers.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				e := <-current
				tab := s.Use(e)
				current <- e // it may be retired from here on
				if tab == nil {
					t.Errorf("epoch %d is not known", e)
					return
				}
				wantSome(t, tab)
				tab.Release()
			}
		})
	}
	for e := uint64(3); e < 200; e++ {
		covered := 8 + int(e-3)/4*4
		grow(t, s, span(0, small.Layers), 8, covered+int(e-3)%4, 1)
		takeUp(t, s, handedOver(e, covered-8, covered), 0)
		<-current
		dropped += len(s.Retire(e))
		current <- e
	}
	close(stop)
	readers.Wait()
	if dropped < 40 {
		t.Errorf("%d blocks dropped meanwhile", dropped)
	}
	s.Release()
	if b.Used() != 0 {
		t.Errorf("%d bytes used", b.Used())
	}
}

// handedOver is an epoch in which node 0 owns the layers and has handed the tokens before at to node 1.
func handedOver(number uint64, at, covered int) *residence.Epoch {
	e := split(number, 0, at)
	e.Covered = covered
	e.Held = append(e.Held, residence.Holding{Rect: rect(0, small.Layers, at, covered), Node: 0})
	return e
}

// wantSome checks the first and the last token of a table.
func wantSome(t *testing.T, tab *Table) {
	for l := range small.Layers {
		held := tab.Held(l)
		last := held[len(held)-1]
		if !intact(small, &held[0], l, held[0].First) || !intact(small, &last, l, tab.Epoch.Covered-1) {
			t.Errorf("layer %d is not what was written", l)
		}
	}
}
