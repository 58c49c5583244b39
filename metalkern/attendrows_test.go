package metalkern

import (
	"fmt"
	"math"
	"slices"
	"testing"

	"github.com/orrery-ai/orrery/attention"
	"github.com/orrery-ai/orrery/device"
	"github.com/orrery-ai/orrery/device/cpu"
	"github.com/orrery-ai/orrery/metalkern/kernels"
)

// Rows of sequences of different lengths, which attend together, attend to what each has: also where one has nothing, and where what is left pending is merged row by row.
func TestRowsOfSequencesAttendEachToItsOwn(t *testing.T) {
	dev := open(t)
	for _, dim := range []int{64, 128} {
		for _, f := range []attention.Format{attention.F16, attention.Q8, attention.Q4} {
			for name, lengths := range map[string][]int{"ragged": {40, 3, 130}, "as many as go together": {1, 64, 65, 2, 9, 40, 33, 32}, "more than go together": {1, 2, 3, 4, 5, 6, 7, 8, 9}, "one without keys": {5, 0, 33}} {
				t.Run(fmt.Sprintf("heads of %d, %v, %s", dim, f, name), func(t *testing.T) { testRows(t, dev, f, dim, lengths) })
			}
		}
	}
}

func testRows(t *testing.T, dev *Device, f attention.Format, dim int, lengths []int) {
	shape := attention.Shape{Heads: 4, KVHeads: 2, HeadDim: dim, Scale: 0.125}
	processor := cpu.New(1)
	defer processor.Close()
	const capacity = 32
	on := func(dev device.Device, st device.Stream) (all []float32) {
		defer st.Close()
		n := len(lengths)
		arena := place(t, dev, int(shape.PartialBytes(n))/4+2*n*4*dim+capacity*2*dim)
		tensor := func(rows, cols, seed int) device.Tensor {
			x := device.Tensor{Rows: rows, Cols: cols, Data: arena.Floats(rows * cols)}
			data := make([]float32, rows*cols)
			for i := range data {
				data[i] = float32(math.Sin(float64(i * seed)))
			}
			st.Write(x, data)
			return x
		}
		q, out, k := tensor(n, 4*dim, 7), tensor(n, 4*dim, 0), tensor(capacity, 2*dim, 5)
		p := attention.PartialIn(arena.Floats, n, shape)
		rows := make([]device.Row, n)
		for i, length := range lengths {
			rows[i].First = length
			for first := 0; first < length; first += capacity {
				b := block(t, dev, f, shape, first, capacity)
				b.Len = min(capacity, length-first)
				st.Append(&b, 0, k.Slice(0, b.Len), k.Slice(capacity-b.Len, capacity))
				rows[i].KV = append(rows[i].KV, b)
			}
		}
		for range 2 { // the second time lists are those of before
			device.AttendRows(st, p, q, rows, shape)
			if s, ok := st.(*stream); ok {
				one := n <= kernels.DecodeRows && !slices.Contains(lengths, 0)
				if left := s.pending.is(p) && s.pending.count > 0; left != one {
					t.Errorf("the parts of all rows are pending: %v, want %v", left, one)
				}
			}
			all = append(all, finish(t, st, p.L)...)
		}
		device.AttendRows(st, p, q, rows, shape)
		st.Finish(out, p)
		all = append(all, finish(t, st, out.Data)...)
		device.AttendRows(st, p, q, rows, shape)
		for i := range rows {
			st.Finish(out.Slice(i, i+1), p.Slice(i, i+1))
		}
		return append(all, finish(t, st, out.Data)...)
	}
	got, want := on(dev, dev.NewStream()), on(processor, processor.NewStream())
	for i, w := range want {
		if v := got[i]; !(math.Abs(float64(v-w)) <= 2e-3*math.Max(1, math.Abs(float64(w)))) && !(math.IsNaN(float64(v)) && math.IsNaN(float64(w))) {
			t.Fatalf("element %d is %v, not %v", i, v, w)
		}
	}
}
