package simd

// haveAVX2, haveAVX512, haveVNNI and haveGFNI say which assembly is used; each implies those before it. The last is for GFNI and VBMI2.
var haveAVX2, haveAVX512, haveVNNI, haveGFNI = detect()

// haveNEON says that ARM's is used.
var haveNEON = detectNEON()

// Name is the instruction set in use, for people: "avx512 vnni gfni", "avx512 vnni", "avx512", "avx2", "neon", or "go" for the plain loops.
func Name() string {
	switch {
	case haveGFNI:
		return "avx512 vnni gfni"
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
