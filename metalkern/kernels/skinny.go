package kernels

import (
	"fmt"

	"github.com/orrery-ai/orrery/metalkern/gpu"
)

// skinnyForm is how the kernel for a few tokens on the matrix units is built: tiles of eight rows of a group, and simdgroups among which the
// columns are divided.
type skinnyForm struct{ tiles, simdgroups int }

var skinnyDefault = skinnyForm{tiles: 2, simdgroups: 8}

// chunks are the columns that a simdgroup takes at once for weights in a format, the most first: 16 bytes a lane, or what 32 elements take.
func (f WeightFormat) chunks() []int {
	switch f {
	case F16, BF16:
		return []int{32}
	case Q8:
		return []int{64, 32}
	case Q4:
		return []int{128, 64, 32}
	case F32:
		return nil
	}
	return []int{128, 64}
}

// chunk is the largest that divides the columns, or 0.
func (w Weights) chunk() int {
	for _, c := range w.Format.chunks() {
		if w.Cols%c == 0 {
			return c
		}
	}
	return 0
}

func skinny(f WeightFormat, chunk int, form skinnyForm) instance {
	name := fmt.Sprintf("skinny_%v_c%d_n%d_s%d", f, chunk, form.tiles, form.simdgroups)
	return instance{"skinny.metal", name, fmt.Sprintf("SKINNY(%s, %s, %s, %d, %d, %d)", name, f.tag(), f.operand(), chunk, form.tiles, form.simdgroups)}
}

func packing(f WeightFormat, chunk int) instance {
	name := fmt.Sprintf("pack_%s_c%d", f.operand(), chunk)
	return instance{"skinny.metal", name, fmt.Sprintf("PACK(%s, %s, %d)", name, f.operand(), chunk)}
}

// Packed says whether a product of so few tokens with w takes x packed: Pack and Skinny, not Matvec.
func (w Weights) Packed(tokens int) bool {
	return tokens > 2 && tokens <= MatvecTokens && w.chunk() > 0
}

// Pack prepares x [tokens][w.Cols] for Skinny, in 4 bytes an element. What was packed for one matrix serves all with its format and columns.
func (s *Set) Pack(queue gpu.Queue, packed, x gpu.Range, w Weights, tokens int) error {
	k, err := s.made(recipe{"pack", w.Format, [7]int{w.chunk()}}, func() instance { return packing(w.Format, w.chunk()) })
	if err != nil {
		return err
	}
	p := matvecParams{rows: int32(w.Rows), cols: int32(w.Cols), tokens: int32(tokens)}
	gpu.Launch(queue, k, groups((w.Cols/16+7)/8, elementThreads), gpu.Buffers(packed, x), p)
	return nil
}

// Skinny sets out [tokens][w.Rows], or adds to it, to x·wᵀ for at most MatvecTokens tokens that Pack has prepared.
func (s *Set) Skinny(queue gpu.Queue, out, packed gpu.Range, w Weights, tokens int, add bool) error {
	return s.skinny(queue, out, packed, w, tokens, add, skinnyDefault)
}

func (s *Set) skinny(queue gpu.Queue, out, packed gpu.Range, w Weights, tokens int, add bool, form skinnyForm) error {
	if err := w.Check(); err != nil {
		return err
	}
	if tokens < 1 || tokens > MatvecTokens || w.chunk() == 0 {
		return fmt.Errorf("kernels: a product of %d tokens with weights [%d][%d] in %v", tokens, w.Rows, w.Cols, w.Format)
	}
	k, err := s.made(recipe{"skinny", w.Format, [7]int{w.chunk(), form.tiles, form.simdgroups}}, func() instance { return skinny(w.Format, w.chunk(), form) })
	if err != nil {
		return err
	}
	p := matvecParams{rows: int32(w.Rows), cols: int32(w.Cols), tokens: int32(tokens), add: flag(add)}
	rows := 8 * form.tiles
	gpu.Launch(queue, k, groups((w.Rows+rows-1)/rows, form.simdgroups*gpu.SimdWidth), gpu.Buffers(packed, w.Data, w.scales(), out), p)
	return nil
}
