package model

import (
	"maps"
	"slices"
	"strings"
)

// family is what sets one architecture apart from the next. All are decoders of pre-norm blocks with
// grouped-query attention, rotary positions and a gated MLP.
type family struct {
	qkNorm  bool          // RMS norm over each head of q and k, before the rotation
	qkvBias bool          // q, k and v have biases, and o has none, whatever attention_bias says
	mlpBias bool          // knows the field mlp_bias
	experts *expertFamily // nil: every MLP is dense

	// Values of fields that config.json leaves out, as transformers' configuration classes have them.
	kvHeads      int // 0: as many as query heads
	headDim      int // 0: hidden_size / num_attention_heads
	maxPositions int
	normEps      float64
	ropeTheta    float64
	eos          []int32
}

// families is every architecture that Orrery runs, by model_type.
var families = map[string]family{
	"llama": {mlpBias: true, maxPositions: 2048, normEps: 1e-6, ropeTheta: 10000, eos: []int32{2}},
	"qwen2": {qkvBias: true, kvHeads: 32, maxPositions: 32768, normEps: 1e-6, ropeTheta: 10000},
	"qwen3": {qkNorm: true, kvHeads: 32, headDim: 128, maxPositions: 32768, normEps: 1e-6, ropeTheta: 10000},

	"qwen3_moe": {qkNorm: true, kvHeads: 4, maxPositions: 32768, normEps: 1e-6, ropeTheta: 10000,
		experts: &expertFamily{router: "mlp.gate", experts: "mlp.experts", gate: "gate_proj", up: "up_proj", down: "down_proj"}},
	"mixtral": {kvHeads: 8, maxPositions: 131072, normEps: 1e-5, ropeTheta: 1e6, eos: []int32{2},
		experts: &expertFamily{local: true, router: "block_sparse_moe.gate", experts: "block_sparse_moe.experts", gate: "w1", up: "w3", down: "w2"}},
}

// known lists the keys of a table, for errors.
func known[V any](table map[string]V) string {
	return strings.Join(slices.Sorted(maps.Keys(table)), ", ")
}
