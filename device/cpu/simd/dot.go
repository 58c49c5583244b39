package simd

// DotF32 is
//
//	for i, v := range x {
//		sum += v * w[i] // w as f32
//	}
func DotF32(x []float32, w []byte) (sum float32) {
	var dst [1]float32
	dotsF32(dst[:], x, w)
	return dst[0]
}

// dotsF32 is
//
//	for r := range dst {
//		dst[r] = 0
//		for i, v := range x {
//			dst[r] += v * w[r*len(x)+i] // w as f32
//		}
//	}
func dotsF32(dst, x []float32, w []byte) {
	w = w[:4*len(dst)*len(x)]
	n := 0
	switch {
	case haveAVX2:
		n = len(x) &^ 7
		dotsF32AVX2(dst, x[:n], w, len(x))
	case haveNEON:
		n = len(x) &^ 7
		for r := range dst {
			product1F32NEON(dst[r:], 0, x, w[4*r*len(x):], 1, n)
		}
	}
	if n == 0 || n < len(x) {
		dotsF32Go(dst, x, w, n)
	}
}

// dotsPairF32 is dotsF32 of x and of x2, the same bits, reading w once.
func dotsPairF32(dst, dst2, x, x2 []float32, w []byte) {
	dst2, x2, w = dst2[:len(dst)], x2[:len(x)], w[:4*len(dst)*len(x)]
	n := 0
	switch {
	case haveAVX2:
		n = len(x) &^ 7
		dotsPairF32AVX2(dst, dst2, x[:n], x2, w, len(x))
	case haveNEON:
		dotsF32(dst, x, w)
		dotsF32(dst2, x2, w)
		return
	}
	if n == 0 || n < len(x) {
		dotsF32Go(dst, x, w, n)
		dotsF32Go(dst2, x2, w, n)
	}
}

// dotsF16 is dotsF32 with w as f16.
func dotsF16(dst, x []float32, w []byte) {
	w = w[:2*len(dst)*len(x)]
	n := 0
	switch {
	case haveAVX2:
		n = len(x) &^ 7
		dotsF16AVX2(dst, x[:n], w, len(x))
	case haveNEON:
		n = len(x) &^ 7
		for r := range dst {
			product1F16NEON(dst[r:], 0, x, w[2*r*len(x):], 1, n)
		}
	}
	if n == 0 || n < len(x) {
		dotsF16Go(dst, x, w, n)
	}
}

// dotsPairF16 is dotsPairF32 with w as f16.
func dotsPairF16(dst, dst2, x, x2 []float32, w []byte) {
	dst2, x2, w = dst2[:len(dst)], x2[:len(x)], w[:2*len(dst)*len(x)]
	n := 0
	switch {
	case haveAVX2:
		n = len(x) &^ 7
		dotsPairF16AVX2(dst, dst2, x[:n], x2, w, len(x))
	case haveNEON:
		dotsF16(dst, x, w)
		dotsF16(dst2, x2, w)
		return
	}
	if n == 0 || n < len(x) {
		dotsF16Go(dst, x, w, n)
		dotsF16Go(dst2, x2, w, n)
	}
}

// dotsBF16 is dotsF32 with w as bf16.
func dotsBF16(dst, x []float32, w []byte) {
	w = w[:2*len(dst)*len(x)]
	n := 0
	switch {
	case haveAVX2:
		n = len(x) &^ 7
		dotsBF16AVX2(dst, x[:n], w, len(x))
	case haveNEON:
		n = len(x) &^ 7
		for r := range dst {
			product1BF16NEON(dst[r:], 0, x, w[2*r*len(x):], 1, n)
		}
	}
	if n == 0 || n < len(x) {
		dotsBF16Go(dst, x, w, n)
	}
}

// dotsPairBF16 is dotsPairF32 with w as bf16.
func dotsPairBF16(dst, dst2, x, x2 []float32, w []byte) {
	dst2, x2, w = dst2[:len(dst)], x2[:len(x)], w[:2*len(dst)*len(x)]
	n := 0
	switch {
	case haveAVX2:
		n = len(x) &^ 7
		dotsPairBF16AVX2(dst, dst2, x[:n], x2, w, len(x))
	case haveNEON:
		dotsBF16(dst, x, w)
		dotsBF16(dst2, x2, w)
		return
	}
	if n == 0 || n < len(x) {
		dotsBF16Go(dst, x, w, n)
		dotsBF16Go(dst2, x2, w, n)
	}
}

// The twins start at column n of x, adding to dst if that is not the first.

func dotsF32Go(dst, x []float32, w []byte, n int) {
	for r := range dst {
		row := w[4*r*len(x) : 4*(r+1)*len(x)]
		sum := dotF32Go(x[n:], row[4*n:])
		if n > 0 {
			sum += dst[r]
		}
		dst[r] = sum
	}
}

func dotF32Go(x []float32, w []byte) float32 {
	var s [4]float32 // chains of additions, which a processor can run side by side
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

func dotsF16Go(dst, x []float32, w []byte, n int) {
	for r := range dst {
		row := w[2*r*len(x) : 2*(r+1)*len(x)]
		sum := dotF16Go(x[n:], row[2*n:])
		if n > 0 {
			sum += dst[r]
		}
		dst[r] = sum
	}
}

func dotF16Go(x []float32, w []byte) float32 {
	var s [4]float32 // chains of additions, which a processor can run side by side
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

func dotsBF16Go(dst, x []float32, w []byte, n int) {
	for r := range dst {
		row := w[2*r*len(x) : 2*(r+1)*len(x)]
		sum := dotBF16Go(x[n:], row[2*n:])
		if n > 0 {
			sum += dst[r]
		}
		dst[r] = sum
	}
}

func dotBF16Go(x []float32, w []byte) float32 {
	var s [4]float32 // chains of additions, which a processor can run side by side
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
