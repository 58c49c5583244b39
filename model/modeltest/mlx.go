package modeltest

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/orrery-ai/orrery/device"
	"github.com/orrery-ai/orrery/internal/quantize"
)

// MLXOptions is how matrices are quantized.
type MLXOptions struct {
	Bits, Group int
	Numbers     device.Format // of scales and biases
	Plain       string        // what is in a matrix's name stays as it is
	Wide        string        // what is in a matrix's name has 8 bits
	Separate    bool          // each expert has tensors of its own, as in mixtral's of before MLX stacked them
	Widened     bool          // write what the quantized numbers stand for instead, as F32, unquantized, as Hugging Face names it
}

// WriteMLX writes the model in the folder from into the folder to, quantized as MLX does: with the names and shapes of mlx-lm's
// models/qwen3_moe.py, mixtral.py and switch_layers.py, and the configuration of its utils.py.
func WriteMLX(to, from string, o MLXOptions) error {
	_, stored, err := readFolder(from)
	if err != nil {
		return err
	}
	if !o.Separate && !o.Widened {
		stored = stackExperts(stored)
	}
	b, err := os.ReadFile(filepath.Join(from, "config.json"))
	if err != nil {
		return err
	}
	var config map[string]any
	if err := json.Unmarshal(b, &config); err != nil {
		return err
	}
	said := map[string]any{"group_size": o.Group, "bits": o.Bits, "mode": "affine"}
	var out []storedTensor
	dtypes := map[string]string{}
	for _, s := range stored {
		base, bits := strings.TrimSuffix(s.name, ".weight"), o.Bits
		if len(s.shape) < 2 {
			out = append(out, s)
			continue
		}
		if o.Plain != "" && strings.Contains(s.name, o.Plain) {
			said[base] = false
			out = append(out, s)
			continue
		}
		if o.Wide != "" && strings.Contains(s.name, o.Wide) {
			bits = 8
			said[base] = map[string]any{"group_size": o.Group, "bits": bits}
		}
		format := map[int]device.Format{4: device.MLX4, 8: device.MLX8}[bits]
		data, scales, biases := quantize.EncodeAffine(format, o.Group, o.Numbers, s.floats())
		cols := s.shape[len(s.shape)-1]
		if o.Widened {
			out = append(out, storedTensor{s.name, device.F32, s.shape, widened(device.Matrix{Format: format, Rows: s.shape[0], Cols: cols, Data: data,
				Scales: scales, Biases: biases, ScaleFormat: o.Numbers, Group: o.Group})})
			continue
		}
		with := func(cols int) []int { return append(slices.Clone(s.shape[:len(s.shape)-1]), cols) }
		dtypes[s.name] = "U32"
		out = append(out, storedTensor{s.name, format, with(cols * bits / 32), data},
			storedTensor{base + ".scales", o.Numbers, with(cols / o.Group), scales}, storedTensor{base + ".biases", o.Numbers, with(cols / o.Group), biases})
	}
	if !o.Widened {
		config["quantization"] = said
	}
	return errors.Join(writeJSON(filepath.Join(to, "config.json"), config), writeStored(filepath.Join(to, "model.safetensors"), out, dtypes))
}

// widened is the elements of m, as F32.
func widened(m device.Matrix) (data []byte) {
	row := make([]float32, m.Cols)
	for i := range m.Rows {
		quantize.Widen(row, &m, i)
		data = quantize.Encode(data, device.F32, row)
	}
	return data
}

// expertPart is the name of a matrix of an expert: what is before, and its part, as Qwen or Mixtral calls it.
var expertPart = regexp.MustCompile(`^(.*)\.experts\.\d+\.(\w+)\.weight$`)

// stackExperts makes one tensor of the matrices of all experts of a layer, [experts][rows][cols], as MLX does.
func stackExperts(all []storedTensor) []storedTensor {
	var out []storedTensor
	at := map[string]int{}
	for _, s := range all {
		m := expertPart.FindStringSubmatch(s.name)
		if m == nil {
			out = append(out, s)
			continue
		}
		part := m[2]
		if other, ok := map[string]string{"w1": "gate_proj", "w2": "down_proj", "w3": "up_proj"}[part]; ok {
			part = other
		}
		name := m[1] + ".switch_mlp." + part + ".weight"
		i, ok := at[name]
		if !ok {
			i = len(out)
			at[name] = i
			out = append(out, storedTensor{name, s.format, append([]int{0}, s.shape...), nil})
		}
		out[i].shape[0]++
		out[i].data = append(out[i].data, s.data...)
	}
	return out
}

// writeStored writes tensors as they are. dtypes is what the header calls the types of some.
func writeStored(path string, tensors []storedTensor, dtypes map[string]string) error {
	type entry struct {
		DType   string `json:"dtype"`
		Shape   []int  `json:"shape"`
		Offsets [2]int `json:"data_offsets"`
	}
	entries := map[string]entry{}
	var data []byte
	for _, t := range tensors {
		dtype, ok := dtypes[t.name]
		if !ok {
			dtype = t.format.String()
		}
		entries[t.name] = entry{dtype, t.shape, [2]int{len(data), len(data) + len(t.data)}}
		data = append(data, t.data...)
	}
	text, err := json.Marshal(entries)
	if err != nil {
		return err
	}
	for len(text)%8 != 0 {
		text = append(text, ' ')
	}
	b := append(binary.LittleEndian.AppendUint64(nil, uint64(len(text))), text...)
	return os.WriteFile(path, append(b, data...), 0o644)
}
