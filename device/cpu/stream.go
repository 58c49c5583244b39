package cpu

import (
	"fmt"

	"github.com/orrery-ai/orrery/device"
	"github.com/orrery-ai/orrery/device/cpu/simd"
)

// stream runs operations at once, one after the other. Its fields are the arguments of the
// operation in progress, kept so that an operation allocates nothing.
type stream struct {
	pool  *pool
	batch batch
	own   worker
	whole simd.Activations // of the product of few tokens in progress
	err   error            // there was no memory for something since the last Wait

	numbers room // of the activations of many tokens, as words

	embed  embedJob
	norm   normJob
	sum    addJob
	bias   biasJob
	rope   ropeJob
	gate   gateJob
	store  appendJob
	dots   dotsJob
	gemm   gemmJob
	words  numbersJob
	attend attendJob
	finish finishJob

	route   routeJob
	experts expertsJob
	argmax  argmaxJob
	flush   flushJob
}

var _ device.Stream = (*stream)(nil)

func newStream(p *pool) *stream { return &stream{pool: p} }

// run computes n items of j; an item takes about cost nanoseconds.
func (s *stream) run(j job, n int, cost float64) { s.runBy(j, n, 1, cost) }

// runBy is run where so many items go together.
func (s *stream) runBy(j job, n, together int, cost float64) {
	total, threads := float64(n)*cost, s.pool.threads
	step := n
	if threads > 1 {
		// Steps of about half the grain even out the workers' speeds, at little cost. There are as many for each worker.
		each := max(1, int(min(total/(grain/2), 1e9)+float64(threads)-1)/threads)
		step = (n + each*threads - 1) / (each * threads)
		step = (step + together - 1) / together * together
	}
	s.pool.run(&s.batch, &s.own, j, n, step, total)
}

// Write implements [device.Stream].
func (s *stream) Write(dst device.Tensor, src []float32) {
	if len(src) != dst.Rows*dst.Cols {
		mismatch("Write", "%d elements into [%d][%d]", len(src), dst.Rows, dst.Cols)
	}
	copy(dst.Data, src)
}

// Upload implements [device.Stream]: the device computes in the host's memory.
func (s *stream) Upload(src []byte) []byte { return src }

// Download implements [device.Stream].
func (s *stream) Download(src []byte) []byte { return src }

// Wait implements [device.Stream]: everything has run already.
func (s *stream) Wait() error {
	err := s.err
	s.err = nil
	return err
}

// Close implements [device.Stream].
func (s *stream) Close() error {
	s.numbers.free()
	return nil
}

// mismatch panics: shapes do not fit. Its arguments cost nothing where it is not called.
func mismatch(operation, format string, args ...any) {
	panic("cpu: " + operation + ": " + fmt.Sprintf(format, args...))
}
