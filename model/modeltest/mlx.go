package modeltest

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
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
}

// WriteMLX writes the model in the folder from into the folder to, quantized as MLX does.
func WriteMLX(to, from string, o MLXOptions) error {
	_, stored, err := readFolder(from)
	if err != nil {
		return err
	}
	b, err := os.ReadFile(filepath.Join(from, "config.json"))
	if err != nil {
		return err
	}
	var config map[string]any
	if err := json.Unmarshal(b, &config); err != nil {
		return err
	}
	said := map[string]any{"group_size": o.Group, "bits": o.Bits}
	var out []storedTensor
	dtypes := map[string]string{}
	for _, s := range stored {
		base, bits := strings.TrimSuffix(s.name, ".weight"), o.Bits
		if len(s.shape) != 2 {
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
		groups := []int{s.shape[0], s.shape[1] / o.Group}
		dtypes[s.name] = "U32"
		out = append(out, storedTensor{s.name, format, []int{s.shape[0], s.shape[1] * bits / 32}, data},
			storedTensor{base + ".scales", o.Numbers, groups, scales}, storedTensor{base + ".biases", o.Numbers, groups, biases})
	}
	config["quantization"] = said
	return errors.Join(writeJSON(filepath.Join(to, "config.json"), config), writeStored(filepath.Join(to, "model.safetensors"), out, dtypes))
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
