package random

import (
	"encoding/binary"
	"io"
	"math"
	"strings"

	"github.com/orrery-ai/orrery/device"
	"github.com/orrery-ai/orrery/device/cpu/simd"
	"github.com/orrery-ai/orrery/internal/quantize"
	"github.com/orrery-ai/orrery/model"
)

// drawn is how many elements are drawn at a time: whole blocks of every format.
const drawn = 1 << 16

// drawer draws weights.
type drawer struct {
	state  uint64
	values []float32
	bytes  []byte
}

func newDrawer(seed uint64) *drawer {
	return &drawer{state: seed, values: make([]float32, drawn), bytes: make([]byte, 0, 4*drawn)}
}

// write draws a whole tensor and writes it in a format that is not MLX's.
func (d *drawer) write(w io.Writer, t model.TensorShape, format device.Format) error {
	for left := elements(t); left > 0; left -= min(left, drawn) {
		if _, err := w.Write(d.encode(d.draw(min(left, drawn), t), format)); err != nil {
			return err
		}
	}
	return nil
}

// draw gives the next n elements of a tensor, until the next call.
func (d *drawer) draw(n int, t model.TensorShape) []float32 {
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
	return v
}

// encode is v as it is stored, until the next call.
func (d *drawer) encode(v []float32, format device.Format) []byte {
	switch format {
	case device.F16:
		d.bytes = d.bytes[:2*len(v)]
		simd.ToF16(d.bytes, v)
	case device.BF16:
		d.bytes = d.bytes[:2*len(v)]
		for i, x := range v {
			binary.LittleEndian.PutUint16(d.bytes[2*i:], uint16(math.Float32bits(x)>>16)) // towards zero, by less than 1%
		}
	default:
		d.bytes = quantize.Encode(d.bytes[:0], format, v)
	}
	return d.bytes
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
