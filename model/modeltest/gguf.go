package modeltest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/orrery-ai/orrery/internal/ggufnames"
	"github.com/orrery-ai/orrery/internal/ggufwrite"
	"github.com/orrery-ai/orrery/model"
	"github.com/orrery-ai/orrery/model/gguf"
	"github.com/orrery-ai/orrery/model/safetensors"
)

// GGUFPair is an entry of a GGUF file's metadata, see [WriteGGUF].
type GGUFPair = ggufwrite.Pair

// WriteGGUF writes the model in the folder dir as a GGUF file, as converters do: the tensors under their names
// there, the rows of q and k of a Llama reordered, and the configuration as metadata, with further entries.
func WriteGGUF(path, dir string, further ...GGUFPair) (err error) {
	b, err := os.ReadFile(filepath.Join(dir, "config.json"))
	if err != nil {
		return err
	}
	c, err := model.ParseConfig(b)
	if err != nil {
		return err
	}
	files, err := filepath.Glob(filepath.Join(dir, "*.safetensors"))
	if err != nil {
		return err
	}
	stored := map[string]safetensors.Tensor{}
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		f, err := safetensors.Parse(b)
		if err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
		for name, t := range f.Tensors {
			stored[name] = t
		}
	}
	var tensors []ggufwrite.Tensor
	if t, ok := ggufwrite.RopeFactors(&c); ok {
		tensors = append(tensors, t)
	}
	for _, t := range c.Tensors() {
		s, ok := stored[t.Name]
		if !ok {
			return fmt.Errorf("%s: tensor %q is missing", dir, t.Name)
		}
		tensors = append(tensors, ggufTensor(&c, t.Name, s))
	}
	out, err := os.Create(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	return ggufwrite.Write(out, append(ggufwrite.Metadata(&c), further...), tensors)
}

func ggufTensor(c *model.Config, name string, s safetensors.Tensor) ggufwrite.Tensor {
	data := s.Data
	if c.ModelType == "llama" {
		switch {
		case strings.Contains(name, ".q_proj."):
			data = ggufwrite.Interleave(data, c.Heads, c.HeadDim)
		case strings.Contains(name, ".k_proj."):
			data = ggufwrite.Interleave(data, c.KVHeads, c.HeadDim)
		}
	}
	types := map[string]gguf.Type{"F32": gguf.F32, "F16": gguf.F16, "BF16": gguf.BF16}
	return ggufwrite.Tensor{Name: ggufnames.ToGGUF(name), Type: types[s.DType], Shape: s.Shape, Bytes: int64(len(data)), Write: func(w io.Writer) error {
		_, err := io.Copy(w, bytes.NewReader(data))
		return err
	}}
}
