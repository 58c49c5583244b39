package metalkern

import (
	"errors"
	"math"
	"os"
	"testing"

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

// generate reads ids and then says n more tokens, each the most likely. It returns the logits of every one, and the tokens. Blocks hold 64 tokens.
func generate(t *testing.T, m *model.Model, dev device.Device, ids []int32, n int) (logits []float32, said []int32) {
	t.Helper()
	d, err := m.Layers(model.Range{First: 0, End: m.Config.Layers})
	if err != nil {
		t.Fatal(err)
	}
	const blockTokens = 64
	st, shape, s := dev.NewStream(), d.Shape(), model.NewScratch(&m.Config, chunk)
	acc, out := attention.NewPartial(chunk, shape), device.NewTensor(1, m.Config.Vocab)
	kv := make([][]attention.KV, m.Config.Layers)
	position := 0
	for len(said) < n {
		rows := min(chunk, len(ids), blockTokens-position%blockTokens)
		if position%blockTokens == 0 {
			bytes := blockTokens * shape.KVBytes(attention.F16) / 2
			for l := range kv {
				kv[l] = append(kv[l], attention.KV{Format: attention.F16, HeadDim: shape.HeadDim, First: position, Cap: blockTokens, K: make([]byte, bytes), V: make([]byte, bytes)})
			}
		}
		d.Embed(st, s, ids[:rows])
		d.Angles(s, 0, position, rows)
		for l := range kv {
			d.QKV(st, l, s)
			last := &kv[l][len(kv[l])-1]
			st.Append(last, last.Len, s.K, s.V)
			last.Len += rows
			part := acc.Slice(0, rows)
			part.Reset()
			st.Attend(part, s.Q, position, shape, kv[l])
			st.Finish(s.Attn, part)
			d.AfterAttention(st, l, s)
		}
		d.Logits(st, s, rows-1, rows, out)
		if err := st.Wait(); err != nil {
			t.Fatal(err)
		}
		position += rows
		if ids = ids[rows:]; len(ids) > 0 {
			continue
		}
		best := 0
		for i, v := range out.Data {
			if v > out.Data[best] {
				best = i
			}
		}
		logits, said = append(logits, out.Data...), append(said, int32(best))
		ids = []int32{int32(best)}
	}
	return logits, said
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

func TestMergeAndFinishKeepEmptyParts(t *testing.T) {
	st := open(t).NewStream()
	shape := attention.Shape{Heads: 2, KVHeads: 1, HeadDim: 64, Scale: 0.125}
	a, b := attention.NewPartial(3, shape), attention.NewPartial(3, shape)
	for i := range b.O[:64] {
		b.O[i] = float32(i)
	}
	b.M[0], b.L[0] = 2, 4
	st.Merge(a, b)
	out := device.NewTensor(3, 128)
	st.Finish(out, a)
	if err := st.Wait(); err != nil {
		t.Fatal(err)
	}
	for i, v := range out.Data {
		want := float32(0)
		if i < 64 {
			want = float32(i) / 4
		}
		if v != want {
			t.Fatalf("element %d is %v, not %v", i, v, want)
		}
	}
	if !math.IsInf(float64(a.M[1]), -1) || a.L[1] != 0 {
		t.Errorf("a part without keys became m = %v, l = %v", a.M[1], a.L[1])
	}
}

func TestABlockInAnotherFormatIsRefused(t *testing.T) {
	st := open(t).NewStream()
	kv := attention.KV{Format: attention.F32, HeadDim: 64, Cap: 4, K: make([]byte, 1024), V: make([]byte, 1024)}
	x := device.NewTensor(1, 64)
	st.Append(&kv, 0, x, x)
	if err := st.Wait(); err == nil {
		t.Error("a block in F32 is accepted")
	}
	if err := st.Wait(); err != nil {
		t.Errorf("the error is returned twice: %v", err)
	}
}

func TestWeightsThatLieWhereOthersLayAreFoundOut(t *testing.T) {
	st := open(t).NewStream()
	data := make([]byte, 4*32*32)
	w := device.Matrix{Format: device.F32, Rows: 32, Cols: 32, Data: data}
	x, out := device.NewTensor(1, 32), device.NewTensor(1, 32)
	x.Data[0] = 1
	for _, first := range []float32{2, 3} {
		copy(data, bytesOf([]float32{first}))
		st.MatMul(out, x, w)
		if err := st.Wait(); err != nil {
			t.Fatal(err)
		}
		if out.Data[0] != first {
			t.Errorf("the product is %v, not %v", out.Data[0], first)
		}
	}
}
