package simd

// haveAVX2, haveAVX512, haveVNNI, haveGFNI and haveAMX say which assembly is used; each implies those before it. haveGFNI is for GFNI and VBMI2, haveAMX for tiles
// of bytes. haveAVXVNNI, which implies haveAVX2, matters where AVX-512 is not used.
var haveAVX2, haveAVXVNNI, haveAVX512, haveVNNI, haveGFNI, haveAMX = detect()

// direct says that memory comes into the first cache at once: which of the routines for AVX-512 products of one token and softmax take, and what those for
// scores and values over halves ask for. Results are the same.
var direct = detectDirect()

// haveNEON says that ARM's is used.
var haveNEON = detectNEON()

// Name is the instruction set in use, for people: "avx512 vnni gfni amx", "avx512 vnni gfni", "avx512 vnni", "avx512", "avx2 vnni", "avx2", "neon", or "go" for the plain loops.
func Name() string {
	switch {
	case haveAMX:
		return "avx512 vnni gfni amx"
	case haveGFNI:
		return "avx512 vnni gfni"
	case haveVNNI:
		return "avx512 vnni"
	case haveAVX512:
		return "avx512"
	case haveAVXVNNI:
		return "avx2 vnni"
	case haveAVX2:
		return "avx2"
	case haveNEON:
		return "neon"
	}
	return "go"
}
