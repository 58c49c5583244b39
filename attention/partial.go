package attention

// Partial is attention of a run of queries over some part of the keys, not yet normalised.
// The part without keys is o=0, m=-Inf, l=0, and merges as the neutral element.
type Partial struct {
	Rows  int       // queries
	Heads int       // query heads
	Dim   int       // elements of a head
	O     []float32 // [rows][heads][dim]: Σ e^(score-m) v
	M     []float32 // [rows][heads]: largest score
	L     []float32 // [rows][heads]: Σ e^(score-m)
}

// NewPartial allocates an empty partial for rows queries of the shape.
func NewPartial(rows int, s Shape) Partial {
	p := PartialIn(func(n int) []float32 { return make([]float32, n) }, rows, s)
	p.Reset()
	return p
}

// PartialIn is a partial for rows queries of the shape in memory that floats hands out. It is to be Reset
// before it is used.
func PartialIn(floats func(n int) []float32, rows int, s Shape) Partial {
	return Partial{Rows: rows, Heads: s.Heads, Dim: s.HeadDim,
		O: floats(rows * s.Heads * s.HeadDim), M: floats(rows * s.Heads), L: floats(rows * s.Heads)}
}

// PartialBytes is the size of a Partial for rows queries of the shape.
func (s Shape) PartialBytes(rows int) int64 {
	return 4 * int64(rows) * int64(s.Heads) * int64(s.HeadDim+2)
}

// Slice is the view of rows [first, end).
func (p Partial) Slice(first, end int) Partial {
	w := p.Heads * p.Dim
	return Partial{
		Rows: end - first, Heads: p.Heads, Dim: p.Dim,
		O: p.O[first*w : end*w],
		M: p.M[first*p.Heads : end*p.Heads],
		L: p.L[first*p.Heads : end*p.Heads],
	}
}

// Reset makes p the empty part.
func (p Partial) Reset() {
	p.ResetHeads(0, p.Heads)
}

// ResetHeads makes the query heads [first, end) of p the empty part.
func (p Partial) ResetHeads(first, end int) {
	for r := range p.Rows {
		from, to := r*p.Heads+first, r*p.Heads+end
		clear(p.O[from*p.Dim : to*p.Dim])
		clear(p.L[from:to])
		for i := from; i < to; i++ {
			p.M[i] = negInf
		}
	}
}
