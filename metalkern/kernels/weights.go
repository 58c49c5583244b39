package kernels

import (
	"fmt"

	"github.com/orrery-ai/orrery/metalkern/gpu"
)

// WeightFormat is how the elements of a weight matrix are stored on a device: one of the constants, or what Affine returns.
type WeightFormat uint8

// The formats. Q8 and Q4 are signed integers with a half as scale for each 32 columns, kept apart; eight elements of Q4 lie in a
// word as package plane has them. Q4K is blocks of GGUF's Q4_K as they are. Q6K has of each block of Q6_K the 192 bytes of elements in Data;
// Scales has the signed bytes of all blocks, 16 each, and then the halves.
const (
	F32 WeightFormat = iota + 1
	F16
	BF16
	Q8
	Q4
	Q4K
	Q6K
	affine // the first of MLX's
)

// Affine is one of MLX's formats: elements of 4 or 8 bits in groups of 32, 64 or 128, whose scales and biases are F32, F16 or BF16. Scales has all scales
// and then all biases. It is 0 if there is no such format.
func Affine(bits, group int, numbers WeightFormat) WeightFormat {
	for f := affine; int(f) < len(layouts); f++ {
		if l := layouts[f]; l.bits == bits && l.group == group && l.numbers == numbers {
			return f
		}
	}
	return 0
}

// layout is what a format takes. Sizes are in bytes.
type layout struct {
	name, tag    string       // tag is the type in weights.h or groups.h
	bits         int          // of an element
	group        int          // columns of which a row has whole ones
	data, scales int          // of a group
	numbers      WeightFormat // of scales and biases
}

var layouts = makeLayouts()

func makeLayouts() []layout {
	list := []layout{
		F32: {"f32", "WF32", 32, 8, 32, 0, 0}, F16: {"f16", "WF16", 16, 8, 16, 0, 0}, BF16: {"bf16", "WBF16", 16, 8, 16, 0, 0},
		Q8: {"q8", "WQ8", 8, 32, 32, 2, F16}, Q4: {"q4", "WQ4", 4, 32, 16, 2, F16},
		Q4K: {"q4_k", "WQ4K", 4, 256, 144, 0, 0}, Q6K: {"q6_k", "WQ6K", 6, 256, 192, 18, F16},
	}
	for _, bits := range []int{4, 8} {
		for _, group := range []int{32, 64, 128} {
			for _, n := range []WeightFormat{F32, F16, BF16} {
				list = append(list, layout{fmt.Sprintf("mlx%d_g%d_%s", bits, group, list[n].name), fmt.Sprintf("W_%d_%d_%s", bits, group, list[n].tag[1:]),
					bits, group, group * bits / 8, list[n].bits / 4, n})
			}
		}
	}
	return list
}

// layout is the zero layout for what is no format.
func (f WeightFormat) layout() layout {
	if int(f) >= len(layouts) {
		return layout{}
	}
	return layouts[f]
}

// String names the format.
func (f WeightFormat) String() string { return f.layout().name }

// tag is the format's type in weights.h or groups.h.
func (f WeightFormat) tag() string { return f.layout().tag }

// Bits is the size of an element, scales not counted.
func (f WeightFormat) Bits() int { return f.layout().bits }

// scaled says whether Weights have Scales.
func (f WeightFormat) scaled() bool { return f.layout().scales > 0 }

// grouped says whether the format is one of groups.h.
func (f WeightFormat) grouped() bool { return f >= Q4K }

// DataBytes is the size of the Data of n elements, whole groups, and ScaleBytes that of the Scales.
func (f WeightFormat) DataBytes(n int64) int64 {
	l := f.layout()
	return n / int64(l.group) * int64(l.data)
}

// ScaleBytes is the size of the Scales of n elements.
func (f WeightFormat) ScaleBytes(n int64) int64 {
	l := f.layout()
	return n / int64(l.group) * int64(l.scales)
}

// Weights is a matrix [Rows][Cols] on a device.
type Weights struct {
	Format     WeightFormat
	Rows, Cols int
	Data       gpu.Range // rows, one after the other, beginning at a multiple of 16 bytes
	Scales     gpu.Range // of formats that have some, of all rows, beginning at such a multiple, too
}

// Bytes is the size of the matrix, scales included: what a product reads.
func (w Weights) Bytes() int64 {
	n := int64(w.Rows) * int64(w.Cols)
	return w.Format.DataBytes(n) + w.Format.ScaleBytes(n)
}

// Check returns an error that says why kernels cannot read the matrix.
func (w Weights) Check() error {
	switch l := w.Format.layout(); {
	case l.group == 0:
		return fmt.Errorf("kernels: weights [%d][%d] in no format", w.Rows, w.Cols)
	case w.Rows <= 0 || w.Cols <= 0 || w.Cols%l.group != 0:
		return fmt.Errorf("kernels: weights [%d][%d] in %v: the columns must be a multiple of %d", w.Rows, w.Cols, w.Format, l.group)
	}
	return nil
}

// scales is the argument for the scales, of a matrix that may have none.
func (w Weights) scales() gpu.Range {
	if w.Format.scaled() {
		return w.Scales
	}
	return w.Data
}
