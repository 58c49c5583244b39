package simd

// haveAVX2, haveAVX512, haveVNNI and haveNEON say which assembly is used; of the first three each implies those before it.
var haveAVX2, haveAVX512, haveVNNI, haveNEON = detect()

// Name is the instruction set in use, for people: "avx512 vnni", "avx512", "avx2", "neon", or "go" for the plain loops.
func Name() string {
	switch {
	case haveVNNI:
		return "avx512 vnni"
	case haveAVX512:
		return "avx512"
	case haveAVX2:
		return "avx2"
	case haveNEON:
		return "neon"
	}
	return "go"
}
