package model_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/big"
	"runtime"
	"slices"
	"testing"

	"github.com/orrery-ai/orrery/attention"
	"github.com/orrery-ai/orrery/device"
	"github.com/orrery-ai/orrery/device/cpu"
	"github.com/orrery-ai/orrery/model"
	"github.com/orrery-ai/orrery/model/modeltest"
)

// idle is a stream that computes nothing.
type idle struct{}

func (idle) Embed(device.Tensor, device.Matrix, []int32)                                   {}
func (idle) RMSNorm(_, _ device.Tensor, _ []float32, _ float32)                            {}
func (idle) MatMul(_, _ device.Tensor, _ device.Matrix)                                    {}
func (idle) Add(_, _ device.Tensor)                                                        {}
func (idle) AddBias(device.Tensor, []float32)                                              {}
func (idle) Rope(device.Tensor, int, device.Tensor, device.Tensor, bool)                   {}
func (idle) Append(*attention.KV, int, device.Tensor, device.Tensor)                       {}
func (idle) Attend(attention.Partial, device.Tensor, int, attention.Shape, []attention.KV) {}
func (idle) Merge(_, _ attention.Partial)                                                  {}
func (idle) Finish(device.Tensor, attention.Partial)                                       {}
func (idle) SwiGLU(_, _, _ device.Tensor)                                                  {}
func (idle) Route(device.Routing, device.Tensor, bool)                                     {}
func (idle) Experts(_, _ device.Tensor, _ device.Routing, _ *device.Experts, _ []float32)  {}
func (idle) Argmax([]int32, device.Tensor)                                                 {}
func (idle) Reset(attention.Partial)                                                       {}
func (idle) Write(device.Tensor, []float32)                                                {}
func (idle) Upload(b []byte) []byte                                                        { return b }
func (idle) Download(b []byte) []byte                                                      { return b }
func (idle) Close() error                                                                  { return nil }
func (idle) Wait() error                                                                   { return nil }

// recorder keeps the matrices that it was given.
type recorder struct {
	idle
	matrices []device.Matrix
}

func (r *recorder) Embed(_ device.Tensor, w device.Matrix, _ []int32) {
	r.matrices = append(r.matrices, w)
}
func (r *recorder) MatMul(_, _ device.Tensor, w device.Matrix) { r.matrices = append(r.matrices, w) }

func someIDs(n, vocab int) []int32 {
	ids := make([]int32, n)
	for i := range ids {
		ids[i] = int32((i*i*7 + 3*i + 5) % vocab)
	}
	return ids
}

func TestAnySplitOfLayersAndTokensGivesTheSameLogits(t *testing.T) {
	for _, o := range []modeltest.Options{
		{}, {Tied: true, Format: device.F16}, {ModelType: "qwen3", Format: device.BF16, Shards: 3},
		{HeadDim: 24, KVHeads: 1, AttentionBias: true},
	} {
		m := modeltest.Open(t, o)
		st := reference{}
		ids := someIDs(30, m.Config.Vocab)
		want := logits(t, m, st, ids, len(ids))
		for _, split := range []struct {
			chunk int
			cuts  []int
		}{{1, nil}, {7, []int{1}}, {30, []int{1, 2, 3}}, {13, []int{3}}} {
			got := logits(t, m, st, ids, split.chunk, split.cuts...)
			if !slices.Equal(got.Data, want.Data) {
				t.Errorf("%+v in steps of %d, cut at %v: other logits", o, split.chunk, split.cuts)
			}
		}
	}
}

func TestRandomModelsHaveTheSpreadOfTrainedOnes(t *testing.T) {
	for _, o := range []modeltest.Options{{}, {Tied: true, Hidden: 128, Format: device.BF16}, {ModelType: "qwen3", Seed: 4}} {
		m := modeltest.Open(t, o)
		ids := someIDs(24, m.Config.Vocab)
		st := reference{}
		got := logits(t, m, st, ids, 24)
		ids[0]++
		other := logits(t, m, st, ids, 24)
		var sum, squares, effect float64
		for i, v := range got.Data {
			sum, squares = sum+float64(v), squares+float64(v)*float64(v)
			if i >= 20*got.Cols {
				effect = max(effect, math.Abs(float64(v-other.Data[i])))
			}
		}
		n := float64(len(got.Data))
		if spread := math.Sqrt(squares/n - sum*sum/n/n); spread < 2 || spread > 8 {
			t.Errorf("%+v: spread %.2f", o, spread)
		}
		if effect < 0.1 {
			t.Errorf("%+v: the first token changes logits 20 later by only %g", o, effect)
		}
	}
}

func TestRecordingAStepAllocatesNothing(t *testing.T) {
	m := modeltest.Open(t, modeltest.Options{ModelType: "qwen3", AttentionBias: true})
	d, err := m.Layers(model.Range{First: 0, End: m.Config.Layers})
	if err != nil {
		t.Fatal(err)
	}
	var st device.Stream = idle{}
	s := model.NewScratch(&m.Config, 8)
	ids, out := someIDs(8, m.Config.Vocab), device.NewTensor(1, m.Config.Vocab)
	if n := testing.AllocsPerRun(10, func() {
		d.Embed(st, s, ids)
		d.Angles(st, s, 0, 100, len(ids))
		for l := range m.Config.Layers {
			d.QKV(st, l, s)
			d.AfterAttention(st, l, s)
		}
		d.Logits(st, s, 7, 8, out)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// TestAnglesAreExactAtLongContext compares with angles reduced in 200-bit arithmetic.
func TestAnglesAreExactAtLongContext(t *testing.T) {
	m := modeltest.Open(t, modeltest.Options{HeadDim: 64})
	d, err := m.Layers(model.Range{First: 0, End: 1})
	if err != nil {
		t.Fatal(err)
	}
	const first = 204_800
	var st device.Stream = reference{}
	s := model.NewScratch(&m.Config, 3)
	s.Cos.Row(0)[0] = 7
	d.Angles(st, s, 1, first, 2)
	turn, _, err := big.ParseFloat("6.2831853071795864769252867665590057683943387987502116419498892", 10, 200, big.ToNearestEven)
	if err != nil {
		t.Fatal(err)
	}
	for row := range 2 {
		for j := range 32 {
			f := m.Config.Rope.Frequencies(64)[j]
			angle := new(big.Float).SetPrec(200).SetFloat64(f)
			angle.Mul(angle, big.NewFloat(float64(first+row)))
			turns, _ := new(big.Float).SetPrec(200).Quo(angle, turn).Int(nil)
			angle.Sub(angle, new(big.Float).SetPrec(200).Mul(turn, new(big.Float).SetInt(turns)))
			want, _ := angle.Float64()
			if c := math.Abs(float64(s.Cos.Row(row + 1)[j]) - math.Cos(want)); c > 1e-7 {
				t.Errorf("cosine %d at %d is off by %g", j, first+row, c)
			}
			if c := math.Abs(float64(s.Sin.Row(row + 1)[j]) - math.Sin(want)); c > 1e-7 {
				t.Errorf("sine %d at %d is off by %g", j, first+row, c)
			}
		}
	}
	if s.Cos.Row(0)[0] != 7 {
		t.Error("a row outside the run was written")
	}
}

func TestRangesThatTheModelLacksAreRefused(t *testing.T) {
	m := modeltest.Open(t, modeltest.Options{})
	for _, r := range []model.Range{{}, {First: 2, End: 2}, {First: 3, End: 2}, {First: -1, End: 2}, {First: 0, End: 5}} {
		if _, err := m.Layers(r); err == nil {
			t.Errorf("layers %v were bound", r)
		}
	}
}

func TestScratchIsAsLargeAsPlacementCounts(t *testing.T) {
	m := modeltest.Open(t, modeltest.Options{HeadDim: 24})
	c := &m.Config
	const rows = 10
	if got, want := c.ScratchBytes(rows), int64(4*rows*(2*64+2*4*24+2*2*24+2*12+2*96)); got != want {
		t.Errorf("ScratchBytes is %d, want %d", got, want)
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	runtime.KeepAlive(model.NewScratch(c, 4096))
	runtime.ReadMemStats(&after)
	if got := float64(after.TotalAlloc - before.TotalAlloc); math.Abs(got/float64(c.ScratchBytes(4096))-1) > 0.01 {
		t.Errorf("NewScratch takes %.0f bytes, ScratchBytes is %d", got, c.ScratchBytes(4096))
	}
}

func TestResizeKeepsRowsInPlace(t *testing.T) {
	m := modeltest.Open(t, modeltest.Options{})
	s := model.NewScratch(&m.Config, 4)
	s.Q.Row(3)[5] = 1
	s.Resize(1)
	if s.Rows() != 1 || s.Q.Rows != 1 || len(s.Q.Data) != s.Q.Cols || len(s.Sin.Data) != s.Sin.Cols {
		t.Errorf("a step of 1 has %d rows of q in %d elements", s.Q.Rows, len(s.Q.Data))
	}
	s.Resize(4)
	if s.Q.Row(3)[5] != 1 {
		t.Error("growing again lost a row")
	}
	defer func() {
		if recover() == nil {
			t.Error("a step larger than the scratch was taken")
		}
	}()
	s.Resize(5)
}

func TestBytesOfRangesAddUpToTheFile(t *testing.T) {
	const layer, table, norm = 4 * (2*64 + 2*64*64 + 2*32*64 + 3*96*64), 4 * 256 * 64, 4 * 64
	for _, tied := range []bool{false, true} {
		m := modeltest.Open(t, modeltest.Options{Tied: tied})
		if got := m.LayerBytes(2); got != layer {
			t.Errorf("a layer has %d bytes, want %d", got, layer)
		}
		if m.EmbedBytes() != table || m.HeadBytes() != table+norm {
			t.Errorf("embedding and head have %d and %d bytes", m.EmbedBytes(), m.HeadBytes())
		}
		whole := m.RangeBytes(model.Range{First: 0, End: 4})
		parts := m.RangeBytes(model.Range{First: 0, End: 1}) + m.RangeBytes(model.Range{First: 1, End: 3}) + m.RangeBytes(model.Range{First: 3, End: 4})
		want, extra := int64(4*layer+2*table+norm), int64(0)
		if tied { // one node holds the table once, two nodes hold it twice
			want, extra = want-table, table
		}
		if whole != want || parts != want+extra {
			t.Errorf("tied %v: the model has %d bytes and its parts %d, want %d and %d", tied, whole, parts, want, want+extra)
		}
		if got := m.Config.KVBytesPerToken(attention.F16); got != 2*2*16*2 {
			t.Errorf("a token takes %d bytes in a layer's cache", got)
		}
	}
}

func TestLoadReadsEachWeightOnceAndStopsWhenTold(t *testing.T) {
	m := modeltest.Open(t, modeltest.Options{Tied: true, Vocab: 50_000})
	d, err := m.Layers(model.Range{First: 0, End: 4})
	if err != nil {
		t.Fatal(err)
	}
	dev := cpu.New(1)
	defer dev.Close()
	var last, total int64
	if err := d.Load(t.Context(), dev, func(done, all int64) {
		if done <= last || done > all {
			t.Errorf("progress %d of %d after %d", done, all, last)
		}
		last, total = done, all
	}); err != nil {
		t.Fatal(err)
	}
	const vectors = 4 * (4*2 + 1) * 64 // norms, which are copied when layers are bound
	if want := m.RangeBytes(d.Range) - vectors; last != want || total != want {
		t.Errorf("read %d of %d bytes, want %d", last, total, want)
	}
	reason := errors.New("the model is going away")
	ctx, cancel := context.WithCancelCause(t.Context())
	chunks := 0
	err = d.Load(ctx, dev, func(int64, int64) { chunks++; cancel(reason) })
	if !errors.Is(err, reason) || chunks != 1 {
		t.Errorf("stopped after %d chunks with %v", chunks, err)
	}
}

func BenchmarkAngles(b *testing.B) {
	m := modeltest.Open(b, modeltest.Options{HeadDim: 128})
	d, err := m.Layers(model.Range{First: 0, End: 1})
	if err != nil {
		b.Fatal(err)
	}
	for _, rows := range []int{1, 1024} {
		b.Run(fmt.Sprint(rows), func(b *testing.B) {
			s := model.NewScratch(&m.Config, rows)
			for b.Loop() {
				d.Angles(idle{}, s, 0, 200_000, rows)
			}
		})
	}
}
