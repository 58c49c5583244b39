//go:build !noasm

package simd

import "os"

// haveFlush says that caches can be flushed, haveFlushOpt that a line need not wait for the one before.
var (
	haveFlush    = os.Getenv("ORRERY_SIMD") != "off"
	haveFlushOpt = haveFlush && haveFlushOptAsm()
)

func flush(b []byte) {
	if haveFlushOpt {
		flushOptAsm(b)
		return
	}
	flushAsm(b)
}
