package kernels

import "github.com/orrery-ai/orrery/metalkern/gpu"

// Product sets out [tokens][w.Rows] to x [tokens][w.Cols]·wᵀ by the kernel for so many tokens. scratch is ProductBytes long. Operands keep
// float32's precision, or nearly so, but for weights in Q8 and Q4, which are rounded to halves for more than two tokens.
func (s *Set) Product(queue gpu.Queue, out, x, scratch gpu.Range, w Weights, tokens int) error {
	switch {
	case w.Packed(tokens):
		if err := s.Pack(queue, scratch, x, w, tokens); err != nil {
			return err
		}
		return s.Skinny(queue, out, scratch, w, tokens, false)
	case tokens <= MatvecTokens:
		return s.Matvec(queue, out, x, w, tokens, false)
	}
	return s.Gemm(queue, out, x, scratch, w, tokens, false)
}

// ProductBytes is the scratch that Product needs.
func (s *Set) ProductBytes(w Weights, tokens int) int64 { return int64(4 * tokens * w.Cols) }
