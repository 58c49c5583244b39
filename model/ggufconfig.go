package model

import (
	"encoding/json"
	"fmt"
	"math"

	"github.com/orrery-ai/orrery/device"
	"github.com/orrery-ai/orrery/internal/ggufnames"
	"github.com/orrery-ai/orrery/model/gguf"
)

const ropeFactorsName = "rope_freqs.weight"

// ggufFamilies is the architectures of GGUF files that Orrery runs. Their names are those of config.json.
var ggufFamilies = map[string]struct {
	interleaved bool // rows of q and k were reordered, so that the pairs of the rotation are neighbours
}{
	"llama": {interleaved: true},
	"qwen2": {},
	"qwen3": {},
}

// ggufReader takes the values of an architecture out of the metadata and remembers the first that is wrong.
type ggufReader struct {
	file *gguf.File
	arch string
	err  error
}

func (r *ggufReader) fail(key string, err error) {
	if r.err == nil {
		r.err = fmt.Errorf("key %q: %w", key, err)
	}
}

// get is a value of the architecture; false if there is none.
func (r *ggufReader) get(key string) (gguf.Value, string, bool) {
	key = r.arch + "." + key
	v, ok := r.file.Metadata[key]
	return v, key, ok
}

// number is a whole number, nil if it is missing.
func (r *ggufReader) number(key string) *int {
	v, full, ok := r.get(key)
	if !ok {
		return nil
	}
	n, err := v.Int()
	if err != nil {
		r.fail(full, err)
		return nil
	}
	i := int(n)
	return &i
}

// float is a floating-point number, nil if it is missing. It is stored in 32 bits, and meant as the shortest
// number that has these.
func (r *ggufReader) float(key string) *float32 {
	v, full, ok := r.get(key)
	if !ok {
		return nil
	}
	f, err := v.Float()
	if err == nil && (math.IsNaN(f) || math.IsInf(f, 0)) {
		err = fmt.Errorf("%g is not a finite number", f)
	}
	if err != nil {
		r.fail(full, err)
		return nil
	}
	short := float32(f)
	return &short
}

func (r *ggufReader) text(key string) string {
	v, full, ok := r.get(key)
	if !ok {
		return ""
	}
	s, err := v.Text()
	if err != nil {
		r.fail(full, err)
	}
	return s
}

// ggufConfig is the config.json that the metadata and the tensors of a file amount to. Fields that are wrong in
// themselves are left for ParseConfig to refuse.
func ggufConfig(f *gguf.File) ([]byte, error) {
	r := &ggufReader{file: f, arch: "general"}
	arch := r.text("architecture")
	family, ok := ggufFamilies[arch]
	if r.err == nil && !ok {
		r.fail("general.architecture", fmt.Errorf("%.40q is unknown; known are %s", arch, known(ggufFamilies)))
	}
	if r.arch = "split"; r.err == nil {
		if n := r.number("count"); n != nil && *n > 1 {
			r.fail("split.count", errSplit)
		}
	}
	if r.arch = arch; r.err == nil {
		r.refuse()
	}
	c := map[string]any{"model_type": arch, "rope_interleave": family.interleaved}
	for key, field := range map[string]string{
		"block_count": "num_hidden_layers", "embedding_length": "hidden_size", "feed_forward_length": "intermediate_size",
		"attention.head_count": "num_attention_heads", "context_length": "max_position_embeddings",
	} {
		if n := r.number(key); n != nil {
			c[field] = *n
		}
	}
	c["num_key_value_heads"] = c["num_attention_heads"]
	if n := r.number("attention.head_count_kv"); n != nil {
		c["num_key_value_heads"] = *n
	}
	if n := r.number("attention.key_length"); n != nil {
		c["head_dim"] = *n
	} else {
		hidden, _ := c["hidden_size"].(int)
		if heads, _ := c["num_attention_heads"].(int); heads > 0 {
			c["head_dim"] = hidden / heads
		}
	}
	if eps := r.float("attention.layer_norm_rms_epsilon"); eps != nil {
		c["rms_norm_eps"] = *eps
	}
	if t, ok := f.Tensors[ggufnames.ToGGUF(embedName)]; ok && len(t.Shape) == 2 {
		c["vocab_size"] = t.Shape[0]
	}
	has := func(name string) bool {
		_, ok := f.Tensors[ggufnames.ToGGUF(name)]
		return ok
	}
	c["tie_word_embeddings"] = !has(headName)
	c["attention_bias"] = has(layerName(0, "self_attn.q_proj.bias"))
	c["mlp_bias"] = has(layerName(0, "mlp.gate_proj.bias"))
	r.rope(c)
	r.stops(c)
	if r.err != nil {
		return nil, r.err
	}
	return json.MarshalIndent(c, "", "  ")
}

// refuse reports what the file asks for and the decoder would silently leave out.
func (r *ggufReader) refuse() {
	if n := r.number("expert_count"); n != nil && *n > 0 {
		r.fail(r.arch+".expert_count", fmt.Errorf("%d experts: mixtures are not known", *n))
	}
	key, value := r.number("attention.key_length"), r.number("attention.value_length")
	if key != nil && value != nil && *key != *value {
		r.fail(r.arch+".attention.value_length", fmt.Errorf("%d, where keys have %d", *value, *key))
	}
	if n := r.number("attention.sliding_window"); n != nil && *n > 0 {
		r.fail(r.arch+".attention.sliding_window", fmt.Errorf("%d: only full attention is known", *n))
	}
}

// rope is how positions become angles.
func (r *ggufReader) rope(c map[string]any) {
	c["rope_theta"] = float32(10000) // what files that do not say mean
	if theta := r.float("rope.freq_base"); theta != nil {
		c["rope_theta"] = *theta
	}
	if n := r.number("rope.dimension_count"); n != nil && *n != c["head_dim"] {
		r.fail(r.arch+".rope.dimension_count", fmt.Errorf("%d of heads of %v: only whole heads are rotated", *n, c["head_dim"]))
	}
	factor := r.float("rope.scaling.factor")
	switch kind := r.text("rope.scaling.type"); kind {
	case "", "none":
		if factor = r.float("rope.scale_linear"); factor != nil && *factor != 1 { // of old files
			c["rope_scaling"] = map[string]any{"rope_type": "linear", "factor": *factor}
		}
	case "linear":
		c["rope_scaling"] = map[string]any{"rope_type": "linear", "factor": factor}
	default:
		r.fail(r.arch+".rope.scaling.type", fmt.Errorf("%.40q is unknown; known are linear and none", kind))
	}
	t, ok := r.file.Tensors[ropeFactorsName]
	if !ok {
		return
	}
	if _, twice := c["rope_scaling"]; twice {
		r.fail(r.arch+".rope.scaling.type", fmt.Errorf("linear, where the tensor %q scales too", ropeFactorsName))
		return
	}
	if t.Type != gguf.F32 || len(t.Shape) != 1 || t.Shape[0] > maxHeadDim {
		if r.err == nil {
			r.err = fmt.Errorf("tensor %q: %v of %v, want a vector of F32", ropeFactorsName, t.Shape, t.Type)
		}
		return
	}
	factors := vectorOf(t.Data, device.F32, t.Shape[0])
	for i, x := range factors {
		if !(x > 0 && x <= 1e6) {
			if r.err == nil {
				r.err = fmt.Errorf("tensor %q: element %d, %g, is not between 0 and 1e6", ropeFactorsName, i, x)
			}
			return
		}
	}
	c["rope_scaling"] = map[string]any{"rope_type": "factors", "factors": factors}
}

// stops is the tokens that end an answer: of a text, of a turn, and of a message.
func (r *ggufReader) stops(c map[string]any) {
	const tokens = "tokenizer.ggml"
	of := ggufReader{file: r.file, arch: tokens, err: r.err}
	stops := []int{}
	for _, key := range []string{"eos_token_id", "eot_token_id", "eom_token_id"} {
		if n := of.number(key); n != nil {
			stops = append(stops, *n)
		}
	}
	r.err = of.err
	c["eos_token_id"] = stops
}
