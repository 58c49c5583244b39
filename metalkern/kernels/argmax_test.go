package kernels

import (
	"encoding/binary"
	"math"
	"testing"
)

func TestArgmaxIsTheFirstOfTheLargestOrNothing(t *testing.T) {
	inf, nan := float32(math.Inf(1)), float32(math.NaN())
	onHosts(t, argmaxKernels(), func(t *testing.T, b *bench) {
		for _, cols := range []int{1, 31, 4096, 4097, 20011} {
			cases := []struct {
				at   []int // where a value is, of a row of -1
				v    float32
				want int32
			}{
				{nil, 0, 0}, {[]int{cols - 1}, 9, int32(cols - 1)}, {[]int{cols / 2, cols - 1}, 9, int32(cols / 2)}, {[]int{0, cols - 1}, 9, 0},
				{[]int{cols / 3}, nan, -1}, {[]int{cols - 1}, nan, -1}, {[]int{0}, nan, -1}, {[]int{cols / 2}, inf, -1},
			}
			if cols > 1 {
				cases = append(cases, struct {
					at   []int
					v    float32
					want int32
				}{[]int{0}, -inf, 1})
			}
			x := make([]float32, len(cases)*cols)
			for r, c := range cases {
				row := x[r*cols : (r+1)*cols]
				for i := range row {
					row[i] = -1
				}
				for _, at := range c.at {
					row[at] = c.v
				}
			}
			index, scratch := room(b, len(cases)), room(b, int(ArgmaxBytes(len(cases), cols))/4)
			must(b, b.set.Argmax(b.queue, index, buffer(b, x), scratch, len(cases), cols))
			data := make([]byte, 4*len(cases))
			b.queue.Read(data, index)
			b.wait()
			for r, c := range cases {
				if got := int32(binary.LittleEndian.Uint32(data[4*r:])); got != c.want {
					t.Errorf("%d columns, %v at %v: %d, not %d", cols, c.v, c.at, got, c.want)
				}
			}
		}
		none := make([]float32, 300)
		for i := range none {
			none[i] = -inf
		}
		index := room(b, 1)
		must(b, b.set.Argmax(b.queue, index, buffer(b, none), room(b, 2), 1, len(none)))
		data := make([]byte, 4)
		b.queue.Read(data, index)
		b.wait()
		if got := int32(binary.LittleEndian.Uint32(data)); got != -1 {
			t.Errorf("of nothing but -Inf: %d", got)
		}
	})
}
