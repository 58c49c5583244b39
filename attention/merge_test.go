package attention

import (
	"math"
	"math/rand/v2"
	"testing"

	"pgregory.net/rapid"
)

func TestMergeIsExactForAnyPartition(t *testing.T) {
	s := Shape{Heads: 4, KVHeads: 2, HeadDim: 16, Scale: 0.25}
	r := rand.New(rand.NewPCG(1, 1))
	seq := newSequence(r, s, 0, 120)
	rapid.Check(t, func(t *rapid.T) {
		rows := rapid.SampledFrom([]int{1, 3, 20}).Draw(t, "rows")
		first := rapid.IntRange(0, 130).Draw(t, "first")
		parts := rapid.IntRange(1, 6).Draw(t, "parts")
		q := random(r, rows*s.Heads*s.HeadDim)
		holders := make([]Partial, parts)
		for i := range holders {
			holders[i] = NewPartial(rows, s)
		}
		var f Flash
		for at := 0; at < seq.tokens; {
			n := min(seq.tokens-at, rapid.IntRange(0, 50).Draw(t, "length"))
			attend(&f, holders[rapid.IntRange(0, parts-1).Draw(t, "holder")], q, first, s, []KV{seq.block(at, at+n, 1)})
			at += n
		}
		for len(holders) > 1 { // in any grouping
			i := rapid.IntRange(0, len(holders)-2).Draw(t, "merge")
			Merge(holders[i], holders[i+1])
			holders = append(holders[:i+1], holders[i+2:]...)
		}
		width := s.Heads * s.HeadDim
		got := make([]float32, rows*width)
		Finish(got, holders[0])
		for row := range rows {
			want := seq.exact(q[row*width:(row+1)*width], first+row)
			for i, w := range want {
				if g := float64(got[row*width+i]); !(math.Abs(g-w) <= 3e-6*(1+math.Abs(w))) {
					t.Fatalf("row %d element %d is %v, want %v", row, i, g, w)
				}
			}
		}
	})
}

func TestTheEmptyPartIsNeutral(t *testing.T) {
	s := Shape{Heads: 2, KVHeads: 1, HeadDim: 8, Scale: 1}
	full := func() Partial {
		p := NewPartial(1, s)
		for i := range p.O {
			p.O[i] = float32(i) - 3
		}
		p.M[0], p.M[1], p.L[0], p.L[1] = 2, -300, 1.5, 7
		return p
	}
	equal := func(what string, got, want Partial) {
		t.Helper()
		for i := range got.O {
			if got.O[i] != want.O[i] || got.M[i/8] != want.M[i/8] || got.L[i/8] != want.L[i/8] {
				t.Fatalf("%s: %+v, want %+v", what, got, want)
			}
		}
	}
	a, b := full(), NewPartial(1, s)
	Merge(a, b)
	equal("full and empty", a, full())
	Merge(b, a)
	equal("empty and full", b, full())
	e := NewPartial(1, s)
	Merge(e, NewPartial(1, s))
	equal("empty and empty", e, NewPartial(1, s))
	out := []float32{9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9}
	Finish(out, e)
	for _, v := range out {
		if v != 0 {
			t.Fatalf("finished empty part: %v", out)
		}
	}
}

func TestMergeOfPartsFarApartKeepsTheLarger(t *testing.T) {
	s := Shape{Heads: 1, KVHeads: 1, HeadDim: 8, Scale: 1}
	a, b := NewPartial(1, s), NewPartial(1, s)
	a.M[0], a.L[0], b.M[0], b.L[0] = -1000, 1, 1000, 1
	for i := range a.O {
		a.O[i], b.O[i] = 5, 7
	}
	Merge(a, b)
	if a.M[0] != 1000 || a.L[0] != 1 || a.O[0] != 7 {
		t.Fatalf("%+v", a)
	}
}

func TestMergeOfDifferentShapesPanics(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Fatal("no panic")
		}
	}()
	Merge(NewPartial(1, Shape{Heads: 2, HeadDim: 8}), NewPartial(2, Shape{Heads: 1, HeadDim: 8}))
}
