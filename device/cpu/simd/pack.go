package simd

// PackRows lays rows <= 6 rows of src out for [GEMM]: it is
//
//	for c := range cols {
//		for r := range 6 {
//			dst[c*6+r] = src[r*stride+c] // 0 for r >= rows
//		}
//	}
func PackRows(dst, src []float32, stride, rows, cols int) {
	dst = dst[:6*cols]
	done := 0
	switch {
	case haveAVX2 && rows == GEMMRows && cols >= 16:
		_ = src[5*stride+cols-1]
		done = (cols - 1) &^ 7 // the assembly writes two elements more than it should, within dst
		pack6F32AVX2(dst, src, stride, done)
	case haveNEON && rows == GEMMRows && cols >= 4:
		_ = src[5*stride+cols-1]
		done = cols &^ 3
		pack6F32NEON(dst, src, stride, done)
	}
	pack6Go(dst, src, stride, rows, done, cols)
}

// PackF32 lays rows <= 16 rows of stored weights out for [GEMM]: it is
//
//	for c := range cols {
//		for r := range 16 {
//			dst[c*16+r] = src[r*stride+c] // in elements; 0 for r >= rows
//		}
//	}
func PackF32(dst []float32, src []byte, stride, rows, cols int) {
	dst = dst[:16*cols]
	done := 0
	switch {
	case haveAVX2 && rows == GEMMCols:
		src = src[:4*(15*stride+cols)]
		done = cols &^ 7
		pack16F32AVX2(dst, src, stride, done)
	case haveNEON && rows == GEMMCols:
		src = src[:4*(15*stride+cols)]
		done = cols &^ 3
		pack16F32NEON(dst, src, stride, done)
	}
	pack16F32Go(dst, src, stride, rows, done, cols)
}

// PackF16 is PackF32 with src as f16.
func PackF16(dst []float32, src []byte, stride, rows, cols int) {
	dst = dst[:16*cols]
	done := 0
	switch {
	case haveAVX2 && rows == GEMMCols:
		src = src[:2*(15*stride+cols)]
		done = cols &^ 7
		pack16F16AVX2(dst, src, stride, done)
	case haveNEON && rows == GEMMCols:
		src = src[:2*(15*stride+cols)]
		done = cols &^ 3
		pack16F16NEON(dst, src, stride, done)
	}
	pack16F16Go(dst, src, stride, rows, done, cols)
}

// PackBF16 is PackF32 with src as bf16.
func PackBF16(dst []float32, src []byte, stride, rows, cols int) {
	dst = dst[:16*cols]
	done := 0
	switch {
	case haveAVX2 && rows == GEMMCols:
		src = src[:2*(15*stride+cols)]
		done = cols &^ 7
		pack16BF16AVX2(dst, src, stride, done)
	case haveNEON && rows == GEMMCols:
		src = src[:2*(15*stride+cols)]
		done = cols &^ 3
		pack16BF16NEON(dst, src, stride, done)
	}
	pack16BF16Go(dst, src, stride, rows, done, cols)
}

// The twins pack the columns [first, end).

func pack6Go(dst, src []float32, stride, rows, first, end int) {
	for c := first; c < end; c++ {
		column := dst[c*6 : c*6+6]
		clear(column[rows:])
		for r := range rows {
			column[r] = src[r*stride+c]
		}
	}
}

func pack16F32Go(dst []float32, src []byte, stride, rows, first, end int) {
	for c := first; c < end; c++ {
		column := dst[c*16 : c*16+16]
		clear(column[rows:])
		for r := range rows {
			column[r] = f32(src, r*stride+c)
		}
	}
}

func pack16F16Go(dst []float32, src []byte, stride, rows, first, end int) {
	for c := first; c < end; c++ {
		column := dst[c*16 : c*16+16]
		clear(column[rows:])
		for r := range rows {
			column[r] = f16(src, r*stride+c)
		}
	}
}

func pack16BF16Go(dst []float32, src []byte, stride, rows, first, end int) {
	for c := first; c < end; c++ {
		column := dst[c*16 : c*16+16]
		clear(column[rows:])
		for r := range rows {
			column[r] = bf16(src, r*stride+c)
		}
	}
}
