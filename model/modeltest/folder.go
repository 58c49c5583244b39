package modeltest

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/orrery-ai/orrery/device"
	"github.com/orrery-ai/orrery/internal/quantize"
	"github.com/orrery-ai/orrery/model"
	"github.com/orrery-ai/orrery/model/safetensors"
)

// storedTensor is a tensor of a folder, not quantized.
type storedTensor struct {
	name   string
	format device.Format
	shape  []int
	data   []byte
}

// floats is its elements.
func (s storedTensor) floats() []float32 {
	n := len(s.data) / s.format.Bytes()
	out := make([]float32, n)
	quantize.Widen(out, &device.Matrix{Format: s.format, Rows: 1, Cols: n, Data: s.data}, 0)
	return out
}

// readFolder reads a model: its geometry, and its tensors in the order in which a step reads them.
func readFolder(dir string) (*model.Config, []storedTensor, error) {
	b, err := os.ReadFile(filepath.Join(dir, "config.json"))
	if err != nil {
		return nil, nil, err
	}
	c, err := model.ParseConfig(b)
	if err != nil {
		return nil, nil, err
	}
	files, err := filepath.Glob(filepath.Join(dir, "*.safetensors"))
	if err != nil {
		return nil, nil, err
	}
	found := map[string]safetensors.Tensor{}
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			return nil, nil, err
		}
		f, err := safetensors.Parse(b)
		if err != nil {
			return nil, nil, fmt.Errorf("%s: %w", file, err)
		}
		for name, t := range f.Tensors {
			found[name] = t
		}
	}
	var all []storedTensor
	for _, t := range c.Tensors() {
		s, ok := found[t.Name]
		format := map[string]device.Format{"F32": device.F32, "F16": device.F16, "BF16": device.BF16}[s.DType]
		if !ok || format == 0 {
			return nil, nil, fmt.Errorf("%s: tensor %q is missing, or %q", dir, t.Name, s.DType)
		}
		all = append(all, storedTensor{t.Name, format, s.Shape, s.Data})
	}
	return &c, all, nil
}
