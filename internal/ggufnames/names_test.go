package ggufnames

import "testing"

func TestNamesAreTranslatedBothWays(t *testing.T) {
	for hf, gguf := range map[string]string{
		"model.embed_tokens.weight": "token_embd.weight", "model.norm.weight": "output_norm.weight", "lm_head.weight": "output.weight",
		"model.layers.0.input_layernorm.weight": "blk.0.attn_norm.weight", "model.layers.17.self_attn.q_proj.bias": "blk.17.attn_q.bias",
		"model.layers.3.mlp.down_proj.weight": "blk.3.ffn_down.weight", "rope_freqs.weight": "rope_freqs.weight",
		"model.layers.3.ffn_latent.weight": "blk.3.ffn_latent.weight", "model.layers.3.mlp.gate.weight": "blk.3.ffn_gate_inp.weight",
		"model.layers.3.mlp.experts.up_proj.weight": "blk.3.ffn_up_exps.weight",
		"model.layers.x.weight":                     "model.layers.x.weight", "plain": "plain",
	} {
		if got := ToGGUF(hf); got != gguf {
			t.Errorf("ToGGUF(%q) = %q, want %q", hf, got, gguf)
		}
		if got := FromGGUF(gguf); got != hf {
			t.Errorf("FromGGUF(%q) = %q, want %q", gguf, got, hf)
		}
	}
	for _, name := range []string{"blk.-1.attn_q.weight", "blk.01.attn_q.weight", "blk.attn_q.weight", "blk..weight", "blk.9999999999999999999.x.weight"} {
		if got := FromGGUF(name); got != name {
			t.Errorf("FromGGUF(%q) = %q: no layer is of that number", name, got)
		}
	}
}

func TestPartsOfAllExpertsHaveOneName(t *testing.T) {
	for hf, gguf := range map[string]string{
		"model.layers.3.mlp.experts.17.gate_proj.weight": "blk.3.ffn_gate_exps.weight", "model.layers.0.mlp.experts.0.down_proj.weight": "blk.0.ffn_down_exps.weight",
		"model.layers.3.block_sparse_moe.experts.7.w3.weight": "blk.3.ffn_up_exps.weight", "model.layers.3.block_sparse_moe.gate.weight": "blk.3.ffn_gate_inp.weight",
		"model.layers.3.mlp.experts.x.gate_proj.weight": "blk.3.mlp.experts.x.gate_proj.weight",
	} {
		if got := ToGGUF(hf); got != gguf {
			t.Errorf("ToGGUF(%q) = %q, want %q", hf, got, gguf)
		}
	}
}
