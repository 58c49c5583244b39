package simd

// Scale is
//
//	for i, v := range x {
//		dst[i] = f * v
//	}
func Scale(dst, x []float32, f float32) {
	dst = dst[:len(x)]
	n := 0
	switch {
	case haveAVX2:
		n = len(x) &^ 7
		scaleAVX2(dst, x[:n], f)
	case haveNEON:
		n = len(x) &^ 3
		scaleNEON(dst, x[:n], f)
	}
	scaleGo(dst[n:], x[n:], f)
}

// ScaleAdd is
//
//	for i, v := range x {
//		dst[i] = fd*dst[i] + fx*v
//	}
func ScaleAdd(dst, x []float32, fd, fx float32) {
	dst = dst[:len(x)]
	n := 0
	switch {
	case haveAVX2:
		n = len(x) &^ 7
		scaleAddAVX2(dst, x[:n], fd, fx)
	case haveNEON:
		n = len(x) &^ 3
		scaleAddNEON(dst, x[:n], fd, fx)
	}
	scaleAddGo(dst[n:], x[n:], fd, fx)
}

func scaleGo(dst, x []float32, f float32) {
	for i, v := range x {
		dst[i] = f * v
	}
}

func scaleAddGo(dst, x []float32, fd, fx float32) {
	for i, v := range x {
		dst[i] = fd*dst[i] + fx*v
	}
}
