package model

import (
	"fmt"

	"github.com/orrery-ai/orrery/device"
	"github.com/orrery-ai/orrery/model/gguf"
)

const ropeFactorsName = "rope_freqs.weight"

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
