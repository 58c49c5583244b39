package main

import (
	"context"
	"errors"
	"unsafe"

	"github.com/orrery-ai/orrery/attention"
	"github.com/orrery-ai/orrery/device"
	"github.com/orrery-ai/orrery/device/cpu"
	"github.com/orrery-ai/orrery/metalkern"
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

// open makes the device of a kind.
func open(kind string, threads int) (device.Device, error) {
	if kind == "cpu" {
		return cpu.New(threads), nil
	}
	host, err := metalkern.Open(kind)
	if err != nil {
		return nil, err
	}
	dev, err := metalkern.NewDevice(host)
	if err != nil {
		return nil, errors.Join(err, host.Close())
	}
	return dev, nil
}

// read is the logits of a task from its first answer on, with keys and values stored in a way.
func (t *task) read(dev device.Device, m *model.Model, w way) (logits []float32, err error) {
	layers, err := m.Layers(model.Range{First: 0, End: m.Config.Layers})
	if err != nil {
		return nil, err
	}
	shape := layers.Shape()
	if err := dev.Check(w.format, shape); err != nil {
		return nil, err
	}
	if err := layers.Load(context.Background(), dev, nil); err != nil {
		return nil, err
	}
	defer layers.Unload()
	logitBytes := 4 * blockTokens * m.Config.Vocab
	arena, err := device.NewArena(dev, int(m.Config.ScratchBytes(blockTokens)+shape.PartialBytes(blockTokens))+logitBytes)
	if err != nil {
		return nil, err
	}
	defer arena.Free()
	out := device.Tensor{Rows: blockTokens, Cols: m.Config.Vocab, Data: arena.Floats(blockTokens * m.Config.Vocab)}
	scratch, part := model.ScratchIn(arena.Floats, &m.Config, blockTokens), attention.PartialIn(arena.Floats, blockTokens, shape)
	room := blocks{memory: dev}
	defer room.free()
	stream := dev.NewStream()
	defer func() { err = errors.Join(err, stream.Close()) }()
	stored, open := make([][]attention.KV, m.Config.Layers), make([]attention.KV, m.Config.Layers)
	for first := 0; first < len(t.ids); first += blockTokens {
		ids := t.ids[first:min(first+blockTokens, len(t.ids))]
		n := len(ids)
		layers.Embed(stream, scratch, ids)
		layers.Angles(stream, scratch, 0, first, n)
		for l := range stored {
			layers.QKV(stream, l, scratch)
			last, err := room.block(w.format, shape, first, n)
			if err != nil {
				return nil, err
			}
			stream.Append(&last, 0, scratch.K, scratch.V)
			last.Len = n
			stored[l] = append(stored[l], last)
			p := part.Slice(0, n)
			stream.Reset(p)
			if w.recent {
				if open[l], err = room.block(attention.F16, shape, first, n); err != nil {
					return nil, err
				}
				stream.Append(&open[l], 0, scratch.K, scratch.V)
				open[l].Len = n
				stream.Attend(p, scratch.Q, first, shape, stored[l][:len(stored[l])-1])
				stream.Attend(p, scratch.Q, first, shape, open[l:l+1])
			} else {
				stream.Attend(p, scratch.Q, first, shape, stored[l])
			}
			stream.Finish(scratch.Attn, p)
			layers.AfterAttention(stream, l, scratch)
		}
		var seen []byte // of the host, where the logits are wanted
		if from := max(t.from-first, 0); from < n {
			rows := out.Slice(0, n-from)
			layers.Logits(stream, scratch, from, n, rows)
			seen = stream.Download(unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(rows.Data))), 4*len(rows.Data)))
		}
		if err := stream.Wait(); err != nil {
			return nil, err
		}
		logits = append(logits, unsafe.Slice((*float32)(unsafe.Pointer(unsafe.SliceData(seen))), len(seen)/4)...)
	}
	return logits, nil
}

// blocks are what a cache takes of a device's memory.
type blocks struct {
	memory device.Memory
	taken  [][]byte
}

// block is an empty one with room for n tokens.
func (b *blocks) block(f attention.Format, s attention.Shape, first, n int) (attention.KV, error) {
	half := s.BlockBytes(f, n) / 2
	room, err := b.memory.Alloc(2 * half)
	if err != nil {
		return attention.KV{}, err
	}
	b.taken = append(b.taken, room)
	return attention.KV{Format: f, HeadDim: s.HeadDim, First: first, Cap: n, K: room[:half:half], V: room[half:]}, nil
}

func (b *blocks) free() {
	for _, room := range b.taken {
		b.memory.Free(room)
	}
}
