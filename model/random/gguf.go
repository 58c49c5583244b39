package random

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/orrery-ai/orrery/device"
	"github.com/orrery-ai/orrery/internal/ggufnames"
	"github.com/orrery-ai/orrery/internal/ggufwrite"
	"github.com/orrery-ai/orrery/model"
)

// WriteGGUF writes a GGUF file instead, without a tokenizer. Matrices are in a format that such files have, or in F16 if
// their rows are not whole blocks of it; vectors are in F32.
func WriteGGUF(path string, config []byte, format device.Format, seed uint64, progress func(done, total int64)) error {
	if _, ok := ggufwrite.Types[format]; !ok {
		return fmt.Errorf("GGUF files have no weights in %v", format)
	}
	return createGGUF(path, config, func(*model.Config, string) device.Format { return format }, seed, progress)
}

// WriteQ4KM is WriteGGUF with the mixture of formats that llama.cpp calls Q4_K_M.
func WriteQ4KM(path string, config []byte, seed uint64, progress func(done, total int64)) error {
	return createGGUF(path, config, formatQ4KM, seed, progress)
}

// formatQ4KM is Q6_K for the matrix that gives logits, and in half of the layers for those of values and those back from the feed-forward network: in the
// first and the last eighth, and in every third one between. All others are Q4_K (llama.cpp's llama-quant.cpp).
func formatQ4KM(c *model.Config, name string) device.Format {
	if name == "output.weight" || name == "token_embd.weight" && c.Tied {
		return device.Q6_K
	}
	var layer int
	var part string
	if n, _ := fmt.Sscanf(name, "blk.%d.%s", &layer, &part); n < 2 || !strings.HasPrefix(part, "attn_v.") && !strings.HasPrefix(part, "ffn_down") {
		return device.Q4_K
	}
	if eighth := c.Layers / 8; layer < eighth || layer >= 7*c.Layers/8 || (layer-eighth)%3 == 2 {
		return device.Q6_K
	}
	return device.Q4_K
}

// createGGUF writes a file whose matrices have the formats that GGUF's names are given.
func createGGUF(path string, config []byte, format func(c *model.Config, name string) device.Format, seed uint64, progress func(done, total int64)) error {
	c, err := model.ParseConfig(config)
	if err != nil {
		return fmt.Errorf("config.json: %w", err)
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

func writeGGUF(f io.Writer, c *model.Config, format func(c *model.Config, name string) device.Format, seed uint64, progress func(done, total int64)) error {
	d := newDrawer(seed)
	out := &told{progress: progress}
	var tensors []ggufwrite.Tensor
	if t, ok := ggufwrite.RopeFactors(c); ok {
		tensors = append(tensors, t)
	}
	for _, t := range c.Tensors() {
		stored, name := device.F32, ggufnames.ToGGUF(t.Name)
		if len(t.Shape) == 2 {
			stored = format(c, name)
			if t.Shape[1]%stored.Block().Elements != 0 {
				stored = device.F16
			}
		}
		size := int64(stored.MatrixBytes(1, elements(t)))
		out.total += size
		tensors = append(tensors, ggufwrite.Tensor{Name: name, Type: ggufwrite.Types[stored], Shape: t.Shape, Bytes: size,
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
