package model

import (
	"encoding/json"
	"fmt"
	"slices"

	"github.com/orrery-ai/orrery/internal/ggufnames"
	"github.com/orrery-ai/orrery/model/gguf"
)

// ggufFamilies is the architectures of GGUF files that Orrery runs.
var ggufFamilies = map[string]struct {
	modelType   string // in config.json
	experts     string // with experts; empty if there is no such model
	interleaved bool   // rows of q and k were reordered, so that the pairs of the rotation are neighbours
}{
	"llama":    {modelType: "llama", experts: "mixtral", interleaved: true},
	"qwen2":    {modelType: "qwen2"},
	"qwen3":    {modelType: "qwen3"},
	"qwen3moe": {experts: "qwen3_moe"},
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
	r.arch = arch
	c := map[string]any{"model_type": family.modelType, "rope_interleave": family.interleaved}
	if r.err == nil {
		r.refuse()
		r.experts(c, family.modelType, family.experts)
	}
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
	key, value := r.number("attention.key_length"), r.number("attention.value_length")
	if key != nil && value != nil && *key != *value {
		r.fail(r.arch+".attention.value_length", fmt.Errorf("%d, where keys have %d", *value, *key))
	}
	if n := r.number("attention.sliding_window"); n != nil && *n > 0 {
		r.fail(r.arch+".attention.sliding_window", fmt.Errorf("%d: only full attention is known", *n))
	}
}

// turnEnds is what ends a turn in the vocabularies of chat models. Older files do not name it by a key.
var turnEnds = []string{"<|eot_id|>", "<|im_end|>", "<|end|>", "<|endoftext|>"}

// stops is the tokens that end an answer: of a text, of a turn, and of a message.
func (r *ggufReader) stops(c map[string]any) {
	of := ggufReader{file: r.file, arch: "tokenizer.ggml", err: r.err}
	stops := []int{}
	add := func(id int) {
		if !slices.Contains(stops, id) {
			stops = append(stops, id)
		}
	}
	for _, key := range []string{"eos_token_id", "eot_token_id", "eom_token_id"} {
		if n := of.number(key); n != nil {
			add(*n)
		}
	}
	_, _, named := of.get("eot_token_id")
	list, _, ok := of.get("tokens")
	if tokens, err := list.Strings(); ok && err == nil && !named {
		for id, token := range tokens {
			if slices.Contains(turnEnds, token) {
				add(id)
			}
		}
	}
	r.err = of.err
	c["eos_token_id"] = stops
}
