package kernels

import (
	"math"
	"testing"

	"github.com/orrery-ai/orrery/metalkern/gpu"
)

// TestMergesAreExact merges parts of which some are empty, and one row's all, at once and one after the other, and has sinks enter once, behind all of them.
func TestMergesAreExact(t *testing.T) {
	onHosts(t, []instance{mergeInstance}, func(t *testing.T, b *bench) {
		for _, dim := range []int{32, 64, 80, 128, 200, 256} {
			for _, parts := range []int{1, 4, 33, 70, 256, 257, 530} {
				t.Run(title("%d parts of heads of %d", parts, dim), func(t *testing.T) { testMerge(b.sub(t), dim, parts) })
			}
		}
	})
}

func testMerge(b *bench, dim, parts int) {
	const rows = 3
	s := shapeOf(2, 1, dim)
	n, wide := rows*s.Heads, rows*s.Heads*s.HeadDim
	o, m, l := randoms(1, parts*wide, 1), randoms(2, parts*n, 3), randoms(3, parts*n, 1)
	sinks := []float32{0.5, 6}
	for i := range l {
		l[i] = float32(math.Abs(float64(l[i]))) + 0.1
	}
	if parts > 1 {
		m[0], l[0] = float32(math.Inf(-1)), 0 // an empty part
	}
	for i := range parts { // and a row of empty parts
		m[i*n+n-1], l[i*n+n-1] = float32(math.Inf(-1)), 0
	}
	want := make([]float64, wide)
	for i := range n - 1 {
		top := float64(sinks[i%s.Heads])
		for p := range parts {
			top = max(top, float64(m[p*n+i]))
		}
		sum := math.Exp(float64(sinks[i%s.Heads]) - top)
		for p := range parts {
			f := math.Exp(float64(m[p*n+i]) - top)
			sum += float64(l[p*n+i]) * f
			if f == 0 {
				continue
			}
			for j := range s.HeadDim {
				want[i*s.HeadDim+j] += float64(o[(p*n+i)*s.HeadDim+j]) * f
			}
		}
		for j := range s.HeadDim {
			want[i*s.HeadDim+j] /= sum
		}
	}
	bound := 1e-7 * float64(max(10, parts)) // each part rounds what is there once more
	merge, err := b.set.Merge()
	must(b, err)
	ps := Partial{buffer(b, o), buffer(b, m), buffer(b, l)}
	out := room(b, wide)
	must(b, merge.Finish(b.queue, out, buffer(b, sinks), ps, parts, rows, s))
	near(b, "attention", floats(b, out, wide), want, bound)

	// The same parts, one after the other into what is there.
	whole := Partial{room(b, wide), room(b, n), room(b, n)}
	at := func(r gpu.Range, bytes int) gpu.Range {
		return gpu.Range{Buffer: r.Buffer, Offset: r.Offset + int64(bytes)}
	}
	for p := range parts {
		part := Partial{at(ps.O, 4*p*wide), at(ps.M, 4*p*n), at(ps.L, 4*p*n)}
		must(b, merge.Into(b.queue, whole, p > 0, part, 1, rows, s))
	}
	must(b, merge.Finish(b.queue, out, buffer(b, sinks), whole, 1, rows, s))
	near(b, "attention from parts merged in turn", floats(b, out, wide), want, bound)
}
