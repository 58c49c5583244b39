package simd

// Flush has no cache hold anything of b, whose bytes stay what they are: what reads them next reads memory. It reports
// whether there is an instruction for that; if not, it does nothing.
func Flush(b []byte) bool {
	if haveFlush && len(b) > 0 {
		flush(b)
	}
	return haveFlush
}
