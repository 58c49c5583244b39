//go:build !noasm

package simd

import "os"

// detect says which assembly runs here. What there is for ARM needs nothing that a 64-bit processor can lack.
func detect() (avx2, avx512, vnni, neon bool) {
	return false, false, false, os.Getenv("ORRERY_SIMD") != "off"
}
