// Package ggufnames is the names that GGUF files have for the tensors of a decoder.
package ggufnames

import (
	"fmt"
	"maps"
	"strconv"
	"strings"
)

const (
	layersDot = "model.layers." // of Hugging Face names
	blocksDot = "blk."          // of GGUF's
)

// outer is the tensors outside of the layers, parts those of a layer without .weight and .bias, from
// Hugging Face names to GGUF's.
var (
	outer = map[string]string{
		"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output",
	}
	parts = map[string]string{
		"input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm",
		"self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output",
		"self_attn.q_norm": "attn_q_norm", "self_attn.k_norm": "attn_k_norm",
		"mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down",
		"mlp.gate": "ffn_gate_inp", "mlp.experts.gate_proj": "ffn_gate_exps", "mlp.experts.up_proj": "ffn_up_exps", "mlp.experts.down_proj": "ffn_down_exps",
	}
	mixtral = map[string]string{ // of which GGUF keeps nothing
		"block_sparse_moe.gate": "mlp.gate", "block_sparse_moe.experts.w1": "mlp.experts.gate_proj", "block_sparse_moe.experts.w3": "mlp.experts.up_proj",
		"block_sparse_moe.experts.w2": "mlp.experts.down_proj",
	}
	outerBack, partsBack = invert(outer), invert(parts)
)

func invert(m map[string]string) map[string]string {
	back := make(map[string]string, len(m))
	for k, v := range maps.All(m) {
		back[v] = k
	}
	return back
}

// ToGGUF is GGUF's name for a tensor. One that it has no name for keeps its own. GGUF has one tensor for the same part of all experts of
// a layer: they have its name together.
func ToGGUF(name string) string { return translate(name, layersDot, blocksDot, outer, parts) }

// FromGGUF is the Hugging Face name for a tensor. A part of a layer that has none there keeps its own within
// the layer's, and another tensor its own altogether. What all experts have is named as those of Qwen, without a number.
func FromGGUF(name string) string {
	return translate(name, blocksDot, layersDot, outerBack, partsBack)
}

func translate(name, from, to string, outer, parts map[string]string) string {
	dot := strings.LastIndexByte(name, '.')
	if dot < 0 {
		return name
	}
	stem, suffix := name[:dot], name[dot:]
	rest, layered := strings.CutPrefix(stem, from)
	if !layered {
		if other, ok := outer[stem]; ok {
			return other + suffix
		}
		return name
	}
	number, part, _ := strings.Cut(rest, ".")
	layer, err := strconv.Atoi(number)
	if err != nil || layer < 0 || strconv.Itoa(layer) != number {
		return name
	}
	if to == blocksDot {
		part = anyExpert(part)
	}
	if other, ok := parts[part]; ok {
		part = other
	}
	return fmt.Sprintf("%s%d.%s%s", to, layer, part, suffix)
}

// anyExpert is the name of a part of an expert, as Qwen has it, without the expert's number.
func anyExpert(part string) string {
	if before, rest, ok := strings.Cut(part, ".experts."); ok {
		if number, name, ok := strings.Cut(rest, "."); ok {
			if _, err := strconv.ParseUint(number, 10, 31); err == nil {
				part = before + ".experts." + name
			}
		}
	}
	if other, ok := mixtral[part]; ok {
		return other
	}
	return part
}
