package kernels

import (
	"fmt"
	"strings"

	"github.com/orrery-ai/orrery/metalkern/gpu"
)

// digitsForm is how the products of digits.cu are built: warps of a block, and steps whose weights are on their way.
type digitsForm struct{ warps, depth int }

// What digits.cu has.
const (
	digitsRows      = 16      // of a tile
	digitsSpan      = 64      // columns of a step
	digitsSpanBytes = 288     // of shared memory for them
	digitsSums      = 4 << 10 // bytes of shared memory for sums, at most
)

var digitsForms = []digitsForm{{8, 6}, {16, 6}, {8, 8}, {16, 4}}

var digitsDefault = digitsForms[0]

// pool is the shared memory of a block: digits of so many columns, as many steps for each warp, and zeros.
func (g digitsForm) pool(cols int) int {
	steps := (cols/digitsSpan + g.warps - 1) / g.warps
	return steps*g.warps*digitsSpanBytes + 16
}

func digits(kind kindOfMatvec, g digitsForm) instance {
	name := fmt.Sprintf("digits_%s_s%d_d%d", kind, g.warps, g.depth)
	return instance{"digits.cu", name, fmt.Sprintf("DIGITS_%s(%s, %d, %d)", strings.ToUpper(string(kind)), name, g.warps, g.depth)}
}

// digitsFor reports whether a product of so many tokens with w is one for digits.cu.
func (s *Set) digitsFor(w Weights, tokens int) bool {
	i := s.host.Info()
	return i.Kind == "cuda" && w.Format == Q4 && tokens == 1 && w.Cols%digitsSpan == 0 && w.Scales.Offset%4 == 0 && digitsDefault.pool(w.Cols)+digitsSums <= i.Pool
}

func (s *Set) digitsWay(kind kindOfMatvec, w Weights, g digitsForm) (matvecWay, error) {
	k, err := s.made(recipe{"digits " + string(kind), w.Format, [7]int{g.warps, g.depth}}, func() instance { return digits(kind, g) })
	grid := gpu.Grid{Y: 1, Z: 1, Threads: g.warps * gpu.SimdWidth, Pool: g.pool(w.Cols)}
	return matvecWay{kernel: k, rows: digitsRows, grid: grid, most: s.host.Info().Units * max(1, 16/g.warps)}, err
}
