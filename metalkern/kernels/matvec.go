package kernels

import (
	"fmt"

	"github.com/orrery-ai/orrery/metalkern/gpu"
)

// MatvecTokens is up to how many tokens a product reads the weights as they are stored, rather than going to the matrix units.
const MatvecTokens = 8

// matvecForm is how the kernel for a few tokens is built.
type matvecForm struct{ rows, simdgroups int }

var matvecDefault = matvecForm{rows: 2, simdgroups: 4}

type matvecParams struct{ rows, cols, tokens, add int32 }

func matvec(f WeightFormat, tokens int, m matvecForm) instance {
	name := fmt.Sprintf("matvec_%v_t%d_r%d_s%d", f, tokens, m.rows, m.simdgroups)
	return instance{"matvec.metal", name, fmt.Sprintf("MATVEC(%s, %s, %d, %d, %d)", name, f.tag(), tokens, m.rows, m.simdgroups)}
}

// Matvec sets out [tokens][w.Rows], or adds to it, to x [tokens][w.Cols]·wᵀ for at most MatvecTokens tokens.
func (s *Set) Matvec(queue gpu.Queue, out, x gpu.Range, w Weights, tokens int, add bool) error {
	return s.matvec(queue, out, x, w, tokens, add, matvecDefault)
}

func (s *Set) matvec(queue gpu.Queue, out, x gpu.Range, w Weights, tokens int, add bool, form matvecForm) error {
	if err := w.Check(); err != nil {
		return err
	}
	if tokens < 1 || tokens > MatvecTokens {
		return fmt.Errorf("kernels: a product of %d tokens: at most %d", tokens, MatvecTokens)
	}
	room := 1
	for room < tokens {
		room *= 2
	}
	k, err := s.made(recipe{"matvec", w.Format, [7]int{room, form.rows, form.simdgroups}}, func() instance { return matvec(w.Format, room, form) })
	if err != nil {
		return err
	}
	each := form.rows * form.simdgroups
	p := matvecParams{rows: int32(w.Rows), cols: int32(w.Cols), tokens: int32(tokens), add: flag(add)}
	queue.Launch(k, gpu.Grid{X: (w.Rows + each - 1) / each, Y: 1, Z: 1, Threads: form.simdgroups * gpu.SimdWidth}, arg(x), arg(w.Data), w.scales(), arg(out), gpu.Value(&p))
	return nil
}

func flag(b bool) int32 {
	if b {
		return 1
	}
	return 0
}
