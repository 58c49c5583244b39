package kvcache

import "testing"

// gone checks that nothing is taken from the budget, which is so only when nothing is mapped.
func gone(t *testing.T, b *Budget) {
	t.Helper()
	if n := b.Used(); n != 0 {
		t.Errorf("%d bytes are used by nobody", n)
	}
}

func TestAPartInUseStaysWhenTheBlockGoes(t *testing.T) {
	b := NewBudget(1 << 20)
	s := newSequence(t, 0, b, alone(1, small.Layers, 0))
	grow(t, s, span(0, small.Layers), 0, 0, 4)
	parts, err := s.Parts(rect(1, 3, 0, 4))
	if err != nil || len(parts) != 1 || parts[0].Layers != span(1, 3) {
		t.Fatal(parts, err)
	}
	if !parts[0].Use() {
		t.Fatal("a block that is there cannot be used")
	}
	takeUp(t, s, split(2, 0, 0), 0)
	s.Retire(2)
	s.Release()
	for l := 1; l < 3; l++ {
		if kv := parts[0].Layer(l); kv.Len != 4 || !intact(small, kv, l, 3) {
			t.Errorf("layer %d has gone", l)
		}
	}
	if got, want := b.Used(), small.bytesOf(2, 4); got != want {
		t.Errorf("%d bytes are used, two layers are %d", got, want)
	}
	parts[0].Release()
	gone(t, b)
	if parts[0].Use() {
		t.Error("what is gone can be used")
	}
}

func TestAPartOfWhichALayerIsGoneIsNotUsed(t *testing.T) {
	b := NewBudget(1 << 20)
	s := newSequence(t, 0, b, alone(1, small.Layers, 0))
	grow(t, s, span(0, small.Layers), 0, 0, 4)
	parts, err := s.Parts(rect(0, 4, 0, 4))
	if err != nil || len(parts) != 1 {
		t.Fatal(parts, err)
	}
	s.blocks[0].release(2)
	if parts[0].Use() {
		t.Fatal("a layer is gone, and the part can be used")
	}
	s.Release()
	gone(t, b)
}

func TestATableInUseStaysWhenTheSequenceGoes(t *testing.T) {
	b := NewBudget(1 << 20)
	s := newSequence(t, 0, b, alone(1, small.Layers, 0))
	grow(t, s, span(0, small.Layers), 0, 0, 8)
	takeUp(t, s, alone(2, small.Layers, 8), 0)
	tab := s.Use(2)
	s.Release()
	if s.Use(2) != nil {
		t.Error("a sequence that was closed shows a table")
	}
	for l := range small.Layers {
		wantHeld(t, tab, l, 0, 8)
	}
	if got, want := b.Used(), small.bytesOf(4, 8); got != want {
		t.Errorf("%d bytes are used, not %d", got, want)
	}
	tab.Release()
	gone(t, b)
}

func TestAStepGoesOnWhenTheSequenceGoes(t *testing.T) {
	b := NewBudget(1 << 20)
	s := newSequence(t, 0, b, alone(1, small.Layers, 0))
	grow(t, s, span(0, small.Layers), 0, 0, 3)
	var st Step
	if err := st.Begin(s, span(0, small.Layers), 0, 3, 3); err != nil {
		t.Fatal(err)
	}
	s.Release()
	st.store(small)
	for l := range small.Layers {
		for _, kv := range st.AppendTail(nil, l) {
			for tok := kv.First; tok < kv.End(); tok++ {
				if !intact(small, &kv, l, tok) {
					t.Errorf("layer %d token %d is not what was written", l, tok)
				}
			}
		}
	}
	st.Release()
	gone(t, b)
}

func TestALayerThatIsReleasedGivesItsBytesBackAndTheOthersStay(t *testing.T) {
	b := NewBudget(1 << 20)
	s := newSequence(t, 0, b, alone(1, small.Layers, 0))
	grow(t, s, span(0, small.Layers), 0, 0, 4)
	s.blocks[0].release(1)
	s.blocks[0].release(1)
	if got, want := b.Used(), small.bytesOf(3, 4); got != want {
		t.Errorf("%d bytes are used, three layers are %d", got, want)
	}
	for _, l := range []int{0, 2, 3} {
		if !intact(small, s.blocks[0].Layer(l), l, 3) {
			t.Errorf("layer %d is not what was written", l)
		}
	}
	s.Release()
	gone(t, b)
}
