package engine

import (
	"github.com/orrery-ai/orrery/device"
	"github.com/orrery-ai/orrery/model"
)

// choice is a token that is being chosen: the device says which, the likeliest or one that it draws, if it can, so that
// it need not hand out the logits; else they come.
type choice struct {
	row    device.Tensor // of logits, on the device
	on     []int32       // the token, on the device; and
	token  []byte        // int32, from the next wait on; or
	logits []byte        // likewise
}

func (c *choice) pending() bool { return c.token != nil || c.logits != nil }

// choosesItself says whether the device chooses the token of a step, and no logits are handed out for it.
func (w *workspace) choosesItself(h *header) bool {
	s, ok := w.stream.(device.Sampler)
	return h.Sampling.Temperature == 0 || ok && s.Draws(h.Sampling, w.logits.Cols)
}

// choose records the choice of the token for a position, that follows a row of the step.
func (w *workspace) choose(h *header, dec *model.Decoder, row, position int) choice {
	out := w.logits.Slice(0, 1)
	dec.Logits(w.stream, w.scratch, row, row+1, out)
	return w.pick(h, out, w.scratch.Choice(1), position)
}

// pick is choose from a row of logits, on the device, to a place there.
func (w *workspace) pick(h *header, out device.Tensor, to []int32, position int) choice {
	switch {
	case !w.choosesItself(h):
		return choice{logits: w.stream.Download(bytesOf(out.Data))}
	case h.Sampling.Temperature == 0:
		w.stream.Argmax(to, out)
	default:
		w.stream.(device.Sampler).Draw(to, out, h.Sampling, position)
	}
	return choice{row: out, on: to, token: w.stream.Download(bytesOf(to))}
}

// chosen is the token for a position, once what choose recorded has run.
func (w *workspace) chosen(c choice, h *header, position int) (int32, error) {
	token, err := w.readOut(c, h, position)
	if err == nil && token < 0 {
		return w.handedOut(c, h, position)
	}
	return token, err
}

// readOut is chosen, or -1 where the device has found something wrong with the logits.
func (w *workspace) readOut(c choice, h *header, position int) (int32, error) {
	if c.token != nil {
		return c.made(h)
	}
	row, err := viewOf[float32](c.logits, w.logits.Cols)
	if err != nil {
		return 0, err
	}
	return w.sampler.Sample(row, h.Sampling, position)
}

// handedOut is the token that the sampler chooses where the device could not: it says what is wrong with the logits.
func (w *workspace) handedOut(c choice, h *header, position int) (int32, error) {
	c.token, c.logits = nil, w.stream.Download(bytesOf(c.row.Data))
	if err := w.wait(); err != nil {
		return 0, err
	}
	return w.readOut(c, h, position)
}

// made is the token that the device has chosen; -1 if something is wrong with the logits.
func (c *choice) made(h *header) (int32, error) {
	token, err := viewOf[int32](c.token, 1)
	if err != nil {
		return 0, err
	}
	return token[0], h.Sampling.Validate()
}
