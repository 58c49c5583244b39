package metalkern

import (
	"github.com/orrery-ai/orrery/device"
	"github.com/orrery-ai/orrery/metalkern/kernels"
	"github.com/orrery-ai/orrery/sampling"
)

var _ device.Sampler = (*stream)(nil)

// drawing is how kernels are told to draw.
func drawing(p sampling.Params, position int) kernels.Draw {
	return kernels.Draw{Temperature: p.Temperature, TopK: p.TopK, TopP: p.TopP, MinP: p.MinP, Number: sampling.Fraction(p.Seed, position)}
}

// Draws implements [device.Sampler].
func (s *stream) Draws(p sampling.Params, vocabulary int) bool {
	return p.Validate() == nil && drawing(p, 0).Samples(vocabulary)
}

// Draw implements [device.Sampler].
func (s *stream) Draw(to []int32, x device.Tensor, p sampling.Params, position int) {
	if len(to) != 1 || x.Rows != 1 || x.Cols == 0 {
		mismatch("Draw", "[%d][%d] into %d", x.Rows, x.Cols, len(to))
	}
	s.do(func() error {
		scratch, err := s.orders.atLeast(int(kernels.SampleBytes(x.Cols)))
		if err != nil {
			return err
		}
		return s.device.set.Sample(s.queue, s.device.memory.bytes(bytesOf(to)), s.at(x), scratch, x.Cols, drawing(p, position))
	})
}
