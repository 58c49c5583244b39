package attention

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/orrery-ai/orrery/device/cpu/simd"
)

// A sequence is keys and values of consecutive tokens, in head-major order.
type sequence struct {
	shape  Shape
	format Format // of its blocks
	first  int
	tokens int
	k, v   []float32 // [kvHeads][tokens][dim], values that halves hold
}

func newSequence(r *rand.Rand, s Shape, first, tokens int) sequence {
	n := s.KVHeads * tokens * s.HeadDim
	half := func() []float32 {
		x, b := make([]float32, n), make([]byte, 2*n)
		for i := range x {
			x[i] = float32(r.NormFloat64())
		}
		simd.ToF16(b, x)
		simd.FromF16(x, b)
		return x
	}
	return sequence{shape: s, format: F16, first: first, tokens: tokens, k: half(), v: half()}
}

// in is the same sequence in another format. If that is quantized, its values become those that are stored.
func (q sequence) in(f Format) sequence {
	q.format = f
	if f.Quantized() {
		dim := q.shape.HeadDim
		stored := make([]byte, f.PlaneBytes(dim, 1))
		for _, x := range [][]float32{q.k, q.v} {
			for at := 0; at < len(x); at += dim {
				f.layout(dim).Put(stored, 1, 0, x[at:at+dim])
				f.layout(dim).Get(x[at:at+dim], stored, 1, 0)
			}
		}
	}
	return q
}

// block stores the tokens [from, to) in a block with room for more. What holds no data is NaN.
func (q sequence) block(from, to, spare int) KV {
	n, dim := to-from, q.shape.HeadDim
	room := n + spare
	half := q.shape.BlockBytes(q.format, room) / 2
	kv := KV{Format: q.format, HeadDim: dim, First: q.first + from, Len: n, Cap: room, K: make([]byte, half), V: make([]byte, half)}
	for i := range kv.K {
		kv.K[i], kv.V[i] = 0xff, 0xff
	}
	for h := range q.shape.KVHeads {
		for token := range n {
			at := (h*q.tokens + from + token) * dim
			kv.Put(kv.K, h, token, q.k[at:at+dim])
			kv.Put(kv.V, h, token, q.v[at:at+dim])
		}
	}
	return kv
}

// split cuts the sequence into blocks at random places, some of them empty.
func (q sequence) split(r *rand.Rand) []KV {
	var kv []KV
	for at := 0; at < q.tokens; {
		n := min(q.tokens-at, r.IntN(1+r.IntN(300)))
		kv = append(kv, q.block(at, at+n, r.IntN(5)))
		at += n
	}
	return kv
}

// exact is attention in float64: [heads][dim] of a query at a position, nil if it sees nothing.
func (q sequence) exact(query []float32, position int) []float64 {
	s := q.shape
	out := make([]float64, s.Heads*s.HeadDim)
	n := min(q.tokens, position+1-q.first)
	if n <= 0 {
		return nil
	}
	for h := range s.Heads {
		scores := make([]float64, n)
		most := math.Inf(-1)
		at := h / s.Group() * q.tokens
		for j := range n {
			for i := range s.HeadDim {
				scores[j] += float64(query[h*s.HeadDim+i]) * float64(q.k[(at+j)*s.HeadDim+i])
			}
			scores[j] *= float64(s.Scale)
			most = max(most, scores[j])
		}
		sum := 0.0
		o := out[h*s.HeadDim : (h+1)*s.HeadDim]
		for j, score := range scores {
			w := math.Exp(score - most)
			sum += w
			for i := range o {
				o[i] += w * float64(q.v[(at+j)*s.HeadDim+i])
			}
		}
		for i := range o {
			o[i] /= sum
		}
	}
	return out
}

func random(r *rand.Rand, n int) []float32 {
	x := make([]float32, n)
	for i := range x {
		x[i] = float32(r.NormFloat64())
	}
	return x
}

// attend runs every key-value head.
func attend(f *Flash, p Partial, q []float32, first int, s Shape, kv []KV) {
	f.Attend(p, q, first, s, 0, s.KVHeads, kv)
}

// check compares finished attention with float64.
func check(t *testing.T, what string, seq sequence, p Partial, q []float32, first int) {
	t.Helper()
	checkWithin(t, what, seq, p, q, first, 3e-6)
}

// checkWithin is check with a tolerance: large scores carry large rounding errors into the exponential.
func checkWithin(t *testing.T, what string, seq sequence, p Partial, q []float32, first int, tolerance float64) {
	t.Helper()
	width := p.Heads * p.Dim
	got := make([]float32, p.Rows*width)
	Finish(got, p)
	for r := range p.Rows {
		want := seq.exact(q[r*width:(r+1)*width], first+r)
		for i := range width {
			w := 0.0
			if want != nil {
				w = want[i]
			}
			if g := float64(got[r*width+i]); !(math.Abs(g-w) <= tolerance*(1+math.Abs(w))) {
				t.Fatalf("%s: row %d head %d element %d is %v, want %v", what, r, i/p.Dim, i%p.Dim, g, w)
			}
		}
	}
}

func shapes() []Shape {
	var out []Shape
	for group := 1; group <= 8; group++ {
		for _, dim := range [][]int{{16, 64}, {32, 80}}[group%2] {
			out = append(out, Shape{Heads: 2 * group, KVHeads: 2, HeadDim: dim, Scale: float32(1 / math.Sqrt(float64(dim)))})
		}
	}
	return append(out,
		Shape{Heads: 8, KVHeads: 2, HeadDim: 128, Scale: 0.08838835},
		Shape{Heads: 3, KVHeads: 1, HeadDim: 256, Scale: 0.0625},
		Shape{Heads: 4, KVHeads: 1, HeadDim: 96, Scale: 0.1},
		Shape{Heads: 4, KVHeads: 2, HeadDim: 20, Scale: 0.2},
		Shape{Heads: 100, KVHeads: 1, HeadDim: 8, Scale: 0.3})
}

func TestAttendEqualsFloat64ForEveryShapeAndSplit(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	var f Flash // shared, so that what one shape leaves behind must not show in the next
	for _, s := range shapes() {
		for _, rows := range []int{1, 3, 17, 50} {
			base := r.IntN(2) * 1000
			seq := newSequence(r, s, base, 1+r.IntN(150))
			first := base + r.IntN(seq.tokens+10) - 5
			if f := []Format{F16, F32, Q8, Q4}[r.IntN(4)]; f.Check(s.HeadDim) == nil {
				seq = seq.in(f)
			}
			q := random(r, rows*s.Heads*s.HeadDim)
			blocks := seq.split(r)
			p := NewPartial(rows, s)
			attend(&f, p, q, first, s, blocks)
			check(t, fmt.Sprintf("%+v rows %d", s, rows), seq, p, q, first)

			// One block after the other, in any order, into the same partial.
			r.Shuffle(len(blocks), func(i, j int) { blocks[i], blocks[j] = blocks[j], blocks[i] })
			p.Reset()
			for _, block := range blocks {
				attend(&f, p, q, first, s, []KV{block})
			}
			check(t, fmt.Sprintf("%+v rows %d, one by one", s, rows), seq, p, q, first)
		}
	}
}

func TestAttendOverALongContext(t *testing.T) {
	r := rand.New(rand.NewPCG(2, 2))
	s := Shape{Heads: 4, KVHeads: 2, HeadDim: 64, Scale: 0.125}
	seq := newSequence(r, s, 0, 2000)
	var f Flash
	for _, rows := range []int{1, 2, 60} {
		q := random(r, rows*s.Heads*s.HeadDim)
		for i := range q {
			q[i] *= 8 // peaked scores: the running maximum moves
		}
		p := NewPartial(rows, s)
		attend(&f, p, q, 2000-rows, s, seq.split(r))
		checkWithin(t, fmt.Sprint(rows), seq, p, q, 2000-rows, 2e-5)
	}
}

func TestAttendToNothingLeavesTheNeutralElement(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 3))
	s := Shape{Heads: 4, KVHeads: 2, HeadDim: 16, Scale: 0.25}
	seq := newSequence(r, s, 100, 20)
	var f Flash
	for _, rows := range []int{1, 40} {
		q := random(r, rows*s.Heads*s.HeadDim)
		for _, kv := range [][]KV{nil, {seq.block(3, 3, 4)}, {seq.block(0, 20, 0)}} {
			p := NewPartial(rows, s)
			attend(&f, p, q, 20, s, kv) // before every key
			for i := range p.M {
				if !isEmpty(p.M[i]) || p.L[i] != 0 {
					t.Fatalf("m=%v l=%v", p.M[i], p.L[i])
				}
			}
			for _, o := range p.O {
				if o != 0 {
					t.Fatalf("o=%v", o)
				}
			}
		}
	}
}

func TestAttendTouchesOnlyItsHead(t *testing.T) {
	r := rand.New(rand.NewPCG(4, 4))
	s := Shape{Heads: 6, KVHeads: 3, HeadDim: 32, Scale: 0.2}
	seq := newSequence(r, s, 0, 50)
	var f Flash
	for _, rows := range []int{1, 30} {
		p := NewPartial(rows, s)
		f.Attend(p, random(r, rows*s.Heads*s.HeadDim), 40, s, 1, 2, []KV{seq.block(0, 50, 1)})
		for i, m := range p.M {
			if mine := i%6 == 2 || i%6 == 3; mine == isEmpty(m) {
				t.Fatalf("head %d of row %d: m=%v", i%6, i/6, m)
			}
		}
	}
}

func TestHeadsTogetherGiveWhatEachAloneGives(t *testing.T) {
	r := rand.New(rand.NewPCG(13, 14))
	s := Shape{Heads: 8, KVHeads: 4, HeadDim: 64, Scale: 0.125}
	const tokens, first = 700, 650 // some keys are seen by some of the queries, some by none
	for _, format := range []Format{F16, F32, Q8, Q4} {
		kv := newSequence(r, s, 0, tokens).in(format).split(r)
		for _, rows := range []int{1, 3, 20} {
			q := random(r, rows*s.Heads*s.HeadDim)
			var f Flash
			alone, together := NewPartial(rows, s), NewPartial(rows, s)
			for head := range s.KVHeads {
				f.Attend(alone, q, first, s, head, head+1, kv)
			}
			f.Attend(together, q, first, s, 0, 1, kv)
			f.Attend(together, q, first, s, 1, 4, kv)
			if !slices.Equal(together.O, alone.O) || !slices.Equal(together.M, alone.M) || !slices.Equal(together.L, alone.L) {
				t.Fatalf("%v, %d queries: not the same bits", format, rows)
			}
		}
	}
}

func TestSliceOfABlockHoldsItsTokens(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 5))
	s := Shape{Heads: 4, KVHeads: 2, HeadDim: 16, Scale: 0.25}
	for _, format := range []Format{F16, F32, Q8, Q4} {
		seq := newSequence(r, s, 10, 90).in(format)
		whole := seq.block(0, 90, 7)
		var f Flash
		for _, rows := range []int{1, 30} {
			q := random(r, rows*s.Heads*s.HeadDim)
			p := NewPartial(rows, s)
			for at := 0; at < 90; at += 30 {
				third := whole.Slice(at, at+30)
				attend(&f, p, q, 70, s, []KV{third.Slice(0, 7), third.Slice(7, 30)})
			}
			check(t, fmt.Sprintf("thirds in %v", format), seq, p, q, 70)
		}
	}
}

func TestAttendAllocatesNothingOnceWarm(t *testing.T) {
	r := rand.New(rand.NewPCG(6, 6))
	s := Shape{Heads: 4, KVHeads: 2, HeadDim: 64, Scale: 0.125}
	for _, format := range []Format{F16, Q8, Q4} {
		kv := newSequence(r, s, 0, 300).in(format).split(r)
		for _, rows := range []int{1, 100} {
			var f Flash
			q, p := random(r, rows*s.Heads*s.HeadDim), NewPartial(rows, s)
			attend(&f, p, q, 200, s, kv)
			if n := testing.AllocsPerRun(5, func() { attend(&f, p, q, 200, s, kv) }); n != 0 {
				t.Errorf("%d rows in %v: %v allocations", rows, format, n)
			}
		}
	}
}

func TestInfiniteScoresMakeNoNaNElsewhere(t *testing.T) {
	s := Shape{Heads: 1, KVHeads: 1, HeadDim: 16, Scale: 1}
	r := rand.New(rand.NewPCG(7, 7))
	seq := newSequence(r, s, 0, 8)
	kv := seq.block(0, 8, 0)
	for i := range 8 { // every key gives -Inf
		binary.LittleEndian.PutUint16(kv.K[2*i*16:], 0xfc00)
	}
	for _, rows := range []int{1, 20} {
		q, p := make([]float32, rows*16), NewPartial(rows, s)
		for i := range q {
			q[i] = 1
		}
		var f Flash
		attend(&f, p, q, 7, s, []KV{kv})
		for i, o := range p.O {
			if o != 0 || p.L[i/16] != 0 {
				t.Fatalf("o=%v l=%v", o, p.L[i/16])
			}
		}
	}
}

func benchmark(b *testing.B, format Format, s Shape, rows, keys int) {
	r := rand.New(rand.NewPCG(8, 8))
	var kv []KV
	seq := newSequence(r, s, 0, 1024).in(format)
	for at := 0; at < keys; at += 1024 {
		block := seq.block(0, 1024, 0)
		block.First = at
		kv = append(kv, block)
	}
	var f Flash
	q, p := random(r, rows*s.Heads*s.HeadDim), NewPartial(rows, s)
	first := keys - rows
	for b.Loop() {
		p.Reset()
		attend(&f, p, q, first, s, kv)
	}
	seconds := b.Elapsed().Seconds() / float64(b.N)
	if rows == 1 {
		b.ReportMetric(float64(keys*s.KVBytes(format))/seconds/1e9, "GB/s")
		b.ReportMetric(float64(keys)/seconds/1e6, "Mkeys/s")
		return
	}
	seen := float64(rows) * (float64(first) + float64(rows+1)/2)
	b.ReportMetric(4*seen*float64(s.Heads*s.HeadDim)/seconds/1e9, "GFLOP/s")
}

func BenchmarkDecode32K(b *testing.B) {
	for _, s := range []Shape{{4, 2, 64, 0.125}, {32, 8, 128, 0.088}} {
		for _, f := range []Format{F16, Q8, Q4} {
			b.Run(fmt.Sprintf("%dx%d/%d/%v", s.Heads, s.HeadDim, s.KVHeads, f), func(b *testing.B) { benchmark(b, f, s, 1, 32<<10) })
		}
	}
}

func BenchmarkPrefill8K(b *testing.B) {
	for _, s := range []Shape{{4, 2, 64, 0.125}, {8, 2, 128, 0.088}} {
		for _, f := range []Format{F16, Q8, Q4} {
			b.Run(fmt.Sprintf("%dx%d/%d/%v", s.Heads, s.HeadDim, s.KVHeads, f), func(b *testing.B) { benchmark(b, f, s, 1024, 8<<10) })
		}
	}
}
