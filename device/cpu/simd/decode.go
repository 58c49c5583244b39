package simd

// Scores is
//
//	for h := range heads {
//		for j := range n {
//			sum := float32(0)
//			for i := range dim {
//				sum += q[h*dim+i] * k[j*dim+i] // k as f16
//			}
//			s[h*stride+j] = sum
//		}
//	}
//
// Up to four heads, or eight, share each load of k. next, which will be read soon, is brought into the cache
// meanwhile, as many bytes of it as k has at most; it may be empty.
func Scores(s []float32, stride int, q []float32, k, next []byte, heads, n, dim int) {
	if heads == 0 || n == 0 {
		return
	}
	s, q, k = s[:(heads-1)*stride+n], q[:heads*dim], k[:2*n*dim]
	if haveAVX512 && dim%16 == 0 {
		scoresAVX512(s, stride, q, k, next, heads, n, dim)
		return
	}
	if haveNEON && dim%8 == 0 {
		scoresNEON(s, stride, q, k, heads, n, dim)
		return
	}
	if !haveAVX2 || dim%8 != 0 {
		scoresGo(s, stride, q, k, heads, n, dim)
		return
	}
	for ; heads >= 4; heads -= 4 {
		scores4F16AVX2(s, stride, q, k, next, n, dim)
		if heads == 4 {
			return
		}
		s, q = s[4*stride:], q[4*dim:]
	}
	if heads >= 2 {
		scores2F16AVX2(s, stride, q, k, next, n, dim)
		if heads == 2 {
			return
		}
		s, q = s[2*stride:], q[2*dim:]
	}
	scores1F16AVX2(s, stride, q, k, next, n, dim)
}

// Values is
//
//	for h := range heads {
//		for j := range n {
//			for i := range dim {
//				o[h*dim+i] += p[h*stride+j] * v[j*dim+i] // v as f16
//			}
//		}
//	}
//
// Up to four heads, or eight, share each load of v. next is as in [Scores].
func Values(o, p []float32, stride int, v, next []byte, heads, n, dim int) {
	if heads == 0 || n == 0 {
		return
	}
	o, p, v = o[:heads*dim], p[:(heads-1)*stride+n], v[:2*n*dim]
	if haveAVX512 && dim%16 == 0 {
		valuesAVX512(o, p, stride, v, next, heads, n, dim)
		return
	}
	if haveNEON && dim%8 == 0 {
		valuesNEON(o, p, stride, v, heads, n, dim)
		return
	}
	if !haveAVX2 || dim%8 != 0 {
		valuesGo(o, p, stride, v, heads, n, dim)
		return
	}
	for ; heads >= 4; heads -= 4 {
		values4F16AVX2(o, p, stride, v, next, n, dim)
		if heads == 4 {
			return
		}
		o, p = o[4*dim:], p[4*stride:]
	}
	if heads >= 2 {
		values2F16AVX2(o, p, stride, v, next, n, dim)
		if heads == 2 {
			return
		}
		o, p = o[2*dim:], p[2*stride:]
	}
	values1F16AVX2(o, p, stride, v, next, n, dim)
}

func scoresGo(s []float32, stride int, q []float32, k []byte, heads, n, dim int) {
	for j := range n {
		key := k[2*j*dim : 2*(j+1)*dim]
		for h := range heads {
			s[h*stride+j] = dotF16Go(q[h*dim:(h+1)*dim], key)
		}
	}
}

func valuesGo(o, p []float32, stride int, v []byte, heads, n, dim int) {
	for j := range n {
		value := v[2*j*dim : 2*(j+1)*dim]
		for i := range dim {
			x := f16(value, i)
			for h := range heads {
				o[h*dim+i] += p[h*stride+j] * x
			}
		}
	}
}
