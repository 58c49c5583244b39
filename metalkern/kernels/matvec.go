package kernels

import (
	"fmt"
	"strings"

	"github.com/orrery-ai/orrery/metalkern/gpu"
)

// MatvecTokens is up to how many tokens a product reads the weights as they are stored, rather than going to the matrix units.
const MatvecTokens = 8

// matvecForm is how the kernel for a few tokens is built.
type matvecForm struct{ rows, simdgroups int }

var matvecDefault = matvecForm{rows: 2, simdgroups: 4}

type matvecParams struct{ rows, cols, tokens, add int32 }

func matvec(f WeightFormat, tokens int, m matvecForm) instance {
	return matvecOf(oneMatvec, f, tokens, m)
}

func matvecOf(kind kindOfMatvec, f WeightFormat, tokens int, m matvecForm) instance {
	name := fmt.Sprintf("%s_%v_t%d_r%d_s%d", kind, f, tokens, m.rows, m.simdgroups)
	return instance{"matvec.metal", name, fmt.Sprintf("%s(%s, %s, %d, %d, %d)", strings.ToUpper(string(kind)), name, f.tag(), tokens, m.rows, m.simdgroups)}
}

// MostMatvecs is how many products Matvecs takes.
const MostMatvecs = 3

type matvecsParams struct {
	each   [MostMatvecs]matvecParams
	begins [MostMatvecs - 1]uint32
}

// Into is a matrix and where a product with it goes.
type Into struct {
	W   Weights
	Out gpu.Range
}

// kindOfMatvec is the macros of matvec.metal, in lower case.
type kindOfMatvec string

const (
	oneMatvec    kindOfMatvec = "matvec"
	someMatvecs  kindOfMatvec = "matvecs"
	gatedMatvecs kindOfMatvec = "gated"
)

// matvecRoom is the tokens for which a kernel is made that takes so many.
func matvecRoom(tokens int) int {
	room := 1
	for room < tokens {
		room *= 2
	}
	return room
}

func (s *Set) matvecKernel(kind kindOfMatvec, w Weights, tokens int, form matvecForm) (gpu.Kernel, error) {
	if err := w.Check(); err != nil {
		return nil, err
	}
	if tokens < 1 || tokens > MatvecTokens {
		return nil, fmt.Errorf("kernels: a product of %d tokens: at most %d", tokens, MatvecTokens)
	}
	room := matvecRoom(tokens)
	return s.made(recipe{string(kind), w.Format, [7]int{room, form.rows, form.simdgroups}}, func() instance { return matvecOf(kind, w.Format, room, form) })
}

// Matvec sets out [tokens][w.Rows], or adds to it, to x [tokens][w.Cols]·wᵀ for at most MatvecTokens tokens.
func (s *Set) Matvec(queue gpu.Queue, out, x gpu.Range, w Weights, tokens int, add bool) error {
	return s.matvec(queue, out, out, x, w, tokens, flag(add), matvecDefault)
}

// MatvecAdded sets out to the product, and adds it to sum, too.
func (s *Set) MatvecAdded(queue gpu.Queue, out, sum, x gpu.Range, w Weights, tokens int) error {
	return s.matvec(queue, out, sum, x, w, tokens, 2, matvecDefault)
}

func (s *Set) matvec(queue gpu.Queue, out, sum, x gpu.Range, w Weights, tokens int, add int32, form matvecForm) error {
	if g, ok := s.streams(w, w.Rows, tokens, streamOne); ok {
		return s.stream(queue, streamOne, bare(x), [MostMatvecs]Into{{w, out}, {w, sum}, {w, sum}}, streamParams{rows: int32(w.Rows), add: add}, g)
	}
	k, err := s.matvecKernel(oneMatvec, w, tokens, form)
	if err != nil {
		return err
	}
	p := matvecParams{rows: int32(w.Rows), cols: int32(w.Cols), tokens: int32(tokens), add: add}
	gpu.Launch(queue, k, groups(form.groups(w.Rows), form.simdgroups*gpu.SimdWidth), gpu.Buffers(x, w.Data, w.scales(), out, sum), p)
	return nil
}

// groups is how many groups take so many rows.
func (m matvecForm) groups(rows int) int {
	each := m.rows * m.simdgroups
	return (rows + each - 1) / each
}

// oneLaunch returns an error that says why there is no launch for the products.
func oneLaunch(list []Into) error {
	if len(list) == 0 || len(list) > MostMatvecs {
		return fmt.Errorf("kernels: %d products in one launch: at most %d", len(list), MostMatvecs)
	}
	for _, one := range list[1:] {
		if w, first := one.W, list[0].W; w.Format != first.Format || w.Cols != first.Cols {
			return fmt.Errorf("kernels: products of one launch with weights in %v and in %v, of %d and %d columns", first.Format, w.Format, first.Cols, w.Cols)
		}
	}
	return nil
}

// Matvecs sets each of up to MostMatvecs products of x in one launch. The matrices have the same format and columns.
func (s *Set) Matvecs(queue gpu.Queue, x gpu.Range, list []Into, tokens int) error {
	form := matvecDefault
	if err := oneLaunch(list); err != nil {
		return err
	}
	if g, ok := s.streamsAll(list, tokens); ok {
		return s.streamSeveral(queue, bare(x), false, list, g)
	}
	k, err := s.matvecKernel(someMatvecs, list[0].W, tokens, form)
	if err != nil {
		return err
	}
	var p matvecsParams
	buffers := append(make([]gpu.Range, 0, 3*MostMatvecs+1), x)
	all := 0
	for i := range MostMatvecs {
		if i > 0 {
			p.begins[i-1] = uint32(all)
		}
		one := list[min(i, len(list)-1)]
		if i < len(list) {
			p.each[i] = matvecParams{rows: int32(one.W.Rows), cols: int32(one.W.Cols), tokens: int32(tokens)}
			all += form.groups(one.W.Rows)
		}
		buffers = append(buffers, one.W.Data, one.W.scales(), one.Out)
	}
	gpu.Launch(queue, k, groups(all, form.simdgroups*gpu.SimdWidth), buffers, p)
	return nil
}

// Gated sets gate to silu(x·gateᵀ)·(x·upᵀ), and up to x·upᵀ. The matrices have the same format and shape.
func (s *Set) Gated(queue gpu.Queue, x gpu.Range, gate, up Into, tokens int) error {
	form := matvecDefault
	if gate.W.Format != up.W.Format || gate.W.Rows != up.W.Rows || gate.W.Cols != up.W.Cols {
		return fmt.Errorf("kernels: a gate [%d][%d] in %v for [%d][%d] in %v", gate.W.Rows, gate.W.Cols, gate.W.Format, up.W.Rows, up.W.Cols, up.W.Format)
	}
	if g, ok := s.streamsPair(gate.W, up.W, tokens); ok {
		return s.streamPaired(queue, bare(x), false, gate, up, g)
	}
	k, err := s.matvecKernel(gatedMatvecs, gate.W, tokens, form)
	if err != nil {
		return err
	}
	p := matvecParams{rows: int32(up.W.Rows), cols: int32(up.W.Cols), tokens: int32(tokens)}
	gpu.Launch(queue, k, groups(form.groups(2*up.W.Rows), form.simdgroups*gpu.SimdWidth),
		gpu.Buffers(x, gate.W.Data, gate.W.scales(), up.W.Data, up.W.scales(), gate.Out, up.Out), p)
	return nil
}

// MatvecsNormed is [Set.Norm] of one row, and [Set.Matvecs] of what comes of it, in one launch where there is a kernel for that.
func (s *Set) MatvecsNormed(queue gpu.Queue, n Normed, list []Into) error {
	if err := oneLaunch(list); err != nil {
		return err
	}
	if g, ok := s.streamsAll(list, 1); ok {
		return s.streamSeveral(queue, n, true, list, g)
	}
	if err := s.Norm(queue, n.Out, n.X, n.Weight, 1, list[0].W.Cols, n.Eps, 0); err != nil {
		return err
	}
	return s.Matvecs(queue, n.Out, list, 1)
}

// GatedNormed is [Set.Norm] of one row, and [Set.Gated] of what comes of it, in the same way.
func (s *Set) GatedNormed(queue gpu.Queue, n Normed, gate, up Into) error {
	if g, ok := s.streamsPair(gate.W, up.W, 1); ok {
		return s.streamPaired(queue, n, true, gate, up, g)
	}
	if err := s.Norm(queue, n.Out, n.X, n.Weight, 1, gate.W.Cols, n.Eps, 0); err != nil {
		return err
	}
	return s.Gated(queue, n.Out, gate, up, 1)
}

func flag(b bool) int32 {
	if b {
		return 1
	}
	return 0
}
