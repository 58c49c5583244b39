package random

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/orrery-ai/orrery/device"
	"github.com/orrery-ai/orrery/internal/ggufnames"
	"github.com/orrery-ai/orrery/internal/ggufwrite"
	"github.com/orrery-ai/orrery/model"
)

// WriteGGUF writes a GGUF file instead, without a tokenizer. Matrices are in a format that such files have, or in F16 if
// their rows are not whole blocks of it; vectors are in F32.
func WriteGGUF(path string, config []byte, format device.Format, seed uint64, progress func(done, total int64)) error {
	c, err := model.ParseConfig(config)
	if err != nil {
		return fmt.Errorf("config.json: %w", err)
	}
	if _, ok := ggufwrite.Types[format]; !ok {
		return fmt.Errorf("GGUF files have no weights in %v", format)
	}
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	if err := errors.Join(writeGGUF(f, &c, format, seed, progress), f.Close()); err != nil {
		return errors.Join(err, os.Remove(path))
	}
	return nil
}

func writeGGUF(f io.Writer, c *model.Config, format device.Format, seed uint64, progress func(done, total int64)) error {
	d := newDrawer(seed)
	out := &told{progress: progress}
	var tensors []ggufwrite.Tensor
	if t, ok := ggufwrite.RopeFactors(c); ok {
		tensors = append(tensors, t)
	}
	for _, t := range c.Tensors() {
		stored := device.F32
		if len(t.Shape) == 2 {
			stored = format
			if t.Shape[1]%format.Block().Elements != 0 {
				stored = device.F16
			}
		}
		size := int64(stored.MatrixBytes(1, elements(t)))
		out.total += size
		tensors = append(tensors, ggufwrite.Tensor{Name: ggufnames.ToGGUF(t.Name), Type: ggufwrite.Types[stored], Shape: t.Shape, Bytes: size,
			Write: func(w io.Writer) error {
				out.w = w
				return d.write(out, t, stored)
			}})
	}
	w := bufio.NewWriterSize(f, 1<<20)
	// llama.cpp refuses a file that does not say that it has no tokenizer.
	metadata := append(ggufwrite.Metadata(c), ggufwrite.Pair{Key: "tokenizer.ggml.model", Value: "none"})
	if err := ggufwrite.Write(w, metadata, ggufwrite.Stack(tensors)); err != nil {
		return err
	}
	return w.Flush()
}
