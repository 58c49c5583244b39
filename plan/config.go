package plan

import (
	"encoding/json"
	"errors"
	"fmt"
)

// Limits on config.json, a good way above any model's: what is computed from them stays far from
// overflow.
const (
	maxLayers     = 1 << 10
	maxWidth      = 1 << 20 // of hidden states, MLPs, ranks
	maxHeads      = 1 << 10
	maxHeadDim    = 1 << 12
	maxVocab      = 1 << 22
	maxExperts    = 1 << 14
	maxPositions  = 1 << 27
	maxParams     = 1 << 50
	maxConfigSize = 4 << 20 // bytes
)

// fields is config.json as it is written. Pointers tell a missing or null field from a zero.
type fields struct {
	ModelType     *string  `json:"model_type"`
	Layers        *int     `json:"num_hidden_layers"`
	Hidden        *int     `json:"hidden_size"`
	Intermediate  *int     `json:"intermediate_size"`
	Heads         *int     `json:"num_attention_heads"`
	KVHeads       *int     `json:"num_key_value_heads"`
	HeadDim       *int     `json:"head_dim"`
	Vocab         *int     `json:"vocab_size"`
	MaxPositions  *int     `json:"max_position_embeddings"`
	Tied          bool     `json:"tie_word_embeddings"`
	AttentionBias bool     `json:"attention_bias"`
	MLPBias       bool     `json:"mlp_bias"`
	QKNorm        bool     `json:"use_qk_norm"`
	Window        *int     `json:"sliding_window"`
	UseWindow     bool     `json:"use_sliding_window"`
	LayerTypes    []string `json:"layer_types"`

	NumExperts      *int     `json:"num_experts"`         // Qwen
	RoutedExperts   *int     `json:"n_routed_experts"`    // GLM, DeepSeek
	LocalExperts    *int     `json:"num_local_experts"`   // MiniMax, gpt-oss
	ExpertsPerToken *int     `json:"num_experts_per_tok"` //
	SharedExperts   *int     `json:"n_shared_experts"`    //
	ExpertWidth     *int     `json:"moe_intermediate_size"`
	FirstDense      *int     `json:"first_k_dense_replace"`
	SparseStep      *int     `json:"decoder_sparse_step"`
	DenseOnly       []int    `json:"mlp_only_layers"`
	MLPTypes        []string `json:"mlp_layer_types"`

	QRank   *int `json:"q_lora_rank"`
	KVRank  *int `json:"kv_lora_rank"`
	NopeDim *int `json:"qk_nope_head_dim"`
	RopeDim *int `json:"qk_rope_head_dim"`
	VDim    *int `json:"v_head_dim"`

	Quantization struct {
		Method string `json:"quant_method"`
	} `json:"quantization_config"`
}

// reader takes fields out of a config.json and remembers the first that is wrong.
type reader struct {
	fields
	err error
}

// number is a field that must lie in [low, high].
func (r *reader) number(name string, v *int, low, high int) int {
	switch {
	case r.err != nil:
	case v == nil:
		r.err = fmt.Errorf("%s is missing", name)
	case *v < low || *v > high:
		r.err = fmt.Errorf("%s %d is not between %d and %d", name, *v, low, high)
	default:
		return *v
	}
	return low
}

// optional is a field with a value for when it is missing.
func (r *reader) optional(name string, v *int, missing, low, high int) int {
	if v == nil {
		return missing
	}
	return r.number(name, v, low, high)
}

// fail remembers an error, unless there is an earlier one.
func (r *reader) fail(format string, args ...any) {
	if r.err == nil {
		r.err = fmt.Errorf(format, args...)
	}
}

// ParseConfig reads a config.json. Errors name the field. Fields that say nothing about sizes are
// passed over.
func ParseConfig(b []byte) (*Arch, error) {
	if len(b) > maxConfigSize {
		return nil, fmt.Errorf("config.json of %d bytes is over %d", len(b), maxConfigSize)
	}
	var r reader
	if err := json.Unmarshal(b, &r.fields); err != nil {
		return nil, err
	}
	if r.ModelType == nil {
		return nil, errors.New("model_type is missing; known are " + familyNames())
	}
	family, ok := families[*r.ModelType]
	if !ok {
		return nil, fmt.Errorf("model_type %.40q is unknown; known are %s", *r.ModelType, familyNames())
	}
	a := &Arch{
		Type:      *r.ModelType,
		Hidden:    r.number("hidden_size", r.Hidden, 1, maxWidth),
		Heads:     r.number("num_attention_heads", r.Heads, 1, maxHeads),
		Vocab:     r.number("vocab_size", r.Vocab, 1, maxVocab),
		Positions: r.optional("max_position_embeddings", r.MaxPositions, 0, 1, maxPositions),
		Tied:      r.Tied,
	}
	layers := r.number("num_hidden_layers", r.Layers, 1, maxLayers)
	if r.err != nil {
		return nil, r.err
	}
	total := int64(0)
	for l := range layers {
		layer := Layer{Kept: 2 * int64(a.Hidden)} // the two norms
		family(&r, a, l, &layer)
		if r.err != nil {
			return nil, r.err
		}
		a.Layers = append(a.Layers, layer)
		if total += layer.params(); total > maxParams {
			return nil, fmt.Errorf("layers 0 to %d have %d parameters, over %d: a width or a number of experts is wrong", l, total, maxParams)
		}
	}
	return a, nil
}
