package model

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"

	"github.com/orrery-ai/orrery/attention"
)

// Config is the geometry of a decoder, checked: every number is within the limits below, so that
// products of a few of them do not overflow an int64.
type Config struct {
	ModelType    string // family: "llama", "qwen3_moe", …
	Layers       int
	Hidden       int // width of the residual stream
	Intermediate int // width of the MLP
	Heads        int // query heads
	KVHeads      int // key and value heads; Heads is a multiple
	HeadDim      int // elements of a head, even
	Vocab        int
	MaxPositions int // longest context that the model was made for, in tokens
	NormEps      float32
	Rope         Rope
	Tied         bool // the head is the embedding
	QKVBias      bool // q, k and v projections have biases
	OBias        bool // the o projection has one
	MLPBias      bool // gate, up and down projections have biases
	QKNorm       bool // RMS norm over each head of q and k
	Experts      Experts
	EOS          []int32
	Quantization Quantization // of safetensors, by MLX
}

// Shape is the geometry of each layer's attention.
func (c *Config) Shape() attention.Shape {
	return attention.Shape{
		Heads: c.Heads, KVHeads: c.KVHeads, HeadDim: c.HeadDim,
		Scale: float32(1 / math.Sqrt(float64(c.HeadDim))),
	}
}

// Limits on config.json, a good way above any model's. They keep a mistaken or hostile file from
// asking for absurd memory.
const (
	maxLayers       = 1 << 10
	maxHidden       = 1 << 17
	maxIntermediate = 1 << 20
	maxHeads        = 1 << 10
	maxHeadDim      = 1 << 10
	maxVocab        = 1 << 22
	maxPositions    = 1 << 27
	maxEOS          = 64
)

// rawConfig is config.json as it is written. Pointers tell a missing or null field from a zero.
type rawConfig struct {
	ModelType     *string   `json:"model_type"`
	Layers        *int      `json:"num_hidden_layers"`
	Hidden        *int      `json:"hidden_size"`
	Intermediate  *int      `json:"intermediate_size"`
	Heads         *int      `json:"num_attention_heads"`
	KVHeads       *int      `json:"num_key_value_heads"`
	HeadDim       *int      `json:"head_dim"`
	Vocab         *int      `json:"vocab_size"`
	MaxPositions  *int      `json:"max_position_embeddings"`
	NormEps       *float64  `json:"rms_norm_eps"`
	Activation    *string   `json:"hidden_act"`
	Tied          bool      `json:"tie_word_embeddings"`
	AttentionBias bool      `json:"attention_bias"`
	MLPBias       bool      `json:"mlp_bias"`
	EOS           tokenList `json:"eos_token_id"`

	Experts         *int  `json:"num_experts"`
	LocalExperts    *int  `json:"num_local_experts"`
	ExpertsPerToken *int  `json:"num_experts_per_tok"`
	ExpertWidth     *int  `json:"moe_intermediate_size"`
	NormTopK        bool  `json:"norm_topk_prob"`
	SparseStep      *int  `json:"decoder_sparse_step"`
	DenseOnly       []int `json:"mlp_only_layers"`

	RopeTheta      *float64        `json:"rope_theta"`
	RopeScaling    *rawRope        `json:"rope_scaling"`
	RopeParameters *rawRope        `json:"rope_parameters"`
	RopeInterleave bool            `json:"rope_interleave"`
	RotaryFactor   *float64        `json:"partial_rotary_factor"`
	SlidingWindow  bool            `json:"use_sliding_window"`
	WindowTokens   *int            `json:"sliding_window"`
	LayerTypes     []string        `json:"layer_types"`
	Quantization   json.RawMessage `json:"quantization"`
	QuantizationHF json.RawMessage `json:"quantization_config"`
}

// tokenList is a token id, or a list of them.
type tokenList []int32

// UnmarshalJSON accepts both forms; null is the empty list.
func (l *tokenList) UnmarshalJSON(b []byte) error {
	var one *int32
	if json.Unmarshal(b, &one) == nil {
		*l = nil
		if one != nil {
			*l = tokenList{*one}
		}
		return nil
	}
	var many []int32
	if err := json.Unmarshal(b, &many); err != nil {
		return fmt.Errorf("eos_token_id %.40q is neither a token id nor a list of them", b)
	}
	*l = many
	return nil
}

// ParseConfig reads and checks a config.json. Errors name the field.
func ParseConfig(b []byte) (Config, error) {
	var r rawConfig
	if err := json.Unmarshal(b, &r); err != nil {
		return Config{}, err
	}
	if r.ModelType == nil {
		return Config{}, fmt.Errorf("model_type is missing; known are %s", known(families))
	}
	fam, ok := families[*r.ModelType]
	if !ok {
		return Config{}, fmt.Errorf("model_type %.40q is unknown; known are %s", *r.ModelType, known(families))
	}
	if err := r.refuse(fam); err != nil {
		return Config{}, err
	}
	c := Config{
		ModelType: *r.ModelType, Tied: r.Tied, QKNorm: fam.qkNorm,
		QKVBias: fam.qkvBias || r.AttentionBias, OBias: !fam.qkvBias && r.AttentionBias, MLPBias: r.MLPBias, EOS: fam.eos,
	}
	for _, f := range []struct {
		name     string
		to       *int
		from     *int
		fallback int // 0: the field is required
		limit    int
	}{
		{"num_hidden_layers", &c.Layers, r.Layers, 0, maxLayers},
		{"hidden_size", &c.Hidden, r.Hidden, 0, maxHidden},
		{"num_attention_heads", &c.Heads, r.Heads, 0, maxHeads},
		{"vocab_size", &c.Vocab, r.Vocab, 0, maxVocab},
		{"max_position_embeddings", &c.MaxPositions, r.MaxPositions, fam.maxPositions, maxPositions},
	} {
		if err := setInt(f.to, f.name, f.from, f.fallback, f.limit); err != nil {
			return Config{}, err
		}
	}
	if err := c.setExperts(&r, fam.experts); err != nil {
		return Config{}, err
	}
	if c.anyDense() {
		if err := setInt(&c.Intermediate, "intermediate_size", r.Intermediate, 0, maxIntermediate); err != nil {
			return Config{}, err
		}
	}
	if err := c.setHeads(&r, fam); err != nil {
		return Config{}, err
	}
	eps := fam.normEps
	if r.NormEps != nil {
		eps = *r.NormEps
	}
	if c.NormEps = float32(eps); !(c.NormEps > 0 && c.NormEps < 1) {
		return Config{}, fmt.Errorf("rms_norm_eps %g is, in float32, not between 0 and 1", eps)
	}
	if err := c.setEOS(r.EOS); err != nil {
		return Config{}, err
	}
	var err error
	if c.Quantization, err = parseQuantization(r.Quantization); err != nil {
		return Config{}, fmt.Errorf("quantization: %w", err)
	}
	c.Rope, err = r.rope(fam, c.HeadDim)
	return c, err
}

// refuse reports what the file asks for and the decoder would silently leave out.
func (r *rawConfig) refuse(fam family) error {
	if r.Activation != nil && *r.Activation != "silu" && *r.Activation != "swish" {
		return fmt.Errorf("hidden_act %.40q is unknown; known is silu", *r.Activation)
	}
	if r.MLPBias && !fam.mlpBias {
		return fmt.Errorf("mlp_bias: a %s has none", *r.ModelType)
	}
	if r.RotaryFactor != nil && *r.RotaryFactor != 1 {
		return fmt.Errorf("partial_rotary_factor %g: a %s rotates whole heads", *r.RotaryFactor, *r.ModelType)
	}
	if r.SlidingWindow {
		return errors.New("use_sliding_window: only full attention is known")
	}
	if r.WindowTokens != nil && fam.experts != nil && fam.experts.local { // a Mixtral has no switch beside it
		return fmt.Errorf("sliding_window %d: only full attention is known", *r.WindowTokens)
	}
	for i, t := range r.LayerTypes {
		if t != "full_attention" {
			return fmt.Errorf("layer_types[%d] %.40q is unknown; known is full_attention", i, t)
		}
	}
	if given(r.QuantizationHF) && !given(r.Quantization) { // MLX writes both, alike
		return errors.New("quantization_config: weights quantized in another way than MLX's are unknown")
	}
	return nil
}

// setInt stores a field that must lie in [1, limit].
func setInt(to *int, name string, from *int, fallback, limit int) error {
	switch {
	case from != nil:
		*to = *from
	case fallback > 0:
		*to = fallback
	default:
		return fmt.Errorf("%s is missing", name)
	}
	if *to < 1 || *to > limit {
		return fmt.Errorf("%s %d is not between 1 and %d", name, *to, limit)
	}
	return nil
}

// setHeads stores what depends on num_attention_heads.
func (c *Config) setHeads(r *rawConfig, fam family) error {
	kvHeads := fam.kvHeads
	if kvHeads == 0 {
		kvHeads = c.Heads
	}
	if err := setInt(&c.KVHeads, "num_key_value_heads", r.KVHeads, kvHeads, maxHeads); err != nil {
		return err
	}
	if c.Heads%c.KVHeads != 0 {
		return fmt.Errorf("num_key_value_heads %d does not divide num_attention_heads %d", c.KVHeads, c.Heads)
	}
	headDim := fam.headDim
	if headDim == 0 {
		if r.HeadDim == nil && c.Hidden%c.Heads != 0 {
			return fmt.Errorf("num_attention_heads %d does not divide hidden_size %d, and head_dim is missing", c.Heads, c.Hidden)
		}
		headDim = c.Hidden / c.Heads
	}
	if err := setInt(&c.HeadDim, "head_dim", r.HeadDim, headDim, maxHeadDim); err != nil {
		return err
	}
	if c.HeadDim%2 != 0 {
		return fmt.Errorf("head_dim %d is odd: rotary positions need pairs", c.HeadDim)
	}
	return nil
}

// setEOS stores the tokens that end an answer, when the file names any.
func (c *Config) setEOS(ids tokenList) error {
	if ids == nil {
		return nil
	}
	if len(ids) > maxEOS {
		return fmt.Errorf("eos_token_id has %d tokens: the limit is %d", len(ids), maxEOS)
	}
	for _, id := range ids {
		if id < 0 || int(id) >= c.Vocab {
			return fmt.Errorf("eos_token_id %d is not in a vocabulary of %d", id, c.Vocab)
		}
	}
	c.EOS = ids
	return nil
}
