package trace

import (
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
)

func recorder(t testing.TB, n int) *Recorder {
	t.Helper()
	r, err := NewRecorder(n)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func span(step uint64) Span { return Span{Begin: Now(), Step: step, Kind: Attend, Peer: Nobody} }

// read reads pages of the given size until nothing is left.
func read(t testing.TB, r *Recorder, from uint64, size int) (spans []Span) {
	t.Helper()
	page := make([]Span, size)
	for {
		n, err := r.Page(from, page)
		if err != nil {
			t.Fatal(err)
		}
		if n == 0 {
			return spans
		}
		spans, from = append(spans, page[:n]...), from+uint64(n)
	}
}

func TestRecordingAllocatesNothing(t *testing.T) {
	r := recorder(t, 1<<12)
	if n := testing.AllocsPerRun(1000, func() {
		s := span(1)
		s.Begin = r.Now()
		r.Add(s)
	}); n != 0 {
		t.Errorf("%v allocations a span", n)
	}
	var none *Recorder
	if n := testing.AllocsPerRun(1000, func() {
		s := span(1)
		s.Begin = none.Now()
		none.Add(s)
	}); n != 0 {
		t.Errorf("%v allocations a span that is not recorded", n)
	}
}

func TestSpansComeOutAsTheyWentInWhateverTheSizeOfPages(t *testing.T) {
	for _, size := range []int{1, 3, 8, 100} {
		r := recorder(t, 8)
		number, from := uint64(0), uint64(0)
		for range 20 {
			for range 5 {
				number++
				r.Add(span(number))
			}
			got := read(t, r, from, size)
			if len(got) != 5 {
				t.Fatalf("pages of %d: %d spans", size, len(got))
			}
			for i, s := range got {
				if s.Step != from+uint64(i)+1 || s.End < s.Begin || s.Kind != Attend {
					t.Errorf("pages of %d: span %d is %+v", size, from+uint64(i), s)
				}
			}
			from += 5
		}
		if r.Dropped() != 0 {
			t.Errorf("%d spans were dropped", r.Dropped())
		}
	}
}

func TestAFullRingKeepsWhatItHasAndCountsTheRest(t *testing.T) {
	r := recorder(t, 5) // rounded up
	for i := range uint64(11) {
		r.Add(span(i))
	}
	if got := read(t, r, 0, 100); len(got) != 8 || got[7].Step != 7 || r.Dropped() != 3 {
		t.Errorf("%d spans, %d dropped", len(got), r.Dropped())
	}
	if r.Add(span(11)); len(read(t, r, 8, 100)) != 1 {
		t.Error("a ring that was read has no room")
	}
}

func TestAPageCanBeReadAgainUntilTheNextIs(t *testing.T) {
	r, page := recorder(t, 8), make([]Span, 2)
	for i := range uint64(6) {
		r.Add(span(i))
	}
	for _, c := range []struct {
		from  uint64
		first uint64
	}{{0, 0}, {0, 0}, {2, 2}, {2, 2}, {4, 4}} {
		if n, err := r.Page(c.from, page); err != nil || n != 2 || page[0].Step != c.first {
			t.Errorf("from %d: %d spans, %v, %+v", c.from, n, err, page[0])
		}
	}
	for _, from := range []uint64{0, 3, 7, 1 << 63} {
		if n, err := r.Page(from, page); err == nil {
			t.Errorf("from %d there are %d spans", from, n)
		}
	}
}

func TestSpansOfManyGoroutinesAllArriveInTheirOrder(t *testing.T) {
	const writers, each = 4, 5000
	r := recorder(t, 64)
	var wg sync.WaitGroup
	done := make(chan struct{})
	for w := range writers {
		wg.Go(func() {
			for i := range uint64(each) {
				r.Add(Span{Begin: Now(), Kind: Attend, Peer: int16(w), Step: i})
			}
		})
	}
	go func() { wg.Wait(); close(done) }()
	next, total, page, from := make([]uint64, writers), uint64(0), make([]Span, 16), uint64(0)
	take := func() int {
		n, err := r.Page(from, page)
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range page[:n] {
			if s.Step < next[s.Peer] || s.End < s.Begin {
				t.Fatalf("writer %d: %+v after %d", s.Peer, s, next[s.Peer])
			}
			next[s.Peer] = s.Step + 1
		}
		from, total = from+uint64(n), total+uint64(n)
		return n
	}
	for running := true; running; {
		select {
		case <-done:
			running = false
		default:
			take()
		}
	}
	for take() > 0 {
	}
	if total+r.Dropped() != writers*each || total == 0 {
		t.Errorf("%d spans came, and %d were dropped, of %d", total, r.Dropped(), writers*each)
	}
}

func TestARecorderWithoutRoomIsRefused(t *testing.T) {
	for _, n := range []int{-1, 0, MaxSpans + 1} {
		if _, err := NewRecorder(n); err == nil {
			t.Errorf("there is a recorder of %d spans", n)
		}
	}
	if RecorderBytes(5) != 8*SlotBytes || RecorderBytes(1) != SlotBytes || RecorderBytes(8) != 8*SlotBytes {
		t.Error(RecorderBytes(5), RecorderBytes(1), RecorderBytes(8))
	}
}

func randomSpans(rng *rand.Rand, n, nodes int) []Span {
	spans := make([]Span, n)
	for i := range spans {
		s := &spans[i]
		s.Begin = 1 + rng.Int64N(1e12)
		s.End = s.Begin + rng.Int64N(1e6)
		s.Seq, s.Step, s.Bytes = rng.Uint64(), rng.Uint64(), rng.Int64()
		s.First, s.Count, s.Layer = rng.Uint32(), rng.Uint32(), rng.Int32N(100)-1
		s.Peer, s.Kind = int16(rng.IntN(nodes+2)-2), Kind(1+rng.IntN(int(numKinds)-1))
	}
	return spans
}

func TestPackedSpansAreTheSame(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	spans := randomSpans(rng, 100, 5)
	got, err := ParseSpans(nil, AppendSpans(nil, spans), 5)
	if err != nil || !slices.Equal(got, spans) {
		t.Errorf("%v, %d spans", err, len(got))
	}
	if b := AppendSpans(nil, spans); len(b) != len(spans)*SpanBytes {
		t.Errorf("%d spans are %d bytes", len(spans), len(b))
	}
}

func TestSpansThatNobodyRecordsAreRefused(t *testing.T) {
	good := randomSpans(rand.New(rand.NewPCG(3, 4)), 1, 3)[0]
	for name, spoil := range map[string]func(s *Span){
		"no kind":          func(s *Span) { s.Kind = 0 },
		"unknown kind":     func(s *Span) { s.Kind = numKinds },
		"backwards":        func(s *Span) { s.End = s.Begin - 1 },
		"before the start": func(s *Span) { s.Begin = 0 },
		"no time at all":   func(s *Span) { s.End = 1<<60 + 1 },
		"unknown peer":     func(s *Span) { s.Peer = 3 },
		"negative peer":    func(s *Span) { s.Peer = -3 },
		"negative layer":   func(s *Span) { s.Layer = -2 },
		"negative bytes":   func(s *Span) { s.Bytes = -1 },
	} {
		s := good
		spoil(&s)
		if _, err := ParseSpans(nil, AppendSpans(nil, []Span{s}), 3); err == nil {
			t.Errorf("%s: %+v was taken", name, s)
		}
	}
	for _, n := range []int{1, SpanBytes - 1, (PageSpans + 1) * SpanBytes} {
		if _, err := ParseSpans(nil, make([]byte, n), 3); err == nil {
			t.Errorf("%d bytes are a page", n)
		}
	}
}

func FuzzParseSpans(f *testing.F) {
	f.Add(AppendSpans(nil, randomSpans(rand.New(rand.NewPCG(5, 6)), 3, 3)), 3)
	f.Add([]byte{1}, 1)
	f.Fuzz(func(t *testing.T, b []byte, nodes int) {
		spans, err := ParseSpans(nil, b, nodes)
		if err == nil && !slices.Equal(AppendSpans(nil, spans), b) {
			t.Errorf("%d spans pack to other bytes", len(spans))
		}
	})
}

func BenchmarkRecording(b *testing.B) {
	r := recorder(b, 1<<12)
	page, from := make([]Span, 1<<11), uint64(0)
	for i := 1; b.Loop(); i++ {
		r.Add(Span{Begin: r.Now(), Kind: Attend, Peer: Nobody})
		if i%len(page) == 0 {
			n, err := r.Page(from, page)
			if err != nil {
				b.Fatal(err)
			}
			from += uint64(n)
		}
	}
}

func BenchmarkNotRecording(b *testing.B) {
	var r *Recorder
	for b.Loop() {
		r.Add(Span{Begin: r.Now(), Kind: Attend, Peer: Nobody})
	}
}
