//go:build !race

package metalkern

import (
	"testing"

	"github.com/orrery-ai/orrery/attention"
	"github.com/orrery-ai/orrery/device"
	"github.com/orrery-ai/orrery/metalkern/gpu"
	"github.com/orrery-ai/orrery/metalkern/gpu/gputest"
	"github.com/orrery-ai/orrery/model"
	"github.com/orrery-ai/orrery/model/modeltest"
	"github.com/orrery-ai/orrery/sampling"
)

// hopper is a GPU for which every kernel is used that there is, but for those of sm_90a.
var hopper = gpu.Info{Kind: "cuda", Name: "none", Arch: "sm_90", Units: 132, Pool: 227 << 10}

// recorder records steps of decode as the engine does, each behind the one before, for sequences of as many tokens on a host that runs nothing.
type recorder struct {
	m        *model.Model
	d        *model.Decoder
	st       *stream
	s        *model.Scratch
	acc      attention.Partial
	logits   device.Tensor
	kv       [][][]attention.KV // by sequence and layer
	rows     []device.Row
	chosen   []int32
	draw     sampling.Params
	position int

	in, out *device.Lane // nil unless steps exchange
	seq     uint32
}

// recorderTokens is how many tokens a block of a recorder has, and recorderBlocks how many blocks there are. When the last is full it is written anew.
const (
	recorderTokens = 256
	recorderBlocks = 4
)

func newRecorder(tb testing.TB, m *model.Model, sequences int, f attention.Format) *recorder {
	tb.Helper()
	dev, err := NewDevice(&gputest.Host{Device: hopper})
	if err != nil {
		tb.Fatal(err)
	}
	d, err := m.Layers(model.Range{First: 0, End: m.Config.Layers})
	if err != nil {
		tb.Fatal(err)
	}
	if err := d.Load(tb.Context(), dev, nil); err != nil {
		tb.Fatal(err)
	}
	r := &recorder{m: m, d: d, st: newStream(dev), rows: make([]device.Row, sequences), chosen: make([]int32, sequences)}
	shape, vocab := d.Shape(), m.Config.Vocab
	arena := place(tb, dev, int(m.Config.ScratchBytes(sequences)+shape.PartialBytes(sequences))/4+sequences*vocab)
	tb.Cleanup(func() {
		r.st.Close()
		d.Unload()
		if err := dev.Close(); err != nil {
			tb.Error(err)
		}
	})
	r.s, r.acc = model.ScratchIn(arena.Floats, &m.Config, sequences), attention.PartialIn(arena.Floats, sequences, shape)
	r.logits = device.Tensor{Rows: sequences, Cols: vocab, Data: arena.Floats(sequences * vocab)}
	for range sequences {
		layers := make([][]attention.KV, m.Config.Layers)
		for l := range layers {
			for i := range recorderBlocks {
				layers[l] = append(layers[l], block(tb, dev, f, shape, i*recorderTokens, recorderTokens))
				layers[l][i].Len = recorderTokens
			}
			layers[l][recorderBlocks-1].Len = 0
		}
		r.kv = append(r.kv, layers)
	}
	r.position = (recorderBlocks - 1) * recorderTokens
	return r
}

// exchange has steps send each layer's queries to another node, and receive what it makes of them.
func (r *recorder) exchange(tb testing.TB) {
	tb.Helper()
	size := int(r.d.Shape().PartialBytes(len(r.rows)))
	var err error
	if r.in, err = r.st.NewLane(device.LaneEnd{Size: size, Spin: true}); err == nil {
		r.out, err = r.st.NewLane(device.LaneEnd{Size: size, Out: true, Spin: true})
	}
	if err != nil {
		tb.Fatal(err)
	}
}

// step records a step.
func (r *recorder) step() {
	d, st, s, n := r.d, r.st, r.s, len(r.rows)
	d.EmbedChosen(st, s, s.Choice(n))
	for row := range n {
		d.Angles(st, s, row, r.position, 1)
	}
	for l := range r.m.Config.Layers {
		d.QKV(st, l, s)
		for row := range n {
			kv := r.kv[row][l]
			open := &kv[len(kv)-1]
			open.Len = r.position - open.First
			st.Append(open, open.Len, s.K.Slice(row, row+1), s.V.Slice(row, row+1))
			open.Len++
			r.rows[row] = device.Row{First: r.position, KV: kv}
		}
		if r.in != nil {
			st.Send(r.out, r.seq, bytesOf(s.Q.Data))
			st.Receive(r.in, r.seq, bytesOf(r.acc.O), bytesOf(r.acc.M), bytesOf(r.acc.L))
			r.seq++
		}
		st.Reset(r.acc)
		if n == 1 {
			st.Attend(r.acc, s.Q, r.position, d.Shape(), r.rows[0].KV)
		} else {
			device.AttendRows(st, r.acc, s.Q, r.rows, d.Shape())
		}
		st.Finish(s.Attn, r.acc)
		d.AfterAttention(st, l, s)
	}
	d.Logits(st, s, 0, n, r.logits)
	if choice := s.Choice(n); r.draw.Temperature == 0 {
		st.Argmax(choice, r.logits)
	} else {
		for i := range choice {
			st.Draw(choice[i:i+1], r.logits.Slice(i, i+1), r.draw, r.position)
		}
	}
	st.Download(bytesOf(s.Choice(n)))
	if r.position++; r.position == recorderBlocks*recorderTokens {
		r.position -= recorderTokens
	}
}

// run records steps, each behind the one before.
func (r *recorder) run(tb testing.TB, steps int) {
	for range steps {
		r.step()
		if !r.st.Part() {
			tb.Fatal("the queue has no fences")
		}
		if err := r.st.WaitPart(); err != nil {
			tb.Fatal(err)
		}
	}
}

// recorded are models and steps that are recorded, of a size for which every kernel is there.
var recorded = []struct {
	name      string
	options   modeltest.Options
	sequences int
	kv        attention.Format
	draw      sampling.Params
	exchange  bool
}{
	{name: "dense", options: modeltest.Options{Format: device.BF16}, sequences: 1, kv: attention.F16},
	{name: "drawn", options: modeltest.Options{Format: device.BF16}, sequences: 1, kv: attention.F16, draw: sampling.Params{Temperature: 0.8, TopK: 50, TopP: 0.95}},
	{name: "with biases", options: modeltest.Options{ModelType: "qwen2", Format: device.F16, AttentionBias: true}, sequences: 1, kv: attention.Q8},
	{name: "with norms of heads", options: modeltest.Options{ModelType: "qwen3", Format: device.F32}, sequences: 1, kv: attention.Q4},
	{name: "experts", options: modeltest.Options{ModelType: "qwen3_moe", Format: device.BF16}, sequences: 1, kv: attention.F16},
	{name: "two sequences", options: modeltest.Options{Format: device.BF16}, sequences: 2, kv: attention.F16},
	{name: "four sequences", options: modeltest.Options{Format: device.BF16}, sequences: 4, kv: attention.F16},
	{name: "four sequences with experts", options: modeltest.Options{ModelType: "qwen3_moe", Format: device.BF16}, sequences: 4, kv: attention.F16},
	{name: "exchanges", options: modeltest.Options{Format: device.BF16}, sequences: 1, kv: attention.F16, exchange: true},
}

func openRecorded(tb testing.TB, o modeltest.Options) *model.Model {
	o.Layers, o.Hidden, o.Intermediate, o.HeadDim = 6, 256, 256, 128
	return modeltest.Open(tb, o)
}

func TestRecordingAStepAllocatesNothing(t *testing.T) {
	for _, c := range recorded {
		t.Run(c.name, func(t *testing.T) {
			r := newRecorder(t, openRecorded(t, c.options), c.sequences, c.kv)
			if r.draw = c.draw; c.exchange {
				r.exchange(t)
			}
			r.run(t, 4)
			if n := testing.AllocsPerRun(100, func() { r.run(t, 1) }); n != 0 {
				t.Errorf("%v allocations", n)
			}
		})
	}
}

// BenchmarkRecord is the host's time for a step of decode, without what a GPU's driver takes.
func BenchmarkRecord(b *testing.B) {
	for _, c := range recorded {
		if c.exchange { // launches that a goroutine runs one by one take the time
			continue
		}
		b.Run(c.name, func(b *testing.B) {
			r := newRecorder(b, openRecorded(b, c.options), c.sequences, c.kv)
			r.draw = c.draw
			r.run(b, 4)
			q := r.st.queue.(*gputest.Queue)
			q.Launches, q.Copies = 0, 0
			b.ReportAllocs()
			b.ResetTimer()
			r.run(b, b.N)
			layers := float64(b.N * r.m.Config.Layers)
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/layers, "ns/layer")
			b.ReportMetric(float64(q.Launches)/float64(b.N), "launches")
			b.ReportMetric(float64(q.Copies)/float64(b.N), "copies")
		})
	}
}
