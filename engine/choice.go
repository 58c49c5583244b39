package engine

import (
	"github.com/orrery-ai/orrery/device"
	"github.com/orrery-ai/orrery/model"
)

// choice is a token that is being chosen: the device says which is the likeliest if that is what is asked for, so that
// it need not hand out the logits; else they come.
type choice struct {
	row    device.Tensor // of logits, on the device
	on     []int32       // the likeliest, on the device; and
	best   []byte        // int32, from the next wait on; or
	logits []byte        // likewise
}

func (c *choice) pending() bool { return c.best != nil || c.logits != nil }

// choose records the choice of the token that follows a row of the step.
func (w *workspace) choose(h *header, dec *model.Decoder, row int) choice {
	out := w.logits.Slice(0, 1)
	dec.Logits(w.stream, w.scratch, row, row+1, out)
	if h.Sampling.Temperature != 0 {
		return choice{logits: w.stream.Download(bytesOf(out.Data))}
	}
	on := dec.Likeliest(w.stream, w.scratch, out)
	return choice{row: out, on: on, best: w.stream.Download(bytesOf(on))}
}

// chosen is the token for a position, once what choose recorded has run.
func (w *workspace) chosen(c choice, h *header, position int) (int32, error) {
	if c.best != nil {
		if best, err := c.likeliest(h); err != nil || best >= 0 {
			return best, err
		}
		c.logits = w.stream.Download(bytesOf(c.row.Data)) // the sampler says what is wrong with them
		if err := w.wait(); err != nil {
			return 0, err
		}
	}
	row, err := viewOf[float32](c.logits, w.logits.Cols)
	if err != nil {
		return 0, err
	}
	return w.sampler.Sample(row, h.Sampling, position)
}

// likeliest is the token that the device has chosen; -1 if something is wrong with the logits.
func (c *choice) likeliest(h *header) (int32, error) {
	best, err := viewOf[int32](c.best, 1)
	if err != nil {
		return 0, err
	}
	return best[0], h.Sampling.Validate()
}
