package quantize

import (
	"encoding/binary"
	"fmt"
	"math"

	"github.com/orrery-ai/orrery/device"
	"github.com/orrery-ai/orrery/device/quant"
	"github.com/orrery-ai/orrery/internal/half"
)

// Widen writes a row of m, in any format, to dst.
func Widen(dst []float32, m *device.Matrix, row int) {
	data := m.Data[m.Format.MatrixBytes(row, m.Cols):m.Format.MatrixBytes(row+1, m.Cols)]
	switch m.Format {
	case device.Q8_0:
		quant.FromQ8_0(dst, data)
	case device.Q4_0:
		quant.FromQ4_0(dst, data)
	case device.Q4_K:
		quant.FromQ4_K(dst, data)
	case device.Q6_K:
		quant.FromQ6_K(dst, data)
	case device.MLX4, device.MLX8:
		groups := m.Cols / m.Group
		scales, biases := make([]float32, groups), make([]float32, groups)
		first := row * groups * m.ScaleFormat.Bytes()
		numbers(scales, m.ScaleFormat, m.Scales[first:])
		numbers(biases, m.ScaleFormat, m.Biases[first:])
		quant.FromAffine(dst, data, bitsOf(m.Format), m.Group, scales, biases)
	default:
		numbers(dst, m.Format, data)
	}
}

// bitsOf is the width of an element.
func bitsOf(f device.Format) int { return 8 * f.Block().Bytes / f.Block().Elements }

// numbers reads floating-point numbers.
func numbers(dst []float32, f device.Format, b []byte) {
	for i := range dst {
		switch f {
		case device.F32:
			dst[i] = math.Float32frombits(binary.LittleEndian.Uint32(b[4*i:]))
		case device.F16:
			dst[i] = half.FromF16(binary.LittleEndian.Uint16(b[2*i:]))
		case device.BF16:
			dst[i] = half.FromBF16(binary.LittleEndian.Uint16(b[2*i:]))
		default:
			panic(fmt.Sprintf("quantize: format %v is not known", f))
		}
	}
}
