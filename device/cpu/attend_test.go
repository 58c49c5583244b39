package cpu

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"github.com/orrery-ai/orrery/attention"
	"github.com/orrery-ai/orrery/device"
)

// blocks appends tokens to blocks of a few hundred tokens through the stream. Room without data is NaN.
func blocks(r *rand.Rand, s device.Stream, shape attention.Shape, tokens int) []attention.KV {
	var kv []attention.KV
	for at := 0; at < tokens; {
		n := min(tokens-at, 1+r.IntN(700))
		room := n + r.IntN(3)
		bytes := room * shape.KVBytes(attention.F16) / 2
		block := attention.KV{Format: attention.F16, HeadDim: shape.HeadDim, First: at, Cap: room, K: make([]byte, bytes), V: make([]byte, bytes)}
		for i := range block.K {
			block.K[i], block.V[i] = 0xff, 0xff
		}
		width := shape.KVHeads * shape.HeadDim
		for block.Len < n { // in two goes
			m := min(n-block.Len, n/2+1)
			s.Append(&block, block.Len, random(r, m, width), random(r, m, width))
			block.Len += m
		}
		kv = append(kv, block)
		at += n
	}
	return kv
}

func TestAppendStoresHalvesByHead(t *testing.T) {
	onStreams(t, func(t *testing.T, _ int, s device.Stream) {
		const heads, dim, room = 3, 4, 9
		kv := attention.KV{Format: attention.F16, HeadDim: dim, Cap: room, K: make([]byte, 2*heads*dim*room), V: make([]byte, 2*heads*dim*room)}
		k, v := device.NewTensor(5, heads*dim), device.NewTensor(5, heads*dim)
		for i := range k.Data {
			k.Data[i], v.Data[i] = float32(i+1), -float32(i+1)
		}
		s.Append(&kv, 2, k, v)
		for i := range heads * room * dim {
			head, token, e := i/dim/room, i/dim%room-2, i%dim
			want := uint16(0)
			if token >= 0 && token < 5 {
				bits := math.Float32bits(k.Row(token)[head*dim+e])
				want = uint16(bits>>23-112)<<10 | uint16(bits>>13&0x3ff)
			}
			if got := binary.LittleEndian.Uint16(kv.K[2*i:]); got != want {
				t.Fatalf("key element %d is %#x, want %#x", i, got, want)
			}
			if want != 0 {
				want |= 0x8000
			}
			if got := binary.LittleEndian.Uint16(kv.V[2*i:]); got != want {
				t.Fatalf("value element %d is %#x, want %#x", i, got, want)
			}
		}
		if kv.Len != 0 {
			t.Fatal("Append changed Len")
		}
		panics(t, "Append", func() { s.Append(&kv, 5, k, v) })
		kv.HeadDim = 0
		panics(t, "heads of 0 elements", func() { s.Append(&kv, 0, k, v) })
	})
}

func TestAttendEqualsOneWorkersAttention(t *testing.T) {
	appender := New(1)
	defer appender.Close()
	for _, shape := range []attention.Shape{
		{Heads: 4, KVHeads: 2, HeadDim: 64, Scale: 0.125},
		{Heads: 6, KVHeads: 1, HeadDim: 32, Scale: 0.2},
		{Heads: 7, KVHeads: 7, HeadDim: 16, Scale: 0.25},
		{Heads: 2, KVHeads: 2, HeadDim: 20, Scale: 0.2},
	} {
		for _, c := range []struct{ rows, tokens, first int }{
			{1, 1, 0}, {1, 3500, 3499}, {3, 2500, 2400}, {48, 2100, 2052}, {200, 300, 100}, {5, 10, 3}, {2, 40, -5},
		} {
			r := rand.New(rand.NewPCG(5, 5))
			kv := blocks(r, appender.NewStream(), shape, c.tokens)
			q := random(r, c.rows, shape.Heads*shape.HeadDim)
			want := attention.NewPartial(c.rows, shape)
			var f attention.Flash
			for head := range shape.KVHeads {
				f.Attend(want, q.Data, c.first, shape, head, head+1, kv)
			}
			expect := device.NewTensor(c.rows, shape.Heads*shape.HeadDim)
			attention.Finish(expect.Data, want)
			var first []float32
			onStreams(t, func(t *testing.T, threads int, s device.Stream) {
				p := attention.NewPartial(c.rows, shape)
				half := len(kv) / 2
				s.Attend(p, q, c.first, shape, kv[half:])
				s.Attend(p, q, c.first, shape, kv[:half])
				got := device.NewTensor(c.rows, shape.Heads*shape.HeadDim)
				s.Finish(got, p)
				what := fmt.Sprintf("%+v %+v", shape, c)
				for i, v := range got.Data {
					near(t, what, v, float64(expect.Data[i]), 1, 2e-6)
				}
				if first == nil {
					first = append(first, p.O...)
				}
				for i := range p.O {
					if p.O[i] != first[i] {
						t.Fatalf("%+v %+v: element %d is %v on one thread, %v on %d", shape, c, i, first[i], p.O[i], threads)
					}
				}
				s.Merge(p, want) // the same keys again: the same result
				s.Finish(got, p)
				for i, v := range got.Data {
					near(t, "merged", v, float64(expect.Data[i]), 1, 2e-6)
				}
			})
		}
	}
}

func TestAttendRefusesOtherShapes(t *testing.T) {
	d := New(1)
	defer d.Close()
	s := d.NewStream()
	shape := attention.Shape{Heads: 2, KVHeads: 1, HeadDim: 8, Scale: 1}
	p := attention.NewPartial(2, shape)
	panics(t, "Attend", func() { s.Attend(p, device.NewTensor(1, 16), 0, shape, nil) })
	panics(t, "Finish", func() { s.Finish(device.NewTensor(1, 16), p) })
}

// step is one layer's work, on tokens at the end of some thousands.
type step struct {
	shape            attention.Shape
	x, q, k, h, h2   device.Tensor
	wq, wk, up, down device.Matrix
	cos, sin         device.Tensor
	norm             []float32
	kv               []attention.KV
	p                attention.Partial
}

func newStep(r *rand.Rand, s device.Stream, tokens, context int) *step {
	shape := attention.Shape{Heads: 4, KVHeads: 2, HeadDim: 64, Scale: 0.125}
	l := &step{shape: shape, x: random(r, tokens, 256), q: device.NewTensor(tokens, 256), k: device.NewTensor(tokens, 128),
		h: device.NewTensor(tokens, 768), h2: device.NewTensor(tokens, 768), cos: random(r, tokens, 32), sin: random(r, tokens, 32),
		norm: random(r, 1, 256).Data, kv: blocks(r, s, shape, context), p: attention.NewPartial(tokens, shape)}
	l.wq, _ = matrix(r, device.BF16, 256, 256)
	l.wk, _ = matrix(r, device.BF16, 128, 256)
	l.up, _ = matrix(r, device.F16, 768, 256)
	l.down, _ = matrix(r, device.F32, 256, 768)
	return l
}

func (l *step) run(s device.Stream) {
	last := &l.kv[len(l.kv)-1]
	s.RMSNorm(l.q, l.x, l.norm, 1e-6)
	s.MatMul(l.k, l.q, l.wk)
	s.MatMul(l.q, l.x, l.wq)
	s.Rope(l.q, 64, l.cos, l.sin, false)
	s.Append(last, 0, l.k.Slice(0, 1), l.k.Slice(0, 1))
	l.p.Reset()
	s.Attend(l.p, l.q, last.End()-l.q.Rows, l.shape, l.kv)
	s.Finish(l.q, l.p)
	s.MatMul(l.h, l.q, l.up)
	s.MatMul(l.h2, l.q, l.up)
	s.SwiGLU(l.h, l.h, l.h2)
	s.MatMul(l.q, l.h, l.down)
}

func TestStreamsOfOneDeviceRunSideBySide(t *testing.T) {
	d := New(4)
	defer d.Close()
	for _, tokens := range []int{1, 20} {
		var steps []*step
		var alone [][]float32
		for seed := range 3 {
			s := d.NewStream()
			l := newStep(rand.New(rand.NewPCG(uint64(seed), 0)), s, tokens, 2100)
			l.run(s)
			steps, alone = append(steps, l), append(alone, slices.Clone(l.q.Data))
		}
		var all sync.WaitGroup
		for i, l := range steps {
			all.Go(func() {
				s := d.NewStream()
				for range 5 {
					if l.run(s); !slices.Equal(l.q.Data, alone[i]) {
						t.Errorf("%d tokens: stream %d differs beside others", tokens, i)
					}
				}
			})
		}
		all.Wait()
	}
}

func TestASteadyStateAllocatesNothing(t *testing.T) {
	d := New(3)
	defer d.Close()
	s := d.NewStream()
	for _, tokens := range []int{1, 50} {
		l := newStep(rand.New(rand.NewPCG(6, 6)), s, tokens, 2100)
		n := 0.0
		for range 20 { // until every worker has taken part in everything
			if n = testing.AllocsPerRun(3, func() { l.run(s) }); n == 0 {
				break
			}
		}
		if n != 0 {
			t.Errorf("%d tokens: %v allocations in a step", tokens, n)
		}
	}
}

func TestCloseTwice(t *testing.T) {
	d := New(2)
	for range 2 {
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
