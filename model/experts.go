package model

import (
	"fmt"
	"slices"
	"strings"

	"github.com/orrery-ai/orrery/device"
)

// Experts says which layers have experts instead of an MLP, and how tokens are routed to them. The zero value is none.
type Experts struct {
	Count      int   // experts of a layer
	Active     int   // of them, those that a token goes to
	Width      int   // of an expert's MLP
	Normalized bool  // the weights of a token's experts add up to 1
	Step       int   // each Step-th layer has experts,
	Dense      []int // but for these; sorted
}

// expertFamily is what architectures call the tensors of experts.
type expertFamily struct {
	local           bool // the configuration is as Mixtral's: num_local_experts, as wide as intermediate_size, in every layer, and normalized
	router, experts string
	gate, up, down  string
}

// parts are the names of an expert's matrices.
func (f *expertFamily) parts() [3]string { return [...]string{f.gate, f.up, f.down} }

// one is the name of a matrix of one expert, without .weight.
func (f *expertFamily) one(expert int, part string) string {
	return fmt.Sprintf("%s.%d.%s", f.experts, expert, part)
}

const (
	maxExperts = 1 << 10
	maxActive  = 64
)

// Routed reports whether a layer has experts.
func (c *Config) Routed(layer int) bool {
	e := &c.Experts
	if e.Count == 0 || (layer+1)%e.Step != 0 {
		return false
	}
	_, dense := slices.BinarySearch(e.Dense, layer)
	return !dense
}

// anyDense reports whether any layer has no experts.
func (c *Config) anyDense() bool {
	for l := range c.Layers {
		if !c.Routed(l) {
			return true
		}
	}
	return false
}

// setExperts stores what is said of experts. Layers must be known.
func (c *Config) setExperts(r *rawConfig, f *expertFamily) error {
	if f == nil {
		return nil
	}
	e := Experts{Step: 1, Normalized: true}
	count, countName, width, widthName := r.LocalExperts, "num_local_experts", r.Intermediate, "intermediate_size"
	if !f.local {
		e.Normalized = r.NormTopK
		count, countName, width, widthName = r.Experts, "num_experts", r.ExpertWidth, "moe_intermediate_size"
		if err := setInt(&e.Step, "decoder_sparse_step", r.SparseStep, 1, maxLayers); err != nil {
			return err
		}
		for i, l := range r.DenseOnly {
			if l < 0 || l >= c.Layers {
				return fmt.Errorf("mlp_only_layers[%d] %d is not a layer of %d", i, l, c.Layers)
			}
		}
		e.Dense = slices.Compact(slices.Sorted(slices.Values(r.DenseOnly)))
	}
	if err := setInt(&e.Count, countName, count, 0, maxExperts); err != nil {
		return err
	}
	if err := setInt(&e.Active, "num_experts_per_tok", r.ExpertsPerToken, 0, min(maxActive, e.Count)); err != nil {
		return err
	}
	if err := setInt(&e.Width, widthName, width, 0, maxIntermediate); err != nil {
		return err
	}
	c.Experts = e
	return nil
}

// expertSpecs is the tensors of the experts of a layer, and of the router before them.
func (c *Config) expertSpecs(layer int) []spec {
	f, e := families[c.ModelType].experts, &c.Experts
	s := []spec{{layerName(layer, f.router+".weight"), e.Count, c.Hidden}}
	for i := range e.Count {
		s = append(s, spec{layerName(layer, f.one(i, f.gate)+".weight"), e.Width, c.Hidden},
			spec{layerName(layer, f.one(i, f.up)+".weight"), e.Width, c.Hidden},
			spec{layerName(layer, f.one(i, f.down)+".weight"), c.Hidden, e.Width})
	}
	return s
}

// splitExperts makes a matrix for each expert of those that GGUF and MLX put into one tensor, [experts][rows][cols].
func (w *weights) splitExperts(c *Config) error {
	f, e := families[c.ModelType].experts, &c.Experts
	for l := range c.Layers {
		if !c.Routed(l) {
			continue
		}
		for _, part := range f.parts() {
			want := []int{e.Count, e.Width, c.Hidden}
			if part == f.down {
				want = []int{e.Count, c.Hidden, e.Width}
			}
			for _, name := range [...]string{f.experts + "." + part, stackedMLX(f, part)} {
				name = layerName(l, name+".weight")
				t, ok := w.tensors[name]
				if !ok {
					continue
				}
				if err := w.checkShape(name, t, want); err != nil {
					return err
				}
				delete(w.tensors, name)
				for i := range e.Count {
					w.tensors[layerName(l, f.one(i, part)+".weight")] = t.of(i, e.Count)
				}
			}
		}
	}
	return nil
}

// stackedMLX is what MLX calls the matrices of all experts, which it names alike in all architectures.
func stackedMLX(f *expertFamily, part string) string {
	layer, _, _ := strings.Cut(f.experts, ".")
	return layer + ".switch_mlp." + map[string]string{f.gate: "gate_proj", f.up: "up_proj", f.down: "down_proj"}[part]
}

// of is part i of n of a tensor of three dimensions.
func (t storedTensor) of(i, n int) storedTensor {
	piece := func(b []byte) []byte { return b[len(b)/n*i : len(b)/n*(i+1) : len(b)/n*(i+1)] }
	t.shape, t.data, t.scales, t.biases = t.shape[1:], piece(t.data), piece(t.scales), piece(t.biases)
	return t
}

// experts is the checked experts of a layer.
func (m *Model) experts(layer int) (e device.Experts) {
	f := families[m.Config.ModelType].experts
	for i := range m.Config.Experts.Count {
		matrix := func(part string) device.Matrix { return m.weights.matrix(layerName(layer, f.one(i, part)+".weight")) }
		e.Gate, e.Up, e.Down = append(e.Gate, matrix(f.gate)), append(e.Up, matrix(f.up)), append(e.Down, matrix(f.down))
	}
	return e
}

// checkExperts reports an expert of a layer that is stored in another way than the first.
func (w *weights) checkExperts(c *Config, layer int) error {
	f := families[c.ModelType].experts
	for _, part := range f.parts() {
		first := w.tensors[layerName(layer, f.one(0, part)+".weight")]
		for i := range c.Experts.Count {
			name := layerName(layer, f.one(i, part)+".weight")
			if t := w.tensors[name]; t.format != first.format || t.group != first.group || t.scaleFormat != first.scaleFormat {
				return fmt.Errorf("%s: tensor %q is %s, and that of the first expert %s: those of a layer must be alike", t.file, w.stored(name), t.dtype, first.dtype)
			}
		}
	}
	return nil
}

// otherExpert reports whether a tensor is of an expert that is not its layer's first.
func (c *Config) otherExpert(name string) bool {
	if c.Experts.Count == 0 {
		return false
	}
	_, rest, ok := strings.Cut(name, "."+families[c.ModelType].experts.experts+".")
	return ok && !strings.HasPrefix(rest, "0.")
}
