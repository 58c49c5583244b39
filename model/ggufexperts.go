package model

import (
	"fmt"
	"slices"
	"strings"

	"github.com/orrery-ai/orrery/internal/ggufnames"
)

// softmaxGating is what files call a router whose weights are a softmax.
const softmaxGating = 1

// experts adds what the file says of experts, and which family that makes of it: the one without, or the one with.
func (r *ggufReader) experts(c map[string]any, without, with string) {
	n := r.number("expert_count")
	if (n == nil || *n == 0) && without != "" {
		return
	}
	if with == "" {
		r.fail(r.arch+".expert_count", fmt.Errorf("%d experts: mixtures of %s are not known", *n, r.arch))
		return
	}
	c["model_type"] = with
	for key, field := range map[string]string{
		"expert_count": "num_experts", "expert_used_count": "num_experts_per_tok", "expert_feed_forward_length": "moe_intermediate_size",
	} {
		if n := r.number(key); n != nil {
			c[field] = *n
		}
	}
	c["num_local_experts"] = c["num_experts"]
	c["norm_topk_prob"] = true // as readers of such files take for granted
	if v, key, ok := r.get("expert_weights_norm"); ok {
		normalized, err := v.Bool()
		if err != nil {
			r.fail(key, err)
		}
		c["norm_topk_prob"] = normalized
	}
	if n := r.number("expert_shared_count"); n != nil && *n != 0 {
		r.fail(r.arch+".expert_shared_count", fmt.Errorf("%d: experts that all tokens go to are not known", *n))
	}
	if n := r.number("expert_gating_func"); n != nil && *n != softmaxGating {
		r.fail(r.arch+".expert_gating_func", fmt.Errorf("%d is not known; known is %d, softmax", *n, softmaxGating))
	}
	if f := r.float("expert_weights_scale"); f != nil && *f != 0 && *f != 1 {
		r.fail(r.arch+".expert_weights_scale", fmt.Errorf("%g: weights of experts are not scaled", *f))
	}
	dense := []int{}
	for name := range r.file.Tensors {
		var layer int
		if _, err := fmt.Sscanf(name, "blk.%d.ffn_gate.weight", &layer); err == nil && name == ggufnames.ToGGUF(layerName(layer, "mlp.gate_proj.weight")) {
			dense = append(dense, layer)
		}
	}
	slices.Sort(dense)
	c["mlp_only_layers"] = dense
}

// expertName is a name that a GGUF file's tensors have been given as this family has it.
func (c *Config) expertName(name string) string {
	f := families[c.ModelType].experts
	if f == nil || !strings.HasPrefix(name, layersDot) {
		return name
	}
	for from, to := range map[string]string{
		".mlp.gate.": f.router, ".mlp.experts.gate_proj.": f.experts + "." + f.gate, ".mlp.experts.up_proj.": f.experts + "." + f.up,
		".mlp.experts.down_proj.": f.experts + "." + f.down,
	} {
		if strings.Contains(name, from) {
			return strings.Replace(name, from, "."+to+".", 1)
		}
	}
	return name
}
