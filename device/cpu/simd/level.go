package simd

// haveAVX2 and haveAVX512 say which assembly is used; the second implies the first.
var haveAVX2, haveAVX512 = detect()

// haveNEON says that ARM's is used.
var haveNEON = detectNEON()

// Name is the instruction set in use, for people: "avx512", "avx2", "neon", or "go" for the plain loops.
func Name() string {
	switch {
	case haveAVX512:
		return "avx512"
	case haveAVX2:
		return "avx2"
	case haveNEON:
		return "neon"
	}
	return "go"
}
