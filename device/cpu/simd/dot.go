package simd

// DotF32 is
//
//	for i, v := range x {
//		sum += v * w[i] // w as f32
//	}
func DotF32(x []float32, w []byte) (sum float32) {
	w = w[:4*len(x)]
	if !haveAVX2 {
		return dotF32Go(x, w)
	}
	n := len(x) &^ 7
	return dotF32AVX2(x[:n], w) + dotF32Go(x[n:], w[4*n:])
}

// DotF16 is DotF32 with w as f16.
func DotF16(x []float32, w []byte) (sum float32) {
	w = w[:2*len(x)]
	if !haveAVX2 {
		return dotF16Go(x, w)
	}
	n := len(x) &^ 7
	return dotF16AVX2(x[:n], w) + dotF16Go(x[n:], w[2*n:])
}

// DotBF16 is DotF32 with w as bf16.
func DotBF16(x []float32, w []byte) (sum float32) {
	w = w[:2*len(x)]
	if !haveAVX2 {
		return dotBF16Go(x, w)
	}
	n := len(x) &^ 7
	return dotBF16AVX2(x[:n], w) + dotBF16Go(x[n:], w[2*n:])
}

// DotPairF32 is DotF32 of x and of y, the same bits, reading w once.
func DotPairF32(x, y []float32, w []byte) (sumX, sumY float32) {
	y, w = y[:len(x)], w[:4*len(x)]
	if !haveAVX2 {
		return dotF32Go(x, w), dotF32Go(y, w)
	}
	n := len(x) &^ 7
	sumX, sumY = dotPairF32AVX2(x[:n], y, w)
	return sumX + dotF32Go(x[n:], w[4*n:]), sumY + dotF32Go(y[n:], w[4*n:])
}

// DotPairF16 is DotPairF32 with w as f16.
func DotPairF16(x, y []float32, w []byte) (sumX, sumY float32) {
	y, w = y[:len(x)], w[:2*len(x)]
	if !haveAVX2 {
		return dotF16Go(x, w), dotF16Go(y, w)
	}
	n := len(x) &^ 7
	sumX, sumY = dotPairF16AVX2(x[:n], y, w)
	return sumX + dotF16Go(x[n:], w[2*n:]), sumY + dotF16Go(y[n:], w[2*n:])
}

// DotPairBF16 is DotPairF32 with w as bf16.
func DotPairBF16(x, y []float32, w []byte) (sumX, sumY float32) {
	y, w = y[:len(x)], w[:2*len(x)]
	if !haveAVX2 {
		return dotBF16Go(x, w), dotBF16Go(y, w)
	}
	n := len(x) &^ 7
	sumX, sumY = dotPairBF16AVX2(x[:n], y, w)
	return sumX + dotBF16Go(x[n:], w[2*n:]), sumY + dotBF16Go(y[n:], w[2*n:])
}

// The twins add in four chains, which a processor can run side by side.

func dotF32Go(x []float32, w []byte) float32 {
	var s [4]float32
	i := 0
	for ; i+4 <= len(x); i += 4 {
		s[0] += x[i] * f32(w, i)
		s[1] += x[i+1] * f32(w, i+1)
		s[2] += x[i+2] * f32(w, i+2)
		s[3] += x[i+3] * f32(w, i+3)
	}
	for ; i < len(x); i++ {
		s[0] += x[i] * f32(w, i)
	}
	return (s[0] + s[1]) + (s[2] + s[3])
}

func dotF16Go(x []float32, w []byte) float32 {
	var s [4]float32
	i := 0
	for ; i+4 <= len(x); i += 4 {
		s[0] += x[i] * f16(w, i)
		s[1] += x[i+1] * f16(w, i+1)
		s[2] += x[i+2] * f16(w, i+2)
		s[3] += x[i+3] * f16(w, i+3)
	}
	for ; i < len(x); i++ {
		s[0] += x[i] * f16(w, i)
	}
	return (s[0] + s[1]) + (s[2] + s[3])
}

func dotBF16Go(x []float32, w []byte) float32 {
	var s [4]float32
	i := 0
	for ; i+4 <= len(x); i += 4 {
		s[0] += x[i] * bf16(w, i)
		s[1] += x[i+1] * bf16(w, i+1)
		s[2] += x[i+2] * bf16(w, i+2)
		s[3] += x[i+3] * bf16(w, i+3)
	}
	for ; i < len(x); i++ {
		s[0] += x[i] * bf16(w, i)
	}
	return (s[0] + s[1]) + (s[2] + s[3])
}
