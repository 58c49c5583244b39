//go:build !amd64 || noasm

package simd

// haveFlush says that nothing is flushed here: ARM's instruction for it is the system's to allow.
const haveFlush = false

func flush([]byte) {}
