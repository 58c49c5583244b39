package model

import (
	"encoding/binary"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"unsafe"

	"github.com/orrery-ai/orrery/device"
	"github.com/orrery-ai/orrery/internal/half"
)

const (
	embedName = "model.embed_tokens.weight"
	normName  = "model.norm.weight"
	headName  = "lm_head.weight"
	layersDot = "model.layers."
)

// spec is a tensor that a model must have: a matrix [rows][cols], or a vector if rows is 0.
type spec struct {
	name       string
	rows, cols int
}

func (s spec) shape() []int {
	if s.rows == 0 {
		return []int{s.cols}
	}
	return []int{s.rows, s.cols}
}

// layerName is the full name of one of a layer's tensors.
func layerName(layer int, part string) string { return fmt.Sprintf("%s%d.%s", layersDot, layer, part) }

// layerSpecs is every tensor of a layer.
func (c *Config) layerSpecs(layer int) []spec {
	var s []spec
	vector := func(part string, n int) { s = append(s, spec{layerName(layer, part), 0, n}) }
	linear := func(part string, rows, cols int, bias bool) {
		s = append(s, spec{layerName(layer, part+".weight"), rows, cols})
		if bias {
			vector(part+".bias", rows)
		}
	}
	q, kv := c.Heads*c.HeadDim, c.KVHeads*c.HeadDim
	vector("input_layernorm.weight", c.Hidden)
	linear("self_attn.q_proj", q, c.Hidden, c.QKVBias)
	linear("self_attn.k_proj", kv, c.Hidden, c.QKVBias)
	linear("self_attn.v_proj", kv, c.Hidden, c.QKVBias)
	if c.QKNorm {
		vector("self_attn.q_norm.weight", c.HeadDim)
		vector("self_attn.k_norm.weight", c.HeadDim)
	}
	linear("self_attn.o_proj", c.Hidden, q, c.OBias)
	vector("post_attention_layernorm.weight", c.Hidden)
	if c.Routed(layer) {
		return append(s, c.expertSpecs(layer)...)
	}
	linear("mlp.gate_proj", c.Intermediate, c.Hidden, c.MLPBias)
	linear("mlp.up_proj", c.Intermediate, c.Hidden, c.MLPBias)
	linear("mlp.down_proj", c.Hidden, c.Intermediate, c.MLPBias)
	return s
}

// outerSpecs is every tensor outside the layers.
func (c *Config) outerSpecs() []spec {
	s := []spec{{embedName, c.Vocab, c.Hidden}, {normName, 0, c.Hidden}}
	if !c.Tied {
		s = append(s, spec{headName, c.Vocab, c.Hidden})
	}
	return s
}

// TensorShape is a tensor that a model's files must have.
type TensorShape struct {
	Name  string
	Shape []int // [rows, cols], or [elements]
}

// Tensors is every tensor that a model of this geometry has, in the order in which a step reads them.
func (c *Config) Tensors() []TensorShape {
	outer := c.outerSpecs()
	specs := outer[:1:1]
	for l := range c.Layers {
		specs = append(specs, c.layerSpecs(l)...)
	}
	var ts []TensorShape
	for _, s := range append(specs, outer[1:]...) {
		ts = append(ts, TensorShape{s.name, s.shape()})
	}
	return ts
}

// formats is the types of weights that a device computes in, as files name them. Vectors are never quantized.
var formats = map[string]device.Format{
	"F32": device.F32, "F16": device.F16, "BF16": device.BF16,
	"Q8_0": device.Q8_0, "Q4_0": device.Q4_0, "Q4_K": device.Q4_K, "Q6_K": device.Q6_K,
}

// check reports a tensor that is missing, misshapen or of a type that devices do not compute in, and
// one within the layers that the architecture does not have, since leaving it out would give another model.
func (w *weights) check(c *Config) error {
	expected := map[string]bool{}
	for l := range c.Layers {
		for _, s := range c.layerSpecs(l) {
			expected[s.name] = true
			if err := w.checkOne(s); err != nil {
				return err
			}
		}
		if c.Routed(l) {
			if err := w.checkExperts(c, l); err != nil {
				return err
			}
		}
	}
	for _, s := range c.outerSpecs() {
		if err := w.checkOne(s); err != nil {
			return err
		}
	}
	for _, name := range slices.Sorted(maps.Keys(w.tensors)) {
		// Old checkpoints keep the rotary frequencies, which config.json gives too.
		if strings.HasPrefix(name, layersDot) && !expected[name] && !strings.HasSuffix(name, ".rotary_emb.inv_freq") {
			return fmt.Errorf("%s: tensor %q is no part of a %s of %d layers", w.tensors[name].file, w.stored(name), c.ModelType, c.Layers)
		}
	}
	return nil
}

func (w *weights) checkOne(s spec) error {
	t, ok := w.tensors[s.name]
	if !ok {
		return fmt.Errorf("tensor %q is missing", w.stored(s.name))
	}
	if t.format == 0 {
		return fmt.Errorf("%s: tensor %q is %s; known as weights are %s", t.file, w.stored(s.name), t.dtype, known(formats))
	}
	if s.rows == 0 && !dense(t.format) {
		return fmt.Errorf("%s: tensor %q is %s; known for vectors are BF16, F16 and F32", t.file, w.stored(s.name), t.dtype)
	}
	return w.checkShape(s.name, t, s.shape())
}

func (w *weights) checkShape(name string, t storedTensor, want []int) error {
	if !slices.Equal(t.shape, want) {
		return fmt.Errorf("%s: tensor %q has shape %v, the configuration gives %v", t.file, w.stored(name), t.shape, want)
	}
	return nil
}

// bytes is what the tensors take in their files.
func (w *weights) bytes(specs []spec) int64 {
	var n int64
	for _, s := range specs {
		t := w.tensors[s.name]
		n += t.bytes()
	}
	return n
}

// formats is what the tensors take in each format, by its name.
func (w *weights) formats(specs []spec) map[string]int64 {
	in := map[string]int64{}
	for _, s := range specs {
		t := w.tensors[s.name]
		in[t.format.String()] += t.bytes()
	}
	return in
}

// matrix is a checked tensor as devices take it: in place, unless its file leaves it at an address
// that its elements cannot be read from (writers of old did not pad the header).
func (w *weights) matrix(name string) device.Matrix {
	t := w.tensors[name]
	m := device.Matrix{Format: t.format, Rows: t.shape[0], Cols: t.shape[1], Data: t.data,
		Scales: t.scales, Biases: t.biases, ScaleFormat: t.scaleFormat, Group: t.group}
	if dense(m.Format) && uintptr(unsafe.Pointer(unsafe.SliceData(t.data)))%uintptr(m.Format.Bytes()) != 0 {
		m.Data = append(make([]byte, 0, len(t.data)), t.data...)
	}
	return m
}

// vector is a checked tensor widened to float32; vectors are small.
func (w *weights) vector(name string) []float32 {
	t := w.tensors[name]
	return vectorOf(t.data, t.format, t.shape[0])
}

// vectorOf is n elements of a dense format, widened to float32.
func vectorOf(data []byte, format device.Format, n int) []float32 {
	v := make([]float32, n)
	for i := range v {
		switch format {
		case device.F32:
			v[i] = math.Float32frombits(binary.LittleEndian.Uint32(data[4*i:]))
		case device.F16:
			v[i] = half.FromF16(binary.LittleEndian.Uint16(data[2*i:]))
		case device.BF16:
			v[i] = half.FromBF16(binary.LittleEndian.Uint16(data[2*i:]))
		}
	}
	return v
}

// dense reports whether a format has a floating-point number for each element.
func dense(f device.Format) bool { return f.Bytes() > 0 }
