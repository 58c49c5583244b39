package modeltest

import (
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/orrery-ai/orrery/device"
	"github.com/orrery-ai/orrery/model"
)

// Options is a model's geometry and what its files look like. The zero value is a Llama of 4 layers
// with F32 weights in one file.
type Options struct {
	ModelType     string // "llama" unless set
	Layers        int    // 4
	Hidden        int    // 64
	Intermediate  int    // 96
	Heads         int    // 4
	KVHeads       int    // 2
	HeadDim       int    // 16
	Vocab         int    // 256
	MaxPositions  int    // 4096
	Experts       int    // 6, of those ModelTypes that have experts
	Active        int    // 2: experts of a token
	Tied          bool
	AttentionBias bool
	Format        device.Format  // device.F32
	Shards        int            // 1: a single model.safetensors; more: shards and an index
	Seed          uint64         // of the weights
	Fields        map[string]any // further fields of config.json, over those above; nil removes one
}

// Open writes a model into the test's folder and opens it until the test ends.
func Open(tb testing.TB, o Options) *model.Model {
	tb.Helper()
	dir := tb.TempDir()
	if err := Write(dir, o); err != nil {
		tb.Fatal(err)
	}
	m, err := model.Open(dir)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := m.Close(); err != nil {
			tb.Error(err)
		}
	})
	return m
}

// Write makes a model's files in dir. The same options always make the same files.
func Write(dir string, o Options) error {
	o = o.withDefaults()
	if err := writeJSON(filepath.Join(dir, "config.json"), o.config()); err != nil {
		return err
	}
	tensors := o.tensors()
	if o.Shards == 1 {
		return writeSafetensors(filepath.Join(dir, "model.safetensors"), o.Format, tensors)
	}
	index := map[string]string{}
	for i := range o.Shards {
		part := tensors[i*len(tensors)/o.Shards : (i+1)*len(tensors)/o.Shards]
		name := fmt.Sprintf("model-%05d-of-%05d.safetensors", i+1, o.Shards)
		for _, t := range part {
			index[t.name] = name
		}
		if err := writeSafetensors(filepath.Join(dir, name), o.Format, part); err != nil {
			return err
		}
	}
	return writeJSON(filepath.Join(dir, "model.safetensors.index.json"), map[string]any{"weight_map": index})
}

func writeJSON(path string, v any) error {
	b, err := json.MarshalIndent(v, "", " ")
	if err != nil {
		return err
	}
	return os.WriteFile(path, b, 0o644)
}

func (o Options) withDefaults() Options {
	for _, f := range []struct {
		to       *int
		fallback int
	}{
		{&o.Layers, 4}, {&o.Hidden, 64}, {&o.Intermediate, 96}, {&o.Heads, 4}, {&o.KVHeads, 2},
		{&o.HeadDim, 16}, {&o.Vocab, 256}, {&o.MaxPositions, 4096}, {&o.Shards, 1}, {&o.Experts, 6}, {&o.Active, 2},
	} {
		if *f.to == 0 {
			*f.to = f.fallback
		}
	}
	if o.ModelType == "" {
		o.ModelType = "llama"
	}
	if o.Format == 0 {
		o.Format = device.F32
	}
	return o
}

// config is config.json.
func (o Options) config() map[string]any {
	c := map[string]any{
		"model_type": o.ModelType, "num_hidden_layers": o.Layers, "hidden_size": o.Hidden,
		"intermediate_size": o.Intermediate, "num_attention_heads": o.Heads, "num_key_value_heads": o.KVHeads,
		"head_dim": o.HeadDim, "vocab_size": o.Vocab, "max_position_embeddings": o.MaxPositions,
		"rms_norm_eps": 1e-5, "rope_theta": 10000.0, "tie_word_embeddings": o.Tied, "hidden_act": "silu",
		"attention_bias": o.AttentionBias, "eos_token_id": 2,
	}
	switch o.ModelType {
	case "qwen3_moe":
		c["num_experts"], c["num_experts_per_tok"], c["moe_intermediate_size"], c["norm_topk_prob"] = o.Experts, o.Active, o.expertWidth(), true
	case "mixtral":
		c["num_local_experts"], c["num_experts_per_tok"] = o.Experts, o.Active
	}
	for name, v := range o.Fields {
		if v == nil {
			delete(c, name)
		} else {
			c[name] = v
		}
	}
	return c
}

// expertWidth is the width of an expert's MLP.
func (o Options) expertWidth() int {
	if o.ModelType == "mixtral" {
		return o.Intermediate
	}
	return o.Intermediate / 2
}

// routed reports whether a layer has experts.
func (o Options) routed(layer int) bool {
	b, err := json.Marshal(o.config())
	if err != nil {
		return false
	}
	c, err := model.ParseConfig(b)
	return err == nil && c.Routed(layer)
}

// tensor is a random tensor: mean + spread·N(0, 1).
type tensor struct {
	name         string
	shape        []int
	mean, spread float64
	seed         [2]uint64
}

// tensors is every tensor of the model, in the order of its layers.
func (o Options) tensors() []tensor {
	var ts []tensor
	add := func(name string, mean, spread float64, shape ...int) {
		ts = append(ts, tensor{name, shape, mean, spread, [2]uint64{o.Seed, uint64(len(ts))}})
	}
	add("model.embed_tokens.weight", 0, 4/math.Sqrt(float64(o.Hidden)), o.Vocab, o.Hidden)
	for l := range o.Layers {
		in := fmt.Sprintf("model.layers.%d.", l)
		linear := func(part string, rows, cols int, bias bool) {
			add(in+part+".weight", 0, 1.25/math.Sqrt(float64(cols)), rows, cols)
			if bias {
				add(in+part+".bias", 0, 0.5, rows)
			}
		}
		q, kv := o.Heads*o.HeadDim, o.KVHeads*o.HeadDim
		add(in+"input_layernorm.weight", 1, 0.2, o.Hidden)
		qkvBias := o.AttentionBias || o.ModelType == "qwen2"
		linear("self_attn.q_proj", q, o.Hidden, qkvBias)
		linear("self_attn.k_proj", kv, o.Hidden, qkvBias)
		linear("self_attn.v_proj", kv, o.Hidden, qkvBias)
		if strings.HasPrefix(o.ModelType, "qwen3") {
			add(in+"self_attn.q_norm.weight", 1, 0.2, o.HeadDim)
			add(in+"self_attn.k_norm.weight", 1, 0.2, o.HeadDim)
		}
		linear("self_attn.o_proj", o.Hidden, q, o.AttentionBias && o.ModelType != "qwen2")
		add(in+"post_attention_layernorm.weight", 1, 0.2, o.Hidden)
		if !o.routed(l) {
			linear("mlp.gate_proj", o.Intermediate, o.Hidden, false)
			linear("mlp.up_proj", o.Intermediate, o.Hidden, false)
			linear("mlp.down_proj", o.Hidden, o.Intermediate, false)
			continue
		}
		block, gate, up, down := "mlp", "gate_proj", "up_proj", "down_proj"
		if o.ModelType == "mixtral" {
			block, gate, up, down = "block_sparse_moe", "w1", "w3", "w2"
		}
		linear(block+".gate", o.Experts, o.Hidden, false)
		for e := range o.Experts {
			expert := fmt.Sprintf("%s.experts.%d.", block, e)
			linear(expert+gate, o.expertWidth(), o.Hidden, false)
			linear(expert+up, o.expertWidth(), o.Hidden, false)
			linear(expert+down, o.Hidden, o.expertWidth(), false)
		}
	}
	add("model.norm.weight", 1, 0.2, o.Hidden)
	if !o.Tied {
		add("lm_head.weight", 0, 4/math.Sqrt(float64(o.Hidden)), o.Vocab, o.Hidden)
	}
	return ts
}

// values draws the tensor's elements, in row-major order.
func (t tensor) values(yield func(float32) bool) {
	rng := rand.New(rand.NewPCG(t.seed[0], t.seed[1]))
	for range t.elements() {
		if !yield(float32(t.mean + t.spread*rng.NormFloat64())) {
			return
		}
	}
}

func (t tensor) elements() int {
	n := 1
	for _, d := range t.shape {
		n *= d
	}
	return n
}
