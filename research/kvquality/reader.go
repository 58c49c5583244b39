package main

import (
	"context"

	"github.com/orrery-ai/orrery/attention"
	"github.com/orrery-ai/orrery/device"
	"github.com/orrery-ai/orrery/device/cpu"
	"github.com/orrery-ai/orrery/model"
)

// blockTokens is the size of a block, and of a step.
const blockTokens = 256

// way is a way to store keys and values. With recent, tokens see those of their own block as halves, whatever the format.
type way struct {
	name   string
	format attention.Format
	recent bool
}

// read is the logits of a task from its first answer on, with keys and values stored in a way.
func (t *task) read(m *model.Model, w way, threads int) ([]float32, error) {
	layers, err := m.Layers(model.Range{First: 0, End: m.Config.Layers})
	if err != nil {
		return nil, err
	}
	dev := cpu.New(threads)
	defer dev.Close()
	if err := layers.Load(context.Background(), dev, nil); err != nil {
		return nil, err
	}
	defer layers.Unload()
	shape := layers.Shape()
	stream, scratch := dev.NewStream(), model.NewScratch(&m.Config, blockTokens)
	part, out := attention.NewPartial(blockTokens, shape), device.NewTensor(blockTokens, m.Config.Vocab)
	stored, open := make([][]attention.KV, m.Config.Layers), make([]attention.KV, m.Config.Layers)
	var logits []float32
	for first := 0; first < len(t.ids); first += blockTokens {
		ids := t.ids[first:min(first+blockTokens, len(t.ids))]
		n := len(ids)
		layers.Embed(stream, scratch, ids)
		layers.Angles(stream, scratch, 0, first, n)
		for l := range stored {
			layers.QKV(stream, l, scratch)
			last := block(w.format, shape, first, n)
			stream.Append(&last, 0, scratch.K, scratch.V)
			seen := append(stored[l], last)
			if w.recent {
				open[l] = block(attention.F16, shape, first, n)
				stream.Append(&open[l], 0, scratch.K, scratch.V)
			}
			p := part.Slice(0, n)
			stream.Reset(p)
			if w.recent {
				stream.Attend(p, scratch.Q, first, shape, stored[l])
				stream.Attend(p, scratch.Q, first, shape, open[l:l+1])
			} else {
				stream.Attend(p, scratch.Q, first, shape, seen)
			}
			stored[l] = seen
			stream.Finish(scratch.Attn, p)
			layers.AfterAttention(stream, l, scratch)
		}
		if from := max(t.from-first, 0); from < n {
			rows := out.Slice(0, n-from)
			layers.Logits(stream, scratch, from, n, rows)
			if err := stream.Wait(); err != nil {
				return nil, err
			}
			logits = append(logits, rows.Data...)
		} else if err := stream.Wait(); err != nil {
			return nil, err
		}
	}
	return logits, stream.Close()
}

// block is one with room for n tokens, which will be stored.
func block(f attention.Format, s attention.Shape, first, n int) attention.KV {
	half := s.BlockBytes(f, n) / 2
	return attention.KV{Format: f, HeadDim: s.HeadDim, First: first, Len: n, Cap: n, K: make([]byte, half), V: make([]byte, half)}
}
