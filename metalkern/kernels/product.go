package kernels

import "github.com/orrery-ai/orrery/metalkern/gpu"

// Product sets out [tokens][w.Rows] to x [tokens][w.Cols]·wᵀ by the kernel for so many tokens. scratch is ProductBytes long. Operands keep
// float32's precision, or nearly so, but for quantized weights, which are rounded to halves for more than two tokens, where the matrix units multiply.
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

// Products sets each of up to MostMatvecs products of x, as [Set.Product] does, and prepares x for them once. The matrices have the same format and
// columns.
func (s *Set) Products(queue gpu.Queue, x, scratch gpu.Range, list []Into, tokens int) error {
	w := list[0].W
	one := func(i Into) error { return s.gemmOf(queue, i.Out, scratch, i.W, tokens, false) }
	var err error
	switch {
	case w.Packed(tokens):
		one = func(i Into) error { return s.Skinny(queue, i.Out, scratch, i.W, tokens, false) }
		err = s.Pack(queue, scratch, x, w, tokens)
	case tokens <= MatvecTokens:
		return s.Matvecs(queue, x, list, tokens)
	default:
		err = s.split(queue, scratch, x, w.Format, tokens*w.Cols)
	}
	for i := 0; i < len(list) && err == nil; i++ {
		err = one(list[i])
	}
	return err
}
