package model_test

import (
	"encoding/binary"
	"math"

	"github.com/orrery-ai/orrery/attention"
	"github.com/orrery-ai/orrery/device"
	"github.com/orrery-ai/orrery/internal/half"
	"github.com/orrery-ai/orrery/internal/quantize"
)

// reference computes each operation of device.Stream by its definition, one element at a time,
// summing in float64.
type reference struct {
	exact bool // the cache keeps float32, in room for two halves each
}

// elementBytes is the size of one element of a cached key or value.
func (r reference) elementBytes() int {
	if r.exact {
		return 4
	}
	return 2
}

func (r reference) store(b []byte, v float32) {
	if r.exact {
		binary.LittleEndian.PutUint32(b, math.Float32bits(v))
	} else {
		binary.LittleEndian.PutUint16(b, half.ToF16(v))
	}
}

func (reference) Reset(p attention.Partial)              { p.Reset() }
func (reference) Write(dst device.Tensor, src []float32) { copy(dst.Data, src) }
func (reference) Upload(b []byte) []byte                 { return b }
func (reference) Download(b []byte) []byte               { return b }
func (reference) Close() error                           { return nil }
func (reference) Wait() error                            { return nil }

// rowOf is row i of a stored matrix.
//
//go:norace
func rowOf(m device.Matrix, i int) []float64 {
	row := make([]float32, m.Cols)
	quantize.Widen(row, &m, i)
	out := make([]float64, m.Cols)
	for j, v := range row {
		out[j] = float64(v)
	}
	return out
}

func (reference) Embed(dst device.Tensor, table device.Matrix, ids []int32) {
	for i, id := range ids {
		for j, v := range rowOf(table, int(id)) {
			dst.Row(i)[j] = float32(v)
		}
	}
}

func (reference) RMSNorm(dst, x device.Tensor, weight []float32, eps float32) {
	for i := range x.Rows {
		var squares float64
		for _, v := range x.Row(i) {
			squares += float64(v) * float64(v)
		}
		scale := 1 / math.Sqrt(squares/float64(x.Cols)+float64(eps))
		for j, v := range x.Row(i) {
			dst.Row(i)[j] = float32(float64(v) * scale * float64(weight[j]))
		}
	}
}

func (reference) MatMul(dst, x device.Tensor, w device.Matrix) {
	if dst.Rows != x.Rows || dst.Cols != w.Rows || x.Cols != w.Cols {
		panic("reference: shapes of a product do not fit")
	}
	for o := range w.Rows {
		row := rowOf(w, o)
		for i := range x.Rows {
			dst.Row(i)[o] = float32(dot(x.Row(i), row))
		}
	}
}

// dot is the inner product. This and the other inner loops are kept from the race detector, which would
// make them ten times slower: what they touch is shared with no other goroutine.
//
//go:norace
func dot(a []float32, b []float64) float64 {
	var sum float64
	for i, v := range a {
		sum += float64(v) * b[i]
	}
	return sum
}

func (reference) Add(dst, x device.Tensor) {
	for i, v := range x.Data {
		dst.Data[i] += v
	}
}

func (reference) AddBias(dst device.Tensor, b []float32) {
	for i := range dst.Rows {
		for j, v := range b {
			dst.Row(i)[j] += v
		}
	}
}

func (reference) Rope(x device.Tensor, headDim int, cos, sin device.Tensor, interleaved bool) {
	for i := range x.Rows {
		for head := 0; head < x.Cols; head += headDim {
			h := x.Row(i)[head : head+headDim]
			for j := range cos.Cols {
				c, s := float64(cos.Row(i)[j]), float64(sin.Row(i)[j])
				low, high := j, j+cos.Cols
				if interleaved {
					low, high = 2*j, 2*j+1
				}
				a, b := float64(h[low]), float64(h[high])
				h[low], h[high] = float32(a*c-b*s), float32(b*c+a*s)
			}
		}
	}
}

// at addresses an element of a head-major block.
func (r reference) at(b []byte, kv *attention.KV, head, token, i int) []byte {
	return b[r.elementBytes()*((head*kv.Cap+token)*kv.HeadDim+i):]
}

func (r reference) Append(kv *attention.KV, at int, k, v device.Tensor) {
	dim := kv.HeadDim
	for t := range k.Rows {
		for c := range k.Cols {
			r.store(r.at(kv.K, kv, c/dim, at+t, c%dim), k.Row(t)[c])
			r.store(r.at(kv.V, kv, c/dim, at+t, c%dim), v.Row(t)[c])
		}
	}
}

func (r reference) Attend(p attention.Partial, q device.Tensor, first int, s attention.Shape, kv []attention.KV) {
	vector := make([]float64, s.HeadDim)
	for row := range q.Rows {
		for head := range s.Heads {
			query := q.Row(row)[head*s.HeadDim : (head+1)*s.HeadDim]
			for b := range kv {
				for t := 0; t < kv[b].Len && kv[b].First+t <= first+row; t++ {
					r.load(vector, r.at(kv[b].K, &kv[b], head/s.Group(), t, 0))
					score := dot(query, vector) * float64(s.Scale)
					r.load(vector, r.at(kv[b].V, &kv[b], head/s.Group(), t, 0))
					accumulate(p, row*s.Heads+head, score, vector)
				}
			}
		}
	}
}

// load reads a cached vector.
//
//go:norace
func (r reference) load(dst []float64, b []byte) {
	for i := range dst {
		if r.exact {
			dst[i] = float64(math.Float32frombits(binary.LittleEndian.Uint32(b[4*i:])))
		} else {
			dst[i] = float64(half.FromF16(binary.LittleEndian.Uint16(b[2*i:])))
		}
	}
}

// accumulate takes one key into row i of p.
//
//go:norace
func accumulate(p attention.Partial, i int, score float64, value []float64) {
	m := math.Max(float64(p.M[i]), score)
	old, now := math.Exp(float64(p.M[i])-m), math.Exp(score-m)
	o := p.O[i*p.Dim : (i+1)*p.Dim]
	for j, v := range value {
		o[j] = float32(float64(o[j])*old + now*v)
	}
	p.L[i] = float32(float64(p.L[i])*old + now)
	p.M[i] = float32(m)
}

func (reference) Merge(dst, src attention.Partial) {
	for i, m := range src.M {
		if math.IsInf(float64(m), -1) {
			continue
		}
		top := math.Max(float64(dst.M[i]), float64(m))
		a, b := math.Exp(float64(dst.M[i])-top), math.Exp(float64(m)-top)
		for j := i * dst.Dim; j < (i+1)*dst.Dim; j++ {
			dst.O[j] = float32(float64(dst.O[j])*a + float64(src.O[j])*b)
		}
		dst.L[i] = float32(float64(dst.L[i])*a + float64(src.L[i])*b)
		dst.M[i] = float32(top)
	}
}

func (reference) Finish(dst device.Tensor, p attention.Partial) {
	for i := range p.O {
		dst.Data[i] = p.O[i] / p.L[i/p.Dim]
	}
}

func (reference) SwiGLU(dst, gate, up device.Tensor) {
	for i, g := range gate.Data {
		dst.Data[i] = float32(float64(g) / (1 + math.Exp(-float64(g))) * float64(up.Data[i]))
	}
}

func (reference) Route(to device.Routing, logits device.Tensor, normalized bool) {
	for t := range logits.Rows {
		row := logits.Row(t)
		taken := make([]bool, len(row))
		var all, chosen float64
		for _, v := range row {
			all += math.Exp(float64(v))
		}
		for i := range to.Active {
			best := -1
			for e, v := range row {
				if !taken[e] && (best < 0 || v > row[best]) {
					best = e
				}
			}
			taken[best] = true
			chosen += math.Exp(float64(row[best]))
			to.Experts[t*to.Active+i] = int32(best)
		}
		if normalized {
			all = chosen
		}
		for i := t * to.Active; i < (t+1)*to.Active; i++ {
			to.Weights[i] = float32(math.Exp(float64(row[to.Experts[i]])) / all)
		}
	}
}

func (r reference) Experts(dst, x device.Tensor, to device.Routing, e *device.Experts, _ []float32) {
	gate, up, out := device.NewTensor(1, e.Width()), device.NewTensor(1, e.Width()), device.NewTensor(1, x.Cols)
	for i, expert := range to.Experts {
		t := i / to.Active
		r.MatMul(gate, x.Slice(t, t+1), e.Gate[expert])
		r.MatMul(up, x.Slice(t, t+1), e.Up[expert])
		r.SwiGLU(gate, gate, up)
		r.MatMul(out, gate, e.Down[expert])
		for c, v := range out.Data {
			dst.Row(t)[c] += to.Weights[i] * v
		}
	}
}

func (reference) Argmax(to []int32, x device.Tensor) {
	for t := range to {
		to[t] = 0
		for i, v := range x.Row(t) {
			if v > x.Row(t)[to[t]] {
				to[t] = int32(i)
			}
		}
	}
}
