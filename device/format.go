package device

import "github.com/orrery-ai/orrery/device/quant"

// Format is how the elements of a weight matrix are stored.
type Format uint8

// The storage formats of weights. Those after BF16 are quantized: package quant says how they lie in rows.
const (
	F32  Format = iota + 1 // IEEE 754 single
	F16                    // IEEE 754 half
	BF16                   // the upper half of an IEEE 754 single
	Q8_0                   // GGUF's blocks
	Q4_0
	Q4_K
	Q6_K
	MLX4 // MLX's affine groups, with 4 bits
	MLX8 // and with 8
)

// formats is the name of each format, and what a row is made of.
var formats = [...]struct {
	name  string
	block quant.Layout
}{
	F32: {"F32", quant.Layout{Elements: 1, Bytes: 4}}, F16: {"F16", quant.Layout{Elements: 1, Bytes: 2}}, BF16: {"BF16", quant.Layout{Elements: 1, Bytes: 2}},
	Q8_0: {"Q8_0", quant.Q8_0}, Q4_0: {"Q4_0", quant.Q4_0}, Q4_K: {"Q4_K", quant.Q4_K}, Q6_K: {"Q6_K", quant.Q6_K},
	MLX4: {"MLX4", quant.Layout{Elements: 8, Bytes: 4}}, MLX8: {"MLX8", quant.Layout{Elements: 4, Bytes: 4}},
}

// Valid reports whether f is one of the formats.
func (f Format) Valid() bool { return f >= F32 && int(f) < len(formats) }

// Bytes is the size of one element, 0 if f is quantized.
func (f Format) Bytes() int {
	if !f.Valid() || f > BF16 {
		return 0
	}
	return formats[f].block.Bytes
}

// Block is what a row of a matrix is made of: so many elements in so many bytes.
func (f Format) Block() quant.Layout {
	if !f.Valid() {
		return quant.Layout{Elements: 1}
	}
	return formats[f].block
}

// Affine reports whether elements are in groups with scales and biases in arrays of their own.
func (f Format) Affine() bool { return f == MLX4 || f == MLX8 }

// MatrixBytes is the size of the Data of a matrix whose columns are a multiple of the format's block.
func (f Format) MatrixBytes(rows, cols int) int {
	b := f.Block()
	return rows * (cols / b.Elements) * b.Bytes
}

// String names the format as the headers of files do.
func (f Format) String() string {
	if !f.Valid() {
		return "unknown"
	}
	return formats[f].name
}
