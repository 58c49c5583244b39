package kernels

import "github.com/orrery-ai/orrery/metalkern/gpu"

// Product sets out [tokens][w.Rows] to x [tokens][w.Cols]·wᵀ by the kernel for so many tokens. scratch is ProductBytes long. Up to
// MatvecTokens tokens, and for weights in F32 always, operands keep float32's precision, or nearly so; beyond that see Gemm.
func (s *Set) Product(queue gpu.Queue, out, x, scratch gpu.Range, w Weights, tokens int) error {
	switch {
	case w.Packed(tokens):
		if err := s.Pack(queue, scratch, x, w, tokens); err != nil {
			return err
		}
		return s.Skinny(queue, out, scratch, w, tokens, false)
	case tokens <= MatvecTokens:
		return s.Matvec(queue, out, x, w, tokens, false)
	case w.Format != F32:
		return s.Gemm(queue, out, x, scratch, w, tokens, false)
	}
	for at := 0; at < tokens; at += MatvecTokens {
		n := min(MatvecTokens, tokens-at)
		if err := s.Matvec(queue, further(out, at*w.Rows), further(x, at*w.Cols), w, n, false); err != nil {
			return err
		}
	}
	return nil
}

// ProductBytes is the scratch that Product needs.
func (s *Set) ProductBytes(w Weights, tokens int) int64 {
	if w.Packed(tokens) {
		return int64(4 * tokens * w.Cols)
	}
	return int64(2 * tokens * w.Cols)
}

// further is the range from element n, of 4 bytes each, on.
func further(r gpu.Range, n int) gpu.Range {
	return gpu.Range{Buffer: r.Buffer, Offset: r.Offset + 4*int64(n)}
}
