package kernels

import (
	"fmt"

	"github.com/orrery-ai/orrery/metalkern/gpu"
)

// gemmForm is how the kernel for many tokens is built: tiles of a group and of a simdgroup, and the buffers for them.
type gemmForm struct{ bm, bn, bk, wm, wn, stages, groups int }

// The forms for devices with the threadgroup memory of an Apple GPU, and with more.
var (
	gemmSmall = gemmForm{bm: 64, bn: 64, bk: 32, wm: 32, wn: 32, stages: 2, groups: 1}
	gemmLarge = gemmForm{bm: 128, bn: 128, bk: 64, wm: 64, wn: 64, stages: 2, groups: 2}
)

// of is the form for weights in a format: what are two terms in threadgroup memory come in tiles of half the columns.
func (g gemmForm) of(f WeightFormat) gemmForm {
	g.bk /= f.parts()
	return g
}

// pool is the threadgroup memory of a group, in bytes: two terms of activations, and those of weights.
func (g gemmForm) pool(f WeightFormat) int {
	return g.stages * (2*g.bm + f.parts()*g.bn) * (g.bk + 8) * 2
}

func (s *Set) gemmForm(f WeightFormat) gemmForm { return s.formOf(f, gemmLarge, gemmSmall) }

// formOf is the large form, or the small one where that does not fit.
func (s *Set) formOf(f WeightFormat, large, small gemmForm) gemmForm {
	if g := large.of(f); s.info.Pool >= g.pool(f) {
		return g
	}
	return small.of(f)
}

// parts is how many terms the matrix units take for a weight in a format.
func (f WeightFormat) parts() int {
	if f == F32 {
		return 2
	}
	return 1
}

// operand is the type that the matrix units multiply for weights in a format.
func (f WeightFormat) operand() string {
	if f == BF16 {
		return "bf16"
	}
	return "half"
}

type gemmParams struct {
	tokens, rows, cols, add int32
	tokenTiles, rowTiles    uint32
}

type splitParams struct{ n uint64 }

func gemm(f WeightFormat, g gemmForm) instance {
	name := fmt.Sprintf("gemm_%v_%dx%dx%d_%dx%d_s%d_g%d", f, g.bm, g.bn, g.bk, g.wm, g.wn, g.stages, g.groups)
	return instance{"gemm.metal", name, fmt.Sprintf("GEMM(%s, %s, %s, %d, %d, %d, %d, %d, %d, %d)", name, f.tag(), f.operand(), g.bm, g.bn, g.bk, g.wm, g.wn, g.stages, g.groups)}
}

func splitting(f WeightFormat) instance {
	name := "split_" + f.operand()
	return instance{"gemm.metal", name, fmt.Sprintf("SPLIT(%s, %s)", name, f.operand())}
}

// Gemm sets out [tokens][w.Rows], or adds to it, to x [tokens][w.Cols]·wᵀ, on the matrix units. x, and weights in F32, are sums of two
// halves, x of two bf16 for weights in BF16; quantized weights are rounded to halves; sums are float32. scratch takes the terms of x, 4 bytes
// an element.
func (s *Set) Gemm(queue gpu.Queue, out, x, scratch gpu.Range, w Weights, tokens int, add bool) error {
	if err := s.split(queue, scratch, x, w.Format, tokens*w.Cols); err != nil {
		return err
	}
	return s.gemmOf(queue, out, scratch, w, tokens, add)
}

// gemmOf is Gemm of terms that were split.
func (s *Set) gemmOf(queue gpu.Queue, out, terms gpu.Range, w Weights, tokens int, add bool) error {
	if s.wideFor(w.Format) {
		return s.wide(queue, out, terms, w, tokens, add, s.wideForm(w.Rows, tokens))
	}
	return s.gemm(queue, out, terms, w, tokens, add, s.gemmForm(w.Format))
}

// split makes the two terms [2][n] of n elements of x, a multiple of 8, that weights in a format are multiplied with.
func (s *Set) split(queue gpu.Queue, dst, x gpu.Range, f WeightFormat, n int) error {
	k, err := s.made(recipe{kind: "split", format: f}, func() instance { return splitting(f) })
	if err != nil {
		return err
	}
	p := splitParams{uint64(n)}
	gpu.Launch(queue, k, threads(n/8), gpu.Buffers(dst, x), p)
	return nil
}

func (s *Set) gemm(queue gpu.Queue, out, terms gpu.Range, w Weights, tokens int, add bool, form gemmForm) error {
	if err := w.Check(); err != nil {
		return err
	}
	k, err := s.made(recipe{"gemm", w.Format, [7]int{form.bm, form.bn, form.bk, form.wm, form.wn, form.stages, form.groups}}, func() instance { return gemm(w.Format, form) })
	if err != nil {
		return err
	}
	tokenTiles, rowTiles := (tokens+form.bm-1)/form.bm, (w.Rows+form.bn-1)/form.bn
	p := gemmParams{tokens: int32(tokens), rows: int32(w.Rows), cols: int32(w.Cols), add: flag(add), tokenTiles: uint32(tokenTiles), rowTiles: uint32(rowTiles)}
	gpu.Launch(queue, k, gpu.Grid{X: tokenTiles * rowTiles, Y: 1, Z: 1, Threads: form.bm / form.wm * (form.bn / form.wn) * gpu.SimdWidth, Pool: form.pool(w.Format)},
		gpu.Buffers(terms, w.Data, w.scales(), out), p)
	return nil
}
