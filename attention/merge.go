package attention

import (
	"fmt"
	"math"

	"github.com/orrery-ai/orrery/device/cpu/simd"
)

// Merge accumulates src into dst, exactly: afterwards dst is the part over the keys of both, which
// must be disjoint. Merging is not idempotent, and floating point makes it depend on the order in the last
// bits, so whoever merges several parts does so once each and in a fixed order. Shapes must be equal.
func Merge(dst, src Partial) {
	if dst.Rows != src.Rows || dst.Heads != src.Heads || dst.Dim != src.Dim {
		panic(fmt.Sprintf("attention: merge of [%d][%d][%d] into [%d][%d][%d]",
			src.Rows, src.Heads, src.Dim, dst.Rows, dst.Heads, dst.Dim))
	}
	for i, m := range src.M {
		from := src.O[i*src.Dim : (i+1)*src.Dim]
		to := dst.O[i*dst.Dim : (i+1)*dst.Dim]
		switch {
		case isEmpty(m): // nothing to add; exp(-Inf - -Inf) would be NaN
		case isEmpty(dst.M[i]):
			copy(to, from)
			dst.M[i], dst.L[i] = m, src.L[i]
		default:
			next := max(m, dst.M[i])
			fd, fs := exp(dst.M[i]-next), exp(m-next)
			simd.ScaleAdd(to, from, fd, fs)
			dst.M[i], dst.L[i] = next, fd*dst.L[i]+fs*src.L[i]
		}
	}
}

// Finish writes attention itself, p.O/p.L, to dst [rows][heads][dim]. A query without keys gives 0.
func Finish(dst []float32, p Partial) {
	for i, l := range p.L {
		from, to := p.O[i*p.Dim:(i+1)*p.Dim], dst[i*p.Dim:(i+1)*p.Dim]
		if isEmpty(p.M[i]) {
			clear(to)
			continue
		}
		simd.Scale(to, from, 1/l)
	}
}

// isEmpty says whether m is the maximum of no scores.
func isEmpty(m float32) bool { return m == negInf }

// negInf is the maximum of no scores.
var negInf = float32(math.Inf(-1))

// exp is e^x in float32, computed in float64.
func exp(x float32) float32 { return float32(math.Exp(float64(x))) }
