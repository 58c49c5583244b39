package metalkern

import (
	"errors"
	"math"
	"os"
	"slices"
	"testing"
	"unsafe"

	"github.com/orrery-ai/orrery/attention"
	"github.com/orrery-ai/orrery/device"
	"github.com/orrery-ai/orrery/device/cpu"
	"github.com/orrery-ai/orrery/metalkern/gpu"
	"github.com/orrery-ai/orrery/model"
	"github.com/orrery-ai/orrery/recall"
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
func place(t *testing.T, dev device.Memory, floats int) *device.Arena {
	t.Helper()
	a, err := device.NewArena(dev, 4*floats)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(a.Free)
	return a
}

// block is an empty block in a device's memory.
func block(t *testing.T, dev device.Memory, shape attention.Shape, first, tokens int) attention.KV {
	t.Helper()
	half := tokens * shape.KVBytes(attention.F16) / 2
	b, err := dev.Alloc(2 * half)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { dev.Free(b) })
	return attention.KV{Format: attention.F16, HeadDim: shape.HeadDim, First: first, Cap: tokens, K: b[:half], V: b[half:]}
}

// generate reads ids and then says n more tokens, each the most likely. It returns the logits of every one, and the tokens. Blocks hold 64 tokens.
func generate(t *testing.T, m *model.Model, dev device.Device, ids []int32, n int) (logits []float32, said []int32) {
	t.Helper()
	d, err := m.Layers(model.Range{First: 0, End: m.Config.Layers})
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Load(t.Context(), dev, nil); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.Unload)
	const blockTokens = 64
	st, shape, vocab := dev.NewStream(), d.Shape(), m.Config.Vocab
	t.Cleanup(func() {
		if err := st.Close(); err != nil {
			t.Error(err)
		}
	})
	arena := place(t, dev, int(m.Config.ScratchBytes(chunk)+shape.PartialBytes(chunk))/4+vocab)
	s, acc := model.ScratchIn(arena.Floats, &m.Config, chunk), attention.PartialIn(arena.Floats, chunk, shape)
	out := device.Tensor{Rows: 1, Cols: vocab, Data: arena.Floats(vocab)}
	kv := make([][]attention.KV, m.Config.Layers)
	position := 0
	for len(said) < n {
		rows := min(chunk, len(ids), blockTokens-position%blockTokens)
		if position%blockTokens == 0 {
			for l := range kv {
				kv[l] = append(kv[l], block(t, dev, shape, position, blockTokens))
			}
		}
		d.Embed(st, s, ids[:rows])
		d.Angles(st, s, 0, position, rows)
		for l := range kv {
			d.QKV(st, l, s)
			last := &kv[l][len(kv[l])-1]
			st.Append(last, last.Len, s.K, s.V)
			last.Len += rows
			part := acc.Slice(0, rows)
			st.Reset(part)
			st.Attend(part, s.Q, position, shape, kv[l])
			st.Finish(s.Attn, part)
			d.AfterAttention(st, l, s)
		}
		d.Logits(st, s, rows-1, rows, out)
		b := st.Download(bytesOf(out.Data))
		if err := st.Wait(); err != nil {
			t.Fatal(err)
		}
		row := floatsOf(b)
		position += rows
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

func TestAModelSaysTheSameAsOnTheCPU(t *testing.T) {
	dev := open(t)
	m, err := recall.Open()
	if err != nil {
		t.Fatal(err)
	}
	processor := cpu.New(2)
	defer processor.Close()
	ids := make([]int32, 130)
	for i := range ids {
		ids[i] = int32((i*i*31 + i*7 + 11) % 900)
	}
	const n = 6
	want, said := generate(t, m, processor, ids, n)
	got, also := generate(t, m, dev, ids, n)
	for i := range said {
		if said[i] != also[i] {
			t.Fatalf("the tokens are %v, not %v", also, said)
		}
	}
	sum, worst := 0.0, 0.0
	for _, v := range want {
		sum += float64(v) * float64(v)
	}
	spread := math.Sqrt(sum / float64(len(want)))
	for i, v := range want {
		worst = max(worst, math.Abs(float64(got[i]-v))/spread)
	}
	t.Logf("the worst of %d logits is off by %.2g of their root mean square", len(want), worst)
	if !(worst < 0.05) { // products of many tokens in bf16 round activations to 8 bits
		t.Errorf("the worst logit is off by %.2g of their root mean square", worst)
	}
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

func TestMergeAndFinishKeepEmptyParts(t *testing.T) {
	dev := open(t)
	st := dev.NewStream()
	shape := attention.Shape{Heads: 2, KVHeads: 1, HeadDim: 64, Scale: 0.125}
	arena := place(t, dev, 2*int(shape.PartialBytes(3))/4+3*128)
	a, b := attention.PartialIn(arena.Floats, 3, shape), attention.PartialIn(arena.Floats, 3, shape)
	out := device.Tensor{Rows: 3, Cols: 128, Data: arena.Floats(3 * 128)}
	part := attention.NewPartial(3, shape)
	for i := range part.O[:64] {
		part.O[i] = float32(i)
	}
	part.M[0], part.L[0] = 2, 4
	st.Write(device.Tensor{Rows: 1, Cols: len(b.O), Data: b.O}, part.O)
	st.Write(device.Tensor{Rows: 1, Cols: len(b.M), Data: b.M}, part.M)
	st.Write(device.Tensor{Rows: 1, Cols: len(b.L), Data: b.L}, part.L)
	st.Reset(a)
	st.Merge(a, b)
	st.Finish(out, a)
	for i, v := range finish(t, st, out.Data) {
		want := float32(0)
		if i < 64 {
			want = float32(i) / 4
		}
		if v != want {
			t.Fatalf("element %d is %v, not %v", i, v, want)
		}
	}
	st.Reset(a)
	if m, l := finish(t, st, a.M), finish(t, st, a.L); !math.IsInf(float64(m[1]), -1) || l[1] != 0 {
		t.Errorf("a part without keys is m = %v, l = %v", m[1], l[1])
	}
}

func TestABlockInAnotherFormatIsRefused(t *testing.T) {
	dev := open(t)
	if err := dev.Check(attention.F32, attention.Shape{Heads: 1, KVHeads: 1, HeadDim: 64}); err == nil {
		t.Error("blocks in F32 are accepted")
	}
	st := dev.NewStream()
	kv := attention.KV{Format: attention.F32, HeadDim: 64, Cap: 4, K: make([]byte, 1024), V: make([]byte, 1024)}
	x := upload(st, 1, 64, make([]float32, 64))
	st.Append(&kv, 0, x, x)
	if err := st.Wait(); err == nil {
		t.Error("a block in F32 is accepted")
	}
	if err := st.Wait(); err != nil {
		t.Errorf("the error is returned twice: %v", err)
	}
}

func TestWeightsAreLoadedOnceAndFreedByTheLastUser(t *testing.T) {
	dev := open(t)
	data := make([]float32, 32*32)
	data[0] = 2
	w := device.Matrix{Format: device.F32, Rows: 32, Cols: 32, Data: bytesOf(data)}
	first, err := dev.Load(w)
	if err != nil {
		t.Fatal(err)
	}
	second, err := dev.Load(w)
	if err != nil || &first.Data[0] != &second.Data[0] {
		t.Fatalf("loaded twice, to %p and %p: %v", first.Data, second.Data, err)
	}
	dev.Unload(first)
	st := dev.NewStream()
	ones := make([]float32, 32)
	ones[0] = 1
	x, out := upload(st, 1, 32, ones), upload(st, 1, 32, make([]float32, 32))
	st.MatMul(out, x, second)
	if got := finish(t, st, out.Data); got[0] != 2 {
		t.Errorf("the product is %v, not 2", got[0])
	}
	dev.Unload(second)
	data[0] = 3
	if first, err = dev.Load(w); err != nil {
		t.Fatal(err)
	}
	x, out = upload(st, 1, 32, ones), upload(st, 1, 32, make([]float32, 32))
	st.MatMul(out, x, first)
	if got := finish(t, st, out.Data); got[0] != 3 {
		t.Errorf("the product is %v, not 3: the old weights were kept", got[0])
	}
	dev.Unload(first)
}

// TestPartsThatWereNotWrittenYetAreMerged attends twice into one partial, looks at it, and attends again: whatever a stream leaves for later
// must not show.
func TestPartsThatWereNotWrittenYetAreMerged(t *testing.T) {
	dev := open(t)
	st := dev.NewStream()
	shape := attention.Shape{Heads: 4, KVHeads: 2, HeadDim: 64, Scale: 0.125}
	processor := cpu.New(1)
	defer processor.Close()
	on := func(dev device.Device, st device.Stream) (o, l []float32) {
		const tokens = 40
		arena := place(t, dev, int(shape.PartialBytes(1))/4+3*256+tokens*128)
		tensor := func(rows, cols int) device.Tensor {
			x := device.Tensor{Rows: rows, Cols: cols, Data: arena.Floats(rows * cols)}
			data := make([]float32, rows*cols)
			for i := range data {
				data[i] = float32(math.Sin(float64(i * (rows + 3))))
			}
			st.Write(x, data)
			return x
		}
		q, k := tensor(1, 256), tensor(tokens, 128)
		out, p := tensor(1, 256), attention.PartialIn(arena.Floats, 1, shape)
		blocks := []attention.KV{block(t, dev, shape, 0, 32), block(t, dev, shape, 32, 32)}
		st.Append(&blocks[0], 0, k.Slice(0, 32), k.Slice(0, 32))
		st.Append(&blocks[1], 0, k.Slice(32, tokens), k.Slice(32, tokens))
		blocks[0].Len, blocks[1].Len = 32, tokens-32
		st.Reset(p)
		st.Attend(p, q, tokens, shape, blocks[:1])
		l = append(l, finish(t, st, p.L)...)
		st.Attend(p, q, tokens, shape, blocks[1:])
		l = append(l, finish(t, st, p.L)...)
		st.Reset(p)
		st.Attend(p, q, tokens, shape, blocks)
		st.Attend(p, q, 0, shape, blocks[1:]) // sees nothing
		st.Finish(out, p)
		return append(o, finish(t, st, out.Data)...), l
	}
	o, l := on(dev, st)
	wantO, wantL := on(processor, processor.NewStream())
	for i, v := range append(o, l...) {
		if want := append(wantO, wantL...)[i]; math.Abs(float64(v-want)) > 2e-3*math.Max(1, math.Abs(float64(want))) {
			t.Fatalf("element %d is %v, not %v", i, v, want)
		}
	}
}
