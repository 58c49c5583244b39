package simd

// Name is the instruction set in use, for people: "avx2", or "go" for the plain loops.
func Name() string {
	if haveAVX2 {
		return "avx2"
	}
	return "go"
}
