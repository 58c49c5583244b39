package modeltest

import (
	"errors"
	"io"
	"os"
	"strings"

	"github.com/orrery-ai/orrery/device"
	"github.com/orrery-ai/orrery/internal/ggufnames"
	"github.com/orrery-ai/orrery/internal/ggufwrite"
	"github.com/orrery-ai/orrery/internal/quantize"
	"github.com/orrery-ai/orrery/model"
)

// GGUFPair is an entry of a GGUF file's metadata, see [WriteGGUF].
type GGUFPair = ggufwrite.Pair

// WriteGGUF writes the model in the folder dir as a GGUF file, as converters do: the tensors under their names
// there, the rows of q and k of a Llama reordered, and the configuration as metadata, with further entries. Matrices
// whose rows are whole blocks of format get that, if it is not 0; the others stay as they are.
func WriteGGUF(path, dir string, format device.Format, further ...GGUFPair) (err error) {
	c, stored, err := readFolder(dir)
	if err != nil {
		return err
	}
	var tensors []ggufwrite.Tensor
	if t, ok := ggufwrite.RopeFactors(c); ok {
		tensors = append(tensors, t)
	}
	for _, s := range stored {
		tensors = append(tensors, ggufTensor(c, s, format))
	}
	out, err := os.Create(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	return ggufwrite.Write(out, append(ggufwrite.Metadata(c), further...), ggufwrite.Stack(tensors))
}

func ggufTensor(c *model.Config, s storedTensor, format device.Format) ggufwrite.Tensor {
	data, stored := s.data, s.format
	if c.ModelType == "llama" || c.ModelType == "mixtral" {
		switch {
		case strings.Contains(s.name, ".q_proj."):
			data = ggufwrite.Interleave(data, c.Heads, c.HeadDim)
		case strings.Contains(s.name, ".k_proj."):
			data = ggufwrite.Interleave(data, c.KVHeads, c.HeadDim)
		}
	}
	if format != 0 && len(s.shape) == 2 && s.shape[1]%format.Block().Elements == 0 {
		s.data = data
		data, stored = quantize.Encode(nil, format, s.floats()), format
	}
	return ggufwrite.Tensor{Name: ggufnames.ToGGUF(s.name), Type: ggufwrite.Types[stored], Shape: s.shape, Bytes: int64(len(data)), Write: func(w io.Writer) error {
		_, err := w.Write(data)
		return err
	}}
}
