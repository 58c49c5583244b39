//go:build !noasm

package simd

import "os"

// detectNEON says whether NEON's assembly runs here: it needs nothing that a 64-bit processor can lack.
func detectNEON() bool { return os.Getenv("ORRERY_SIMD") != "off" }
