package random

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/orrery-ai/orrery/device"
	"github.com/orrery-ai/orrery/model"
)

// Write writes a model of the shape that config.json gives into dir, which it makes if it must: config.json
// itself and model.safetensors, in a dense format or one of MLX's. The same arguments always make the same files.
// Weights are drawn as they are written, so it takes little memory. progress, unless nil, is told of the bytes written.
//
// Matrices are uniform with variance 1/columns, and norms are ones, so that activations keep about their
// size from layer to layer.
func Write(dir string, config []byte, format device.Format, seed uint64, progress func(done, total int64)) error {
	switch {
	case format.Bytes() > 0:
	case !format.Affine():
		return fmt.Errorf("safetensors have no weights in %v: write a GGUF file", format)
	default:
		var err error
		if config, err = withQuantization(config, format); err != nil {
			return fmt.Errorf("config.json: %w", err)
		}
	}
	c, err := model.ParseConfig(config)
	if err != nil {
		return fmt.Errorf("config.json: %w", err)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "config.json"), config, 0o644); err != nil {
		return err
	}
	path := filepath.Join(dir, "model.safetensors")
	if err := writeWeights(path, c.Tensors(), format, seed, progress); err != nil {
		return errors.Join(err, os.Remove(path))
	}
	return nil
}

func writeWeights(path string, tensors []model.TensorShape, format device.Format, seed uint64, progress func(done, total int64)) (err error) {
	all, err := plan(tensors, format)
	if err != nil {
		return err
	}
	header, total, err := header(all)
	if err != nil {
		return err
	}
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	w := bufio.NewWriterSize(f, 1<<20)
	if _, err := w.Write(header); err != nil {
		return err
	}
	d := newDrawer(seed)
	out := &told{w: w, total: total, progress: progress}
	for _, t := range all {
		if err := t.write(d, out); err != nil {
			return err
		}
	}
	return w.Flush()
}

// told tells of what goes through it.
type told struct {
	w           io.Writer
	done, total int64
	progress    func(done, total int64)
}

func (t *told) Write(b []byte) (int, error) {
	n, err := t.w.Write(b)
	if t.done += int64(n); t.progress != nil {
		t.progress(t.done, t.total)
	}
	return n, err
}

// part is a tensor of a safetensors file.
type part struct {
	name  string
	dtype string
	shape []int
	bytes int64
	write func(d *drawer, w io.Writer) error
}

// plan is what a file of these tensors has.
func plan(tensors []model.TensorShape, format device.Format) (all []part, err error) {
	for _, t := range tensors {
		switch {
		case format.Bytes() > 0:
			all = append(all, dense(t, format))
		case len(t.Shape) != 2:
			all = append(all, dense(t, device.BF16))
		default:
			parts, err := affine(t, format)
			if err != nil {
				return nil, err
			}
			all = append(all, parts...)
		}
	}
	return all, nil
}

func dense(t model.TensorShape, format device.Format) part {
	return part{t.Name, format.String(), t.Shape, int64(elements(t)) * int64(format.Bytes()), func(d *drawer, w io.Writer) error {
		return d.write(w, t, format)
	}}
}

// header is that of a safetensors file, with its length, padded so that the data starts at a multiple of 8.
func header(tensors []part) (b []byte, total int64, err error) {
	type entry struct {
		DType   string   `json:"dtype"`
		Shape   []int    `json:"shape"`
		Offsets [2]int64 `json:"data_offsets"`
	}
	entries := map[string]entry{}
	for _, t := range tensors {
		end := total + t.bytes
		entries[t.name] = entry{t.dtype, t.shape, [2]int64{total, end}}
		total = end
	}
	text, err := json.Marshal(entries)
	if err != nil {
		return nil, 0, err
	}
	for len(text)%8 != 0 {
		text = append(text, ' ')
	}
	return append(binary.LittleEndian.AppendUint64(nil, uint64(len(text))), text...), total, nil
}

func elements(t model.TensorShape) int {
	n := 1
	for _, d := range t.Shape {
		n *= d
	}
	return n
}
