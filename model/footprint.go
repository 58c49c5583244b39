package model

import (
	"github.com/orrery-ai/orrery/attention"
	"github.com/orrery-ai/orrery/device"
)

// Range is layers [First, End).
type Range struct{ First, End int }

// Len is the number of layers.
func (r Range) Len() int { return r.End - r.First }

// LayerBytes is the size of a layer's weights.
func (m *Model) LayerBytes(layer int) int64 { return m.weights.bytes(m.Config.layerSpecs(layer)) }

// ReadBytes is what a step of one token reads of a layer's weights: of experts, those that it goes to.
func (m *Model) ReadBytes(layer int) int64 {
	n, e := m.LayerBytes(layer), &m.Config.Experts
	if m.Config.Routed(layer) {
		all := m.weights.bytes(m.Config.expertSpecs(layer)[1:]) // but for the router
		n -= all - all/int64(e.Count)*int64(e.Active)
	}
	return n
}

// ReadFormats is how much of a layer's ReadBytes is stored in which format, by its name.
func (m *Model) ReadFormats(layer int) map[string]int64 {
	formats, e := m.weights.formats(m.Config.layerSpecs(layer)), &m.Config.Experts
	if m.Config.Routed(layer) {
		for f, n := range m.weights.formats(m.Config.expertSpecs(layer)[1:]) {
			formats[f] -= n - n/int64(e.Count)*int64(e.Active)
		}
	}
	return formats
}

// HeadFormats is the same for HeadBytes.
func (m *Model) HeadFormats() map[string]int64 { return m.weights.formats(m.Config.headSpecs()) }

// EmbedBytes is the size of the embedding table, which the first layer's node holds.
func (m *Model) EmbedBytes() int64 { return m.weights.bytes([]spec{{name: embedName}}) }

// HeadBytes is the size of the final norm and the head, which the last layer's node holds. A tied
// head is the embedding table: a node that needs both holds it once, see RangeBytes.
func (m *Model) HeadBytes() int64 {
	return m.weights.bytes(m.Config.headSpecs())
}

func (c *Config) headSpecs() []spec { return []spec{{name: normName}, {name: c.headTensor()}} }

// RangeBytes is the size of all weights that a node needs to run r, with the embedding if r starts
// at the first layer, and the norm and the head if it ends at the last.
func (m *Model) RangeBytes(r Range) int64 {
	var n int64
	for l := r.First; l < r.End; l++ {
		n += m.LayerBytes(l)
	}
	first, last := r.First == 0, r.End == m.Config.Layers
	if first {
		n += m.EmbedBytes()
	}
	if last {
		n += m.HeadBytes()
	}
	if first && last && m.Config.Tied {
		n -= m.EmbedBytes()
	}
	return n
}

// headTensor is the name of the matrix that makes logits.
func (c *Config) headTensor() string {
	if c.Tied {
		return embedName
	}
	return headName
}

// KVBytesPerToken is what a token's keys and values take in the cache of one layer.
func (c *Config) KVBytesPerToken(f attention.Format) int64 { return int64(c.Shape().KVBytes(f)) }

// ScratchBytes is the size of a Scratch for steps of up to rows tokens.
func (c *Config) ScratchBytes(rows int) int64 {
	cols := c.wideCols()
	for _, n := range c.scratchCols() {
		cols += n
	}
	return 4 * int64(rows) * int64(cols)
}

// NumbersBytes is what products of steps of up to rows tokens take besides a Scratch, if weights are quantized: activations as whole numbers,
// of those of a matrix at a time.
func (m *Model) NumbersBytes(rows int) int64 {
	c := &m.Config
	if !m.quantized() {
		return 0
	}
	return device.NumbersBytes(rows, max(c.Hidden, c.Heads*c.HeadDim, c.Intermediate, c.Experts.Active*c.Experts.Width))
}

// quantized reports whether any weights of the layers are.
func (m *Model) quantized() bool {
	for l := range m.Config.Layers {
		for _, s := range m.Config.layerSpecs(l) {
			if !dense(m.weights.tensors[s.name].format) {
				return true
			}
		}
	}
	return false
}

// LogitsBytes is what so many rows of logits take besides a Scratch for steps of up to steps tokens: nothing
// if they fit in it, see [Scratch.Logits].
func (c *Config) LogitsBytes(rows, steps int) int64 {
	n := int64(rows) * int64(c.Vocab)
	if n <= int64(steps)*int64(c.wideCols()) {
		return 0
	}
	return 4 * n
}
