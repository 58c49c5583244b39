package kernels

import (
	"fmt"

	"github.com/orrery-ai/orrery/metalkern/gpu"
)

// hopper is the architecture whose own instructions the kernels of wide.cu use.
const hopper = "sm_90a"

// wideForm is how the product of many tokens is built for it: rows of a tile, buffers for tiles, and blocks of a cluster.
type wideForm struct{ rows, stages, cluster int }

// The forms: tiles of 256 rows in pairs of blocks and alone, and of 128 rows, for matrices of few tiles.
var (
	widePairs  = wideForm{rows: 256, stages: 3, cluster: 2}
	wideAlone  = wideForm{rows: 256, stages: 3, cluster: 1}
	wideNarrow = wideForm{rows: 128, stages: 4, cluster: 1}
	wideForms  = []wideForm{widePairs, wideAlone, wideNarrow}
)

// What wide.cu has.
const (
	wideTokens  = 128
	wideCols    = 64
	wideThreads = 384
)

// pool is the shared memory of a block, in bytes: stages of two terms and weights, at a multiple of 1024.
func (f wideForm) pool() int { return f.stages*(2*wideTokens+f.rows)*wideCols*2 + 1024 }

// wideParams ends where WideParams does, at a multiple of 64 bytes.
type wideParams struct {
	x, weights                                    gpu.TileMap
	tokens, rows, cols, add, tokenTiles, rowTiles int32
	_                                             [40]byte
}

func wide(f WeightFormat, g wideForm) instance {
	name := fmt.Sprintf("wide_%v_n%d_s%d_c%d", f, g.rows, g.stages, g.cluster)
	return instance{"wide.cu", name, fmt.Sprintf("WIDE(%s, %s, %d, %d, %d)", name, f.operand(), g.rows, g.stages, g.cluster)}
}

// wideFor reports whether products of many tokens with weights in a format are for wide.cu.
func (s *Set) wideFor(f WeightFormat) bool {
	if f != F16 && f != BF16 {
		return false
	}
	_, tiles := s.host.(gpu.Tiles)
	return tiles && s.info.Arch == hopper
}

// wideForm is the form for a product.
func (s *Set) wideForm(rows, tokens int) wideForm {
	units, tokenTiles := s.info.Units, (tokens+wideTokens-1)/wideTokens
	rounds := func(f wideForm) int { return (tokenTiles*((rows+f.rows-1)/f.rows) + units - 1) / units }
	switch {
	case 2*rounds(wideAlone) > rounds(wideNarrow): // a narrow tile takes half the time
		return wideNarrow
	case tokenTiles%2 == 0:
		return widePairs
	}
	return wideAlone
}

// wide is the product of [Set.Gemm], of terms that were split.
func (s *Set) wide(queue gpu.Queue, out, terms gpu.Range, w Weights, tokens int, add bool, form wideForm) error {
	if err := w.Check(); err != nil {
		return err
	}
	k, err := s.made(recipe{"wide", w.Format, [7]int{form.rows, form.stages, form.cluster}}, func() instance { return wide(w.Format, form) })
	if err != nil {
		return err
	}
	host := s.host.(gpu.Tiles)
	each := wideTokens * form.cluster
	tokenTiles, rowTiles := (tokens+each-1)/each*form.cluster, (w.Rows+form.rows-1)/form.rows
	p := wideParams{tokens: int32(tokens), rows: int32(w.Rows), cols: int32(w.Cols), add: flag(add), tokenTiles: int32(tokenTiles), rowTiles: int32(rowTiles)}
	if p.x, err = host.TileMap(terms, 2*tokens, w.Cols, wideTokens); err != nil {
		return err
	}
	if p.weights, err = host.TileMap(w.Data, w.Rows, w.Cols, form.rows/form.cluster); err != nil {
		return err
	}
	blocks := min(tokenTiles*rowTiles, s.info.Units/form.cluster*form.cluster)
	gpu.Launch(queue, k, gpu.Grid{X: blocks, Y: 1, Z: 1, Threads: wideThreads, Pool: form.pool()}, gpu.Buffers(out), p)
	return nil
}
