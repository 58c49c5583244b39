package device

// Format is how the elements of a weight matrix are stored. Package quant describes those that are quantized.
type Format uint8

// The storage formats of weights.
const (
	F32  Format = iota + 1 // IEEE 754 single
	F16                    // IEEE 754 half
	BF16                   // the upper half of an IEEE 754 single
	Q8_0                   // GGUF: 8 bits and a scale for 32
	Q4_0                   // GGUF: 4 bits and a scale for 32
	Q4_K                   // GGUF: 4 bits, and for 32 a scale and a minimum of 6 bits
	Q6_K                   // GGUF: 6 bits, and for 16 a scale of 8 bits
	MLX8                   // MLX: 8 bits, and for each group a scale and a bias
	MLX4                   // MLX: 4 bits, the same
)

// layouts is each format's name, and in how many bytes how many elements of a row are stored together.
var layouts = [...]struct {
	name            string
	elements, bytes int
}{
	{"unknown", 1, 0}, F32: {"F32", 1, 4}, F16: {"F16", 1, 2}, BF16: {"BF16", 1, 2},
	Q8_0: {"Q8_0", 32, 34}, Q4_0: {"Q4_0", 32, 18}, Q4_K: {"Q4_K", 256, 144}, Q6_K: {"Q6_K", 256, 210},
	MLX8: {"MLX8", 1, 1}, MLX4: {"MLX4", 2, 1},
}

// Block is how many elements of a row are stored together; rows are whole blocks. A matrix of MLX's may have more, see
// [Matrix.Block].
func (f Format) Block() int { return layouts[f].elements }

// RowBytes is the size of so many elements, whole blocks of them.
func (f Format) RowBytes(elements int) int { return elements / layouts[f].elements * layouts[f].bytes }

// Dense reports whether each element is stored by itself, as a floating-point number.
func (f Format) Dense() bool { return f == F32 || f == F16 || f == BF16 }

// Bytes is the size of an element of a dense format.
func (f Format) Bytes() int { return layouts[f].bytes }

// String names the format as the headers of files do.
func (f Format) String() string {
	if int(f) >= len(layouts) {
		f = 0
	}
	return layouts[f].name
}
