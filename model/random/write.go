package random

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"

	"github.com/orrery-ai/orrery/device"
	"github.com/orrery-ai/orrery/device/cpu/simd"
	"github.com/orrery-ai/orrery/model"
)

// Write writes a model of the shape that config.json gives into dir, which it makes if it must: config.json
// itself and model.safetensors. The same arguments always make the same files. Weights are drawn as they
// are written, so it takes no memory to speak of. progress, unless nil, is told of the bytes written.
//
// Matrices are uniform with variance 1/columns, and norms are ones, so that activations keep about their
// size from layer to layer.
func Write(dir string, config []byte, format device.Format, seed uint64, progress func(done, total int64)) error {
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
	header, total, err := header(tensors, format)
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
	d := newDrawer(format, seed)
	var done int64
	for _, t := range tensors {
		for left := elements(t); left > 0; {
			b := d.draw(min(left, drawn), t)
			if _, err := w.Write(b); err != nil {
				return err
			}
			left -= len(b) / format.Bytes()
			done += int64(len(b))
			if progress != nil {
				progress(done, total)
			}
		}
	}
	return w.Flush()
}

// header is that of a safetensors file, with its length, padded so that the data starts at a multiple of 8.
func header(tensors []model.TensorShape, format device.Format) (b []byte, total int64, err error) {
	type entry struct {
		DType   string   `json:"dtype"`
		Shape   []int    `json:"shape"`
		Offsets [2]int64 `json:"data_offsets"`
	}
	entries := map[string]entry{}
	for _, t := range tensors {
		end := total + int64(elements(t))*int64(format.Bytes())
		entries[t.Name] = entry{format.String(), t.Shape, [2]int64{total, end}}
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

// drawn is how many elements are drawn at a time.
const drawn = 1 << 16

// drawer draws weights.
type drawer struct {
	format device.Format
	state  uint64
	values []float32
	bytes  []byte
}

func newDrawer(format device.Format, seed uint64) *drawer {
	return &drawer{format: format, state: seed, values: make([]float32, drawn), bytes: make([]byte, drawn*format.Bytes())}
}

// draw gives the next n elements of a tensor, as they are stored, until the next call.
func (d *drawer) draw(n int, t model.TensorShape) []byte {
	b := d.bytes[:n*d.format.Bytes()]
	v := d.values[:n]
	switch {
	case len(t.Shape) == 2:
		d.uniform(v, float32(math.Sqrt(3/float64(t.Shape[1]))))
	case strings.HasSuffix(t.Name, ".bias"):
		clear(v)
	default:
		for i := range v {
			v[i] = 1
		}
	}
	switch d.format {
	case device.F32:
		for i, x := range v {
			binary.LittleEndian.PutUint32(b[4*i:], math.Float32bits(x))
		}
	case device.F16:
		simd.ToF16(b, v)
	case device.BF16:
		for i, x := range v {
			binary.LittleEndian.PutUint16(b[2*i:], uint16(math.Float32bits(x)>>16)) // towards zero, by less than 1%
		}
	}
	return b
}

// uniform draws from (-most, most), with 16 bits each: SplitMix64 (Steele, Lea and Flood, 2014) gives four at
// a time.
func (d *drawer) uniform(v []float32, most float32) {
	scale := most / (1 << 15)
	for i := 0; i < len(v); i += 4 {
		d.state += 0x9e3779b97f4a7c15
		z := d.state
		z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
		z = (z ^ z>>27) * 0x94d049bb133111eb
		z ^= z >> 31
		for j := i; j < min(i+4, len(v)); j++ {
			v[j] = (float32(int16(z)) + 0.5) * scale
			z >>= 16
		}
	}
}
