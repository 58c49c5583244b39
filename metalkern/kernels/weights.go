package kernels

import (
	"fmt"

	"github.com/orrery-ai/orrery/metalkern/gpu"
)

// WeightFormat is how the elements of a weight matrix are stored on a device.
type WeightFormat uint8

// The formats. Q8 and Q4 are signed integers with a half as scale for each 32 columns, kept apart; eight elements of Q4 lie in a
// word as package plane has them.
const (
	F32 WeightFormat = iota + 1
	F16
	BF16
	Q8
	Q4
)

var weightNames = map[WeightFormat]string{F32: "f32", F16: "f16", BF16: "bf16", Q8: "q8", Q4: "q4"}

// String names the format.
func (f WeightFormat) String() string { return weightNames[f] }

// tag is the format's type in weights.h.
func (f WeightFormat) tag() string {
	return map[WeightFormat]string{F32: "WF32", F16: "WF16", BF16: "WBF16", Q8: "WQ8", Q4: "WQ4"}[f]
}

// Bits is the size of an element, scales not counted.
func (f WeightFormat) Bits() int {
	return map[WeightFormat]int{F32: 32, F16: 16, BF16: 16, Q8: 8, Q4: 4}[f]
}

// scaled says whether groups of 32 columns have a scale.
func (f WeightFormat) scaled() bool { return f == Q8 || f == Q4 }

// Weights is a matrix [Rows][Cols] on a device.
type Weights struct {
	Format     WeightFormat
	Rows, Cols int
	Data       gpu.Range // rows, one after the other, beginning at a multiple of 16 bytes
	Scales     gpu.Range // halves [Rows][Cols/32], of Q8 and Q4
}

// Bytes is the size of the matrix, scales included: what a product reads.
func (w Weights) Bytes() int64 {
	n := int64(w.Rows) * int64(w.Cols)
	b := n * int64(w.Format.Bits()) / 8
	if w.Format.scaled() {
		b += n / 32 * 2
	}
	return b
}

// Check returns an error that says why kernels cannot read the matrix.
func (w Weights) Check() error {
	unit := 8
	if w.Format.scaled() {
		unit = 32
	}
	if w.Format.Bits() == 0 || w.Rows <= 0 || w.Cols <= 0 || w.Cols%unit != 0 {
		return fmt.Errorf("kernels: weights [%d][%d] in %v: the columns must be a multiple of %d", w.Rows, w.Cols, w.Format, unit)
	}
	return nil
}

// scales is the argument for the scales, of a matrix that may have none.
func (w Weights) scales() gpu.Arg {
	if w.Format.scaled() {
		return arg(w.Scales)
	}
	return arg(w.Data)
}
