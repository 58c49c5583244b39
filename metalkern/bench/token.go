package bench

import (
	"fmt"
	"math"

	"github.com/orrery-ai/orrery/metalkern/gpu"
	"github.com/orrery-ai/orrery/metalkern/kernels"
)

// tokenCases are the choice of a token from the logits of a vocabulary, which are read once at least.
func (b *bench) tokenCases() []maker {
	vocabulary := 128256
	if b.opts.Tiny {
		vocabulary = 300
	}
	list := []maker{tokenCase("argmax", fmt.Sprintf("[%d]", vocabulary), vocabulary, kernels.ArgmaxBytes(1, vocabulary), func(b *bench, token, x, scratch gpu.Range) error {
		return b.set.Argmax(b.queue, token, x, scratch, 1, vocabulary)
	})}
	for _, c := range []struct {
		what string
		draw kernels.Draw
	}{
		{"temperature", kernels.Draw{Temperature: 0.8}},
		{"top-k 50", kernels.Draw{Temperature: 0.8, TopK: 50}},
		{"top-p 0.95", kernels.Draw{Temperature: 0.8, TopP: 0.95}},
		{"top-k 50, top-p 0.95", kernels.Draw{Temperature: 0.8, TopK: 50, TopP: 0.95}},
	} {
		list = append(list, tokenCase("sample", fmt.Sprintf("[%d], %s", vocabulary, c.what), vocabulary, kernels.SampleBytes(vocabulary), func(b *bench, token, x, scratch gpu.Range) error {
			c.draw.Number = math.MaxUint64 / 3
			return b.set.Sample(b.queue, token, x, scratch, vocabulary, c.draw)
		}))
	}
	return list
}

func tokenCase(kernel, size string, vocabulary int, room int64, launch func(b *bench, token, x, scratch gpu.Range) error) maker {
	return maker{kernel, size, func(b *bench) (measured, error) {
		x, err := b.filled(int64(4*vocabulary), singles(9, vocabulary))
		if err != nil {
			return measured{}, err
		}
		scratch, err := b.alloc(room)
		if err != nil {
			return measured{}, err
		}
		token, err := b.alloc(4)
		return measured{bytes: int64(4 * vocabulary), launch: func(int) error { return launch(b, token, x, scratch) }}, err
	}}
}
