package metalkern

import (
	"errors"
	"os"
	"slices"
	"testing"
	"unsafe"

	"github.com/orrery-ai/orrery/attention"
	"github.com/orrery-ai/orrery/device"
	"github.com/orrery-ai/orrery/metalkern/gpu"
	"github.com/orrery-ai/orrery/model"
)

// open makes a device of the kind that ORRERY_TEST_DEVICE names, the emulator if none.
func open(t *testing.T) *Device {
	t.Helper()
	kind := os.Getenv("ORRERY_TEST_DEVICE")
	if kind == "" {
		kind = "emulator"
	}
	h, err := Open(kind)
	if unavailable := new(gpu.UnavailableError); errors.As(err, &unavailable) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	d, err := NewDevice(h)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	return d
}

// chunk is the most tokens of a step: more than the kernels for few tokens take.
const chunk = 40

// place is a device's memory for tensors of a test.
func place(t testing.TB, dev device.Memory, floats int) *device.Arena {
	t.Helper()
	a, err := device.NewArena(dev, 4*floats)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(a.Free)
	return a
}

// block is an empty block in a device's memory.
func block(t testing.TB, dev device.Memory, f attention.Format, shape attention.Shape, first, tokens int) attention.KV {
	t.Helper()
	half := shape.BlockBytes(f, tokens) / 2
	b, err := dev.Alloc(2 * half)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { dev.Free(b) })
	return attention.KV{Format: f, HeadDim: shape.HeadDim, First: first, Cap: tokens, K: b[:half], V: b[half:]}
}

// talker runs a model on a device, with a cache of blocks of 64 tokens.
type talker struct {
	*testing.T
	m        *model.Model
	d        *model.Decoder
	dev      device.Device
	st       device.Stream
	format   attention.Format
	s        *model.Scratch
	acc      attention.Partial
	out      device.Tensor // logits of a step
	kv       [][]attention.KV
	position int
}

const blockTokens = 64

func newTalker(t *testing.T, m *model.Model, dev device.Device, f attention.Format, chunk int) *talker {
	t.Helper()
	d, err := m.Layers(model.Range{First: 0, End: m.Config.Layers})
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Load(t.Context(), dev, nil); err != nil {
		t.Fatal(err)
	}
	k := &talker{T: t, m: m, d: d, dev: dev, st: dev.NewStream(), format: f, kv: make([][]attention.KV, m.Config.Layers)}
	shape, vocab := d.Shape(), m.Config.Vocab
	arena := place(t, dev, int(m.Config.ScratchBytes(chunk)+shape.PartialBytes(chunk))/4+chunk*vocab)
	t.Cleanup(func() {
		if err := k.st.Close(); err != nil {
			t.Error(err)
		}
		d.Unload()
	})
	k.s, k.acc = model.ScratchIn(arena.Floats, &m.Config, chunk), attention.PartialIn(arena.Floats, chunk, shape)
	k.out = device.Tensor{Rows: chunk, Cols: vocab, Data: arena.Floats(chunk * vocab)}
	return k
}

// step reads ids, which must end within a block, and returns the logits of those from first on.
func (k *talker) step(ids []int32, first int) []float32 {
	k.Helper()
	d, st, rows, shape := k.d, k.st, len(ids), k.d.Shape()
	if k.position%blockTokens == 0 {
		for l := range k.kv {
			k.kv[l] = append(k.kv[l], block(k.T, k.dev, k.format, shape, k.position, blockTokens))
		}
	}
	d.Embed(st, k.s, ids)
	d.Angles(st, k.s, 0, k.position, rows)
	for l := range k.kv {
		d.QKV(st, l, k.s)
		last := &k.kv[l][len(k.kv[l])-1]
		st.Append(last, last.Len, k.s.K, k.s.V)
		last.Len += rows
		part := k.acc.Slice(0, rows)
		st.Reset(part)
		st.Attend(part, k.s.Q, k.position, shape, k.kv[l])
		st.Finish(k.s.Attn, part)
		d.AfterAttention(st, l, k.s)
	}
	out := k.out.Slice(first, rows)
	d.Logits(st, k.s, first, rows, out)
	k.position += rows
	return finish(k.T, st, out.Data)
}

// generate reads ids and then says n more tokens, each the most likely. It returns the logits of every one, and the tokens.
func generate(t *testing.T, m *model.Model, dev device.Device, f attention.Format, chunk int, ids []int32, n int) (logits []float32, said []int32) {
	t.Helper()
	k := newTalker(t, m, dev, f, chunk)
	for len(said) < n {
		rows := min(chunk, len(ids), blockTokens-k.position%blockTokens)
		row := k.step(ids[:rows], rows-1)
		if ids = ids[rows:]; len(ids) > 0 {
			continue
		}
		best := 0
		for i, v := range row {
			if v > row[best] {
				best = i
			}
		}
		logits, said = append(logits, row...), append(said, int32(best))
		ids = []int32{int32(best)}
	}
	return logits, said
}

// floatsOf is what bytesOf was of.
func floatsOf(b []byte) []float32 {
	return unsafe.Slice((*float32)(unsafe.Pointer(unsafe.SliceData(b))), len(b)/4)
}

// upload is a tensor of a stream's device, until the next Wait.
func upload(st device.Stream, rows, cols int, data []float32) device.Tensor {
	return device.Tensor{Rows: rows, Cols: cols, Data: floatsOf(st.Upload(bytesOf(data)))}
}

// finish waits, and is what a tensor holds then.
func finish(t *testing.T, st device.Stream, data []float32) []float32 {
	t.Helper()
	b := st.Download(bytesOf(data))
	if err := st.Wait(); err != nil {
		t.Fatal(err)
	}
	return slices.Clone(floatsOf(b))
}
