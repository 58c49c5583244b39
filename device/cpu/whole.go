package cpu

import (
	"fmt"
	"unsafe"

	"github.com/orrery-ai/orrery/device"
	"github.com/orrery-ai/orrery/device/cpu/simd"
)

// wholeGEMM is the product of many tokens with w as whole numbers; ok says whether weights like these are multiplied so, with few tokens and with many.
func wholeGEMM(w device.Matrix) (g simd.WholeGEMM, ok bool) {
	if !w.Format.Affine() {
		return simd.WholeGEMMFor(w.Format.Block(), w.Cols)
	}
	if simd.AffineRows(w.Cols/w.Group, true) == 0 {
		return simd.WholeGEMM{}, false
	}
	return simd.WholeGEMMForAffine(bitsOf(w.Format), w.Group, w.Cols)
}

// numbersJob makes words of rows of activations.
type numbersJob struct{ dst, x device.Tensor }

func (j *numbersJob) run(first, end int, _ *worker) {
	for i := first; i < end; i++ {
		simd.WholeNumbers(j.dst.Row(i), j.x.Row(i))
	}
}

// wholeNumbers is x as words, until the next call. If there is no memory for them ok is false, and Wait says so.
func (s *stream) wholeNumbers(x device.Tensor) (numbers device.Tensor, ok bool) {
	cols := simd.WholeRow(x.Cols)
	memory, err := s.numbers.atLeast(4 * x.Rows * cols)
	if err != nil {
		s.err = fmt.Errorf("cpu: whole numbers of activations [%d][%d]: %w", x.Rows, x.Cols, err)
		return device.Tensor{}, false
	}
	numbers = device.Tensor{Rows: x.Rows, Cols: cols, Data: unsafe.Slice((*float32)(unsafe.Pointer(unsafe.SliceData(memory))), x.Rows*cols)}
	s.words = numbersJob{numbers, x}
	s.run(&s.words, x.Rows, 0.2*float64(x.Cols))
	return numbers, true
}

// room is memory that grows, outside of the Go heap.
type room struct{ memory []byte }

// atLeast is n bytes; what they held may be lost.
func (r *room) atLeast(n int) ([]byte, error) {
	if len(r.memory) < n {
		r.free()
		memory, err := device.Host{}.Alloc(n)
		if err != nil {
			return nil, err
		}
		r.memory = memory
	}
	return r.memory[:n], nil
}

func (r *room) free() {
	if r.memory != nil {
		device.Host{}.Free(r.memory)
		r.memory = nil
	}
}

// packWhole makes words, or bytes, of n columns from k on of a row of weights.
func (j *gemmJob) packWhole(dst []float32, worker *worker, row, k, n int) {
	w := &j.w
	block := w.Format.Block()
	src := w.Data[(row*w.Cols+k)/block.Elements*block.Bytes:]
	if ahead := simd.GEMMCols * w.Cols / block.Elements * block.Bytes; ahead < len(src) {
		simd.Prefetch(src[ahead:min(ahead+n/block.Elements*block.Bytes, len(src))])
	}
	if !w.Format.Affine() {
		j.whole.Weights(dst, src, n)
		return
	}
	if worker.numbers == nil {
		worker.numbers = new(simd.AffineNumbers)
	}
	scales, biases := worker.numbers[0][:n/w.Group], worker.numbers[1][:n/w.Group]
	numbersOf(scales, biases, *w, (row*w.Cols+k)/w.Group)
	j.whole.AffineWeights(dst, src, n, w.Group, scales, biases)
}
