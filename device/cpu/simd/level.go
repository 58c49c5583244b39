package simd

// haveAVX2, haveAVX512 and haveVNNI say which assembly is used; each implies those before it.
var haveAVX2, haveAVX512, haveVNNI = detect()

// haveNEON says that ARM's is used.
var haveNEON = detectNEON()

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
