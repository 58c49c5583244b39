package model

import (
	"fmt"
	"math"
	"sync/atomic"

	"github.com/orrery-ai/orrery/attention"
	"github.com/orrery-ai/orrery/device"
)

// Decoder is a range of a model's layers, bound to their weights. Its methods record operations and
// may be called by several goroutines, each with its own stream and scratch. Nothing is computed, and
// no result may be read, before the stream's Wait.
type Decoder struct {
	Config Config
	Range  Range

	layers      []layer
	embed, head device.Matrix // zero on a node that does not have the first or the last layer
	norm        []float32
	frequencies []float64 // angle of one position, for each pair of a head
	files       [][]byte  // the model's, as they lie in memory
	settled     *settled  // the model's

	device device.Device   // of Load
	loaded []device.Matrix // there
	groups []device.Experts

	inPlace [][]byte    // weights that it uses where they lie
	busy    atomic.Bool // a step has used the decoder since Settle looked
}

// layer is a layer's weights. Norms and biases that the architecture lacks are nil.
type layer struct {
	inputNorm, postNorm []float32
	q, k, v, o          projection
	qNorm, kNorm        []float32
	gate, up, down      projection // of a dense layer
	router              projection // of a layer with experts
	experts             device.Experts
}

// projection is x·wᵀ + bias.
type projection struct {
	w    device.Matrix
	bias []float32
}

// Layers binds the layers r, for a CPU that reads them from the model's files, or to be loaded on another device: with the embedding if r starts at the first layer, and with the final
// norm and the head if it ends at the last. The only error is a range that the model does not have.
func (m *Model) Layers(r Range) (*Decoder, error) {
	c := &m.Config
	if r.First < 0 || r.First >= r.End || r.End > c.Layers {
		return nil, fmt.Errorf("model %s: layers [%d, %d) of %d", m.name, r.First, r.End, c.Layers)
	}
	d := &Decoder{
		Config: *c, Range: r,
		layers:      make([]layer, r.Len()),
		frequencies: c.Rope.Frequencies(c.HeadDim),
		files:       m.src.places(),
		settled:     &m.settled,
	}
	for i := range d.layers {
		d.layers[i] = m.layer(r.First + i)
	}
	if r.First == 0 {
		d.embed = m.weights.matrix(embedName)
	}
	if r.End == c.Layers {
		d.norm = m.weights.vector(normName)
		d.head = m.weights.matrix(c.headTensor())
	}
	return d, nil
}

func (m *Model) layer(l int) layer {
	c := &m.Config
	linear := func(part string, bias bool) projection {
		p := projection{w: m.weights.matrix(layerName(l, part+".weight"))}
		if bias {
			p.bias = m.weights.vector(layerName(l, part+".bias"))
		}
		return p
	}
	vector := func(part string) []float32 { return m.weights.vector(layerName(l, part+".weight")) }
	out := layer{
		inputNorm: vector("input_layernorm"),
		q:         linear("self_attn.q_proj", c.QKVBias),
		k:         linear("self_attn.k_proj", c.QKVBias),
		v:         linear("self_attn.v_proj", c.QKVBias),
		o:         linear("self_attn.o_proj", c.OBias),
		postNorm:  vector("post_attention_layernorm"),
	}
	if c.Routed(l) {
		out.router = linear(families[c.ModelType].experts.router, false)
		out.experts = m.experts(l)
	} else {
		out.gate, out.up, out.down = linear("mlp.gate_proj", c.MLPBias), linear("mlp.up_proj", c.MLPBias), linear("mlp.down_proj", c.MLPBias)
	}
	if c.QKNorm {
		out.qNorm, out.kNorm = vector("self_attn.q_norm"), vector("self_attn.k_norm")
	}
	return out
}

// Shape is the geometry of each layer's attention.
func (d *Decoder) Shape() attention.Shape { return d.Config.Shape() }

// Embed starts a step: s becomes one of len(ids) rows, and X their embeddings. The ids must lie in
// [0, Vocab). Only a decoder with the first layer can.
func (d *Decoder) Embed(st device.Stream, s *Scratch, ids []int32) {
	s.Resize(len(ids))
	st.Embed(s.X, d.embed, ids)
}

// EmbedChosen is Embed of ids that a choice has left on the device ([Scratch.Choice]).
func (d *Decoder) EmbedChosen(st device.Pacer, s *Scratch, ids []int32) {
	s.Resize(len(ids))
	st.EmbedChosen(s.X, d.embed, ids)
}

// Angles writes the rotary angles of rows [row, row+n), which stand at positions first, first+1, …, once a step for
// all layers; a step whose rows are several runs of positions calls it for each run. Angles are computed in float64:
// at position 200,000 float32 is off by 3e-3.
func (d *Decoder) Angles(st device.Stream, s *Scratch, row, first, n int) {
	pairs := s.Cos.Cols
	for at := 0; at < n; at += angleRows {
		rows := min(angleRows, n-at)
		for i := range rows {
			position := float64(first + at + i)
			for j, f := range d.frequencies {
				sine, cosine := math.Sincos(position * f)
				s.cos[i*pairs+j], s.sin[i*pairs+j] = float32(cosine), float32(sine)
			}
		}
		st.Write(s.Cos.Slice(row+at, row+at+rows), s.cos[:rows*pairs])
		st.Write(s.Sin.Slice(row+at, row+at+rows), s.sin[:rows*pairs])
	}
}

// QKV computes a layer's queries, keys and values of s.X, rotated, into s.Q, s.K and s.V.
// The layer is numbered as in the model and must be in d.Range.
func (d *Decoder) QKV(st device.Stream, layer int, s *Scratch) {
	d.busy.Store(true)
	l := &d.layers[layer-d.Range.First]
	dim, eps := d.Config.HeadDim, d.Config.NormEps
	st.RMSNorm(s.norm, s.X, l.inputNorm, eps)
	l.q.apply(st, s.Q, s.norm)
	l.k.apply(st, s.K, s.norm)
	l.v.apply(st, s.V, s.norm)
	if l.qNorm != nil {
		perHead(st, s.Q, dim, l.qNorm, eps)
		perHead(st, s.K, dim, l.kNorm, eps)
	}
	st.Rope(s.Q, dim, s.Cos, s.Sin, d.Config.Rope.Interleaved)
	st.Rope(s.K, dim, s.Cos, s.Sin, d.Config.Rope.Interleaved)
}

// AfterAttention completes a layer: s.X += o(s.Attn), then s.X += down(silu(gate(x))·up(x)) with x the
// norm of s.X, or what the experts make of it that the router chooses.
func (d *Decoder) AfterAttention(st device.Stream, layer int, s *Scratch) {
	l := &d.layers[layer-d.Range.First]
	l.o.apply(st, s.norm, s.Attn)
	st.Add(s.X, s.norm)
	st.RMSNorm(s.norm, s.X, l.postNorm, d.Config.NormEps)
	if l.experts.Len() > 0 {
		to := s.routing()
		l.router.apply(st, s.router, s.norm)
		st.Route(to, s.router, d.Config.Experts.Normalized)
		st.Experts(s.X, s.norm, to, &l.experts, s.wide)
		return
	}
	gate, up := s.inner(d.Config.Intermediate)
	l.gate.apply(st, gate, s.norm)
	l.up.apply(st, up, s.norm)
	st.SwiGLU(gate, gate, up)
	l.down.apply(st, s.norm, gate)
	st.Add(s.X, s.norm)
}

// Logits computes the logits of rows [first, end) of s.X into out [end-first][vocabulary]. Only a
// decoder with the last layer can.
func (d *Decoder) Logits(st device.Stream, s *Scratch, first, end int, out device.Tensor) {
	x := s.norm.Slice(first, end)
	st.RMSNorm(x, s.X.Slice(first, end), d.norm, d.Config.NormEps)
	st.MatMul(out, x, d.head)
}

func (p *projection) apply(st device.Stream, dst, x device.Tensor) {
	st.MatMul(dst, x, p.w)
	if p.bias != nil {
		st.AddBias(dst, p.bias)
	}
}

// perHead norms each head of x on its own.
func perHead(st device.Stream, x device.Tensor, headDim int, weight []float32, eps float32) {
	heads := x.Reshape(x.Rows*x.Cols/headDim, headDim)
	st.RMSNorm(heads, heads, weight, eps)
}
