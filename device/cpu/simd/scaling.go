package simd

// dealtKeys is the number of rows whose scales are dealt out at a time.
const dealtKeys = 256

// scaling makes of scales as they are stored, halves [n][groups], what routines take. The zero value is ready.
type scaling struct {
	singles []float32 // [n][groups]
	dealt   []float32 // [groups][dealtKeys]
	padded  []byte
}

// plain is the scales as singles.
func (s *scaling) plain(halves []byte) []float32 {
	n := len(halves) / 2
	if cap(s.singles) < n {
		s.singles = make([]float32, n)
	}
	singles := s.singles[:n]
	FromF16(singles, halves)
	return singles
}
