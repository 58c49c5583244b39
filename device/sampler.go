package device

import "github.com/orrery-ai/orrery/sampling"

// A Sampler is a Stream that draws tokens by itself, so that logits need not be handed out. With a Stream that is none, as the
// CPU's, the host draws, with a [sampling.Sampler].
type Sampler interface {
	Stream
	// Draws reports whether the device draws with such parameters from so many logits. It does not with those that are not valid, nor greedily:
	// that is Argmax.
	Draws(p sampling.Params, vocabulary int) bool
	// Draw sets the element of to [1], of the device's memory, to the token for a position, from the logits x [1][n] of the one before; to -1 if one is NaN, or the
	// largest is infinite. It is the token of [sampling.Sampler.Sample], unless the random number falls so close to the border between two that float32 decides.
	Draw(to []int32, x Tensor, p sampling.Params, position int)
}
