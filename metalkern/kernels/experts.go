package kernels

import (
	"fmt"

	"github.com/orrery-ai/orrery/metalkern/gpu"
)

// The forms of expert products of many tokens. An expert has few of them: tiles are not as high as those of other products.
var (
	expertSmall = gemmSmall
	expertLarge = gemmForm{bm: 64, bn: 128, bk: 64, wm: 32, wn: 64, stages: 2, groups: 2}
)

// fewForm is how a kernel for a few tokens is built: rows of a simdgroup, and simdgroups of a group.
type fewForm struct{ rows, simdgroups int }

// expertForm is the form of the products of a tile, and togetherForm that of the down of one token.
var (
	expertForm   = fewForm{rows: 2, simdgroups: 4}
	togetherForm = fewForm{rows: 2, simdgroups: 8}
)

type (
	expertsParams    struct{ rows, cols, active, direct int32 }
	expertGemmParams struct {
		rows, cols, part, active int32
		rowTiles, xRows          uint32
	}
	gatherParams struct {
		n            uint64
		cols, active uint32
	}
)

// ExpertAddress is where an expert's weights lie: bytes from the origin. A table has one for each expert.
type ExpertAddress struct{ Gate, GateScales, Up, UpScales, Down, DownScales uint64 }

// Experts are the experts of a layer.
type Experts struct {
	Gate, Down    Weights // what every expert has; Data and Scales are not used. Up is as Gate
	Count         int
	Origin, Table gpu.Range // [Count]ExpertAddress
}

// Check returns an error that says why kernels cannot compute with the experts.
func (e Experts) Check() error {
	if e.Gate.Rows != e.Down.Cols || e.Gate.Cols != e.Down.Rows {
		return fmt.Errorf("kernels: experts of [%d][%d] and [%d][%d]", e.Gate.Rows, e.Gate.Cols, e.Down.Rows, e.Down.Cols)
	}
	if err := e.Gate.Check(); err != nil {
		return err
	}
	return e.Down.Check()
}

// few is the kernel for tiles of so many tokens: of gate and up, or of down.
func few(f WeightFormat, tokens int, gated bool) instance {
	name, form := fmt.Sprintf("experts_%v_t%d_g%d", f, tokens, flag(gated)), expertForm
	return instance{"experts.metal", name, fmt.Sprintf("FEW(%s, %s, %d, %d, %d, %v)", name, f.tag(), tokens, form.rows, form.simdgroups, gated)}
}

// together is the kernel for the down of one token's experts.
func together(f WeightFormat) instance {
	name := fmt.Sprintf("together_%v", f)
	return instance{"experts.metal", name, fmt.Sprintf("TOGETHER(%s, %s, %d, %d)", name, f.tag(), togetherForm.rows, togetherForm.simdgroups)}
}

func expertGemm(f WeightFormat, g gemmForm) instance {
	name := fmt.Sprintf("expert_gemm_%v_%dx%dx%d_%dx%d_s%d_g%d", f, g.bm, g.bn, g.bk, g.wm, g.wn, g.stages, g.groups)
	return instance{"expertgemm.metal", name, fmt.Sprintf("EXPERT_GEMM(%s, %s, %s, %d, %d, %d, %d, %d, %d, %d)", name, f.tag(), f.operand(), g.bm, g.bn, g.bk, g.wm, g.wn, g.stages, g.groups)}
}

// expertKernels are those for a few tokens.
func expertKernels(f WeightFormat) []instance {
	list := []instance{together(f)}
	for tokens := 1; tokens <= MatvecTokens; tokens *= 2 {
		list = append(list, few(f, tokens, true))
		if tokens > 1 {
			list = append(list, few(f, tokens, false))
		}
	}
	return list
}

// ExpertTerms is the scratch, in bytes, that Experts takes for activations of so many tokens.
func ExpertTerms(tokens, active int, e Experts) int64 {
	if tokens <= MatvecTokens {
		return 0
	}
	return 4 * int64(tokens) * int64(max(e.Gate.Cols, active*e.Gate.Rows))
}

// ExpertsRoom is where Experts keeps what is between its products.
type ExpertsRoom struct {
	Gate  gpu.Range // [tokens·Active][width] float32
	Other gpu.Range // [tokens·Active][max(width, hidden)]
	Lists gpu.Range // ListBytes
	Terms gpu.Range // ExpertTerms
}

// Experts adds to dst [tokens][hidden] what the experts make of x [tokens][hidden], times their weights. Operands keep the precision that those of
// Product keep.
func (s *Set) Experts(queue gpu.Queue, dst, x gpu.Range, to Routes, e Experts, room ExpertsRoom, tokens int) error {
	if err := e.Check(); err != nil {
		return err
	}
	switch {
	case tokens == 1:
		return s.oneTokensExperts(queue, dst, x, to, e, room)
	case tokens <= MatvecTokens:
		each := matvecRoom(tokens)
		l, err := s.list(queue, room.Lists, to, tokens, e.Count, each)
		if err != nil {
			return err
		}
		if err := s.few(queue, room.Gate, x, to, e, l, each, true); err != nil {
			return err
		}
		if err := s.few(queue, room.Other, room.Gate, to, e, l, each, false); err != nil {
			return err
		}
	default:
		if err := s.manyTokensExperts(queue, x, to, e, room, tokens); err != nil {
			return err
		}
	}
	k, err := s.get(instance{file: "experts.metal", name: "gather"})
	if err != nil {
		return err
	}
	n := tokens * e.Gate.Cols
	p := gatherParams{uint64(n), uint32(e.Gate.Cols), uint32(to.Active)}
	gpu.Launch(queue, k, threads(n), gpu.Buffers(dst, room.Other, to.Weights), p)
	return nil
}

func (s *Set) oneTokensExperts(queue gpu.Queue, dst, x gpu.Range, to Routes, e Experts, room ExpertsRoom) error {
	if gate, down, ok := s.expertStreams(e, to.Active); ok {
		return s.streamOneTokensExperts(queue, dst, x, to, e, room, gate, down)
	}
	if err := s.few(queue, room.Gate, x, to, e, listed{order: to.Chosen, tiles: to.Chosen, most: to.Active}, 1, true); err != nil {
		return err
	}
	k, err := s.made(recipe{kind: "together", format: e.Down.Format}, func() instance { return together(e.Down.Format) })
	if err != nil {
		return err
	}
	p := expertsParams{int32(e.Down.Rows), int32(e.Down.Cols), int32(to.Active), 1}
	gpu.Launch(queue, k, groups((e.Down.Rows+togetherForm.rows-1)/togetherForm.rows, togetherForm.simdgroups*gpu.SimdWidth),
		gpu.Buffers(room.Gate, e.Origin, e.Table, to.Chosen, to.Weights, dst), p)
	return nil
}

// few launches one of the products of a few tokens. Tiles of one are those of one token, and go without a list.
func (s *Set) few(queue gpu.Queue, out, x gpu.Range, to Routes, e Experts, l listed, each int, gated bool) error {
	w, rows := e.Down, expertForm.rows*expertForm.simdgroups // of a group
	if gated {
		w, rows = e.Gate, rows/2
	}
	k, err := s.made(recipe{"few", w.Format, [7]int{each, int(flag(gated))}}, func() instance { return few(w.Format, each, gated) })
	if err != nil {
		return err
	}
	p := expertsParams{int32(w.Rows), int32(w.Cols), int32(to.Active), flag(each == 1)}
	gpu.Launch(queue, k, gpu.Grid{X: (w.Rows + rows - 1) / rows, Y: l.most, Z: 1, Threads: expertForm.simdgroups * gpu.SimdWidth},
		gpu.Buffers(x, e.Origin, e.Table, to.Chosen, l.order, l.tiles, out), p)
	return nil
}

func (s *Set) manyTokensExperts(queue gpu.Queue, x gpu.Range, to Routes, e Experts, room ExpertsRoom, tokens int) error {
	form, down := s.formOf(e.Gate.Format, expertLarge, expertSmall), s.formOf(e.Down.Format, expertLarge, expertSmall)
	l, err := s.list(queue, room.Lists, to, tokens, e.Count, form.bm)
	if err != nil {
		return err
	}
	if err := s.split(queue, room.Terms, x, e.Gate.Format, tokens*e.Gate.Cols); err != nil {
		return err
	}
	pairs := tokens * to.Active
	for part, out := range []gpu.Range{room.Gate, room.Other} {
		if err := s.expertGemm(queue, out, room.Terms, e, l, e.Gate, form, part, to.Active, tokens); err != nil {
			return err
		}
	}
	if err := s.SwiGLU(queue, room.Gate, room.Gate, room.Other, pairs*e.Gate.Rows); err != nil {
		return err
	}
	if err := s.split(queue, room.Terms, room.Gate, e.Down.Format, pairs*e.Down.Cols); err != nil {
		return err
	}
	if down.bm != form.bm {
		if l, err = s.list(queue, room.Lists, to, tokens, e.Count, down.bm); err != nil {
			return err
		}
	}
	return s.expertGemm(queue, room.Other, room.Terms, e, l, e.Down, down, 2, 1, pairs)
}

// expertGemm is one of the products of many tokens: part 0 is gate, 1 up and 2 down.
func (s *Set) expertGemm(queue gpu.Queue, out, terms gpu.Range, e Experts, l listed, w Weights, form gemmForm, part, active, rows int) error {
	k, err := s.made(recipe{"expert_gemm", w.Format, [7]int{form.bm, form.bn, form.bk, form.wm, form.wn, form.stages, form.groups}},
		func() instance { return expertGemm(w.Format, form) })
	if err != nil {
		return err
	}
	rowTiles := (w.Rows + form.bn - 1) / form.bn
	p := expertGemmParams{int32(w.Rows), int32(w.Cols), int32(part), int32(active), uint32(rowTiles), uint32(rows)}
	gpu.Launch(queue, k, gpu.Grid{X: l.most * rowTiles, Y: 1, Z: 1, Threads: form.bm / form.wm * (form.bn / form.wn) * gpu.SimdWidth, Pool: form.pool(w.Format)},
		gpu.Buffers(terms, e.Origin, e.Table, l.order, l.tiles, out), p)
	return nil
}
