package random

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"github.com/orrery-ai/orrery/device"
	"github.com/orrery-ai/orrery/internal/quantize"
	"github.com/orrery-ai/orrery/model"
)

// group is how many elements share a scale and a bias, as MLX has it unless told otherwise.
const group = 64

// bitsOf is the width of an element.
func bitsOf(format device.Format) int { return 8 * format.Block().Bytes / format.Block().Elements }

// withQuantization is a config.json that says how MLX quantized the model.
func withQuantization(config []byte, format device.Format) ([]byte, error) {
	var fields map[string]any
	if err := json.Unmarshal(config, &fields); err != nil {
		return nil, err
	}
	fields["quantization"] = map[string]any{"group_size": group, "bits": bitsOf(format)}
	return json.MarshalIndent(fields, "", " ")
}

// affine is the three tensors that MLX makes of a matrix.
func affine(t model.TensorShape, format device.Format) ([]part, error) {
	rows, cols := t.Shape[0], t.Shape[1]
	if cols%group != 0 {
		return nil, fmt.Errorf("tensor %q: rows of %d elements are not whole groups of %d", t.Name, cols, group)
	}
	var scales, biases []byte
	base := strings.TrimSuffix(t.Name, ".weight")
	numbers := func(name string, from *[]byte) part {
		return part{base + name, device.BF16.String(), []int{rows, cols / group}, 2 * int64(rows) * int64(cols/group), func(_ *drawer, w io.Writer) error {
			_, err := w.Write(*from)
			*from = nil
			return err
		}}
	}
	weights := part{t.Name, "U32", []int{rows, cols * bitsOf(format) / 32}, int64(format.MatrixBytes(rows, cols)), func(d *drawer, w io.Writer) error {
		for left := elements(t); left > 0; left -= min(left, drawn) {
			b, s, z := quantize.EncodeAffine(format, group, device.BF16, d.draw(min(left, drawn), t))
			scales, biases = append(scales, s...), append(biases, z...)
			if _, err := w.Write(b); err != nil {
				return err
			}
		}
		return nil
	}}
	return []part{weights, numbers(".scales", &scales), numbers(".biases", &biases)}, nil
}
