package ggufwrite

import (
	"encoding/binary"
	"io"

	"github.com/orrery-ai/orrery/model"
	"github.com/orrery-ai/orrery/model/gguf"
)

// Metadata is what a file says of a decoder, apart from how llama3 scales positions: that is a tensor, see
// [RopeFactors].
func Metadata(c *model.Config) []Pair {
	arch, width := c.ModelType, c.Intermediate
	switch arch {
	case "qwen3_moe":
		arch = "qwen3moe"
	case "mixtral":
		arch, width = "llama", c.Experts.Width
	}
	key := func(k string, v any) Pair { return Pair{arch + "." + k, v} }
	pairs := []Pair{
		{"general.architecture", arch}, {"general.alignment", uint32(alignment)},
		key("vocab_size", uint32(c.Vocab)), key("block_count", uint32(c.Layers)), key("context_length", uint32(c.MaxPositions)),
		key("embedding_length", uint32(c.Hidden)), key("feed_forward_length", uint32(width)),
		key("attention.head_count", uint32(c.Heads)), key("attention.head_count_kv", uint32(c.KVHeads)),
		key("attention.key_length", uint32(c.HeadDim)), key("attention.value_length", uint32(c.HeadDim)),
		key("attention.layer_norm_rms_epsilon", c.NormEps),
		key("rope.dimension_count", uint32(c.HeadDim)), key("rope.freq_base", float32(c.Rope.Theta)),
	}
	if e := &c.Experts; e.Count > 0 {
		pairs = append(pairs, key("expert_count", uint32(e.Count)), key("expert_used_count", uint32(e.Active)),
			key("expert_feed_forward_length", uint32(e.Width)), key("expert_weights_norm", e.Normalized))
	}
	if c.Rope.Type == "linear" {
		pairs = append(pairs, key("rope.scaling.type", "linear"), key("rope.scaling.factor", float32(c.Rope.Factor)))
	}
	if len(c.EOS) > 0 {
		pairs = append(pairs, Pair{"tokenizer.ggml.eos_token_id", uint32(c.EOS[0])})
	}
	return pairs
}

// RopeFactors is the tensor that says by how much each pair of a head is slowed down; false if none is.
func RopeFactors(c *model.Config) (Tensor, bool) {
	if c.Rope.Type != "llama3" {
		return Tensor{}, false
	}
	plain := model.Rope{Type: "default", Theta: c.Rope.Theta}
	scaled := c.Rope.Frequencies(c.HeadDim)
	factors := make([]float32, len(scaled))
	for i, f := range plain.Frequencies(c.HeadDim) {
		factors[i] = float32(f / scaled[i])
	}
	return Floats("rope_freqs.weight", factors), true
}

// Floats is a vector.
func Floats(name string, v []float32) Tensor {
	return Tensor{Name: name, Type: gguf.F32, Shape: []int{len(v)}, Bytes: 4 * int64(len(v)), Write: func(w io.Writer) error {
		return binary.Write(w, binary.LittleEndian, v)
	}}
}

// Interleave reorders rows of q or k, or the elements of their biases: [heads·headDim] rows of so many bytes.
// Where the pairs of the rotation were half a head apart they become neighbours, as files of Llamas have them.
func Interleave(rows []byte, heads, headDim int) []byte {
	size := len(rows) / (heads * headDim)
	out := make([]byte, 0, len(rows))
	for head := range heads {
		for i := range headDim {
			from := head*headDim + i/2 + i%2*headDim/2
			out = append(out, rows[from*size:(from+1)*size]...)
		}
	}
	return out
}
