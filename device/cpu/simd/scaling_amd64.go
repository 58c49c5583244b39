//go:build amd64 && !noasm

package simd

// deal is the scales of n rows, dealtKeys at most, as singles group by group, [groups][dealtKeys], and zeros up to a multiple of 16.
func (s *scaling) deal(halves []byte, groups, n int) []float32 {
	const most = dealtKeys * fixedDim / QuantizedGroup
	if s.dealt == nil {
		s.dealt, s.padded = make([]float32, most), make([]byte, 2*most)
	}
	whole := (n + 15) &^ 15
	if whole > n {
		clear(s.padded[copy(s.padded, halves[:2*n*groups]) : 2*whole*groups])
		halves = s.padded
	}
	halves = halves[:2*whole*groups]
	switch few := groups == 1 || groups == 2 || groups == 4; {
	case few && haveAVX512:
		dealAVX512(s.dealt, halves, groups, whole)
	case few:
		dealAVX2(s.dealt, halves, groups, whole)
	case haveAVX512:
		regroupAVX512(s.dealt, s.plain(halves), groups, whole)
	default:
		regroupAVX2(s.dealt, s.plain(halves), groups, whole)
	}
	return s.dealt
}

// dealAll is deal with zeros up to dealtKeys.
func (s *scaling) dealAll(halves []byte, groups, n int) []float32 {
	dealt := s.deal(halves, groups, n)
	for g := range groups {
		clear(dealt[g*dealtKeys+min((n+15)&^15, dealtKeys) : (g+1)*dealtKeys])
	}
	return dealt
}
