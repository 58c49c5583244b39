package metalkern

import (
	"fmt"
	"math"
	"slices"
	"testing"

	"github.com/orrery-ai/orrery/attention"
	"github.com/orrery-ai/orrery/device"
	"github.com/orrery-ai/orrery/device/cpu"
	"github.com/orrery-ai/orrery/recall"
)

func TestAModelSaysTheSameAsOnTheCPU(t *testing.T) {
	dev := open(t)
	m, err := recall.Open()
	if err != nil {
		t.Fatal(err)
	}
	processor := cpu.New(2)
	defer processor.Close()
	prompt := func(which, length int) []int32 {
		ids := make([]int32, length)
		for i := range ids {
			ids[i] = int32((i*i*31 + i*7 + 11 + which*(which*13+i*17)) % 900)
		}
		return ids
	}
	for _, c := range []struct {
		format             attention.Format
		prompts, read, say int
		limit              float64 // for one prompt; in others an element that rounds to another step of 8 or 4 bits shows up to three times as much
	}{{attention.F16, 1, 130, 6, 2e-3}, {attention.Q8, 1, 70, 2, 0.03}, {attention.Q4, 3, 70, 1, 0.25}} {
		t.Run(c.format.String(), func(t *testing.T) {
			var all []float64
			for which := range c.prompts {
				ids := prompt(which, c.read)
				want, said := generate(t, m, processor, c.format, chunk, ids, c.say)
				got, also := generate(t, m, dev, c.format, chunk, ids, c.say)
				if c.format != attention.Q4 && !slices.Equal(said, also) {
					t.Fatalf("the tokens are %v, not %v", also, said)
				}
				sum, worst := 0.0, 0.0
				for _, v := range want {
					sum += float64(v) * float64(v)
				}
				spread := math.Sqrt(sum / float64(len(want)))
				for i, v := range want {
					worst = max(worst, math.Abs(float64(got[i]-v))/spread)
				}
				t.Logf("prompt %d: the worst of %d logits is off by %.2g of their root mean square", which, len(want), worst)
				all = append(all, worst)
			}
			if best, worst := slices.Min(all), slices.Max(all); !(best < c.limit && worst < 3*c.limit) {
				t.Errorf("the worst logits are off by %.2g of their root mean square", all)
			}
		})
	}
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
// must not show. Heads of 128 are for another kernel where there is one.
func TestPartsThatWereNotWrittenYetAreMerged(t *testing.T) {
	dev := open(t)
	for _, dim := range []int{64, 128} {
		for _, f := range []attention.Format{attention.F16, attention.Q8, attention.Q4} {
			t.Run(fmt.Sprintf("heads of %d, %v", dim, f), func(t *testing.T) { testParts(t, dev, f, dim) })
		}
	}
}

func testParts(t *testing.T, dev *Device, f attention.Format, dim int) {
	st := dev.NewStream()
	shape := attention.Shape{Heads: 4, KVHeads: 2, HeadDim: dim, Scale: 0.125}
	processor := cpu.New(1)
	defer processor.Close()
	on := func(dev device.Device, st device.Stream) (o, l []float32) {
		const tokens = 40
		arena := place(t, dev, int(shape.PartialBytes(1))/4+12*dim+tokens*2*dim)
		tensor := func(rows, cols int) device.Tensor {
			x := device.Tensor{Rows: rows, Cols: cols, Data: arena.Floats(rows * cols)}
			data := make([]float32, rows*cols)
			for i := range data {
				data[i] = float32(math.Sin(float64(i * (rows + 3))))
			}
			st.Write(x, data)
			return x
		}
		q, k := tensor(1, 4*dim), tensor(tokens, 2*dim)
		out, p := tensor(1, 4*dim), attention.PartialIn(arena.Floats, 1, shape)
		blocks := []attention.KV{block(t, dev, f, shape, 0, 32), block(t, dev, f, shape, 32, 32)}
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
