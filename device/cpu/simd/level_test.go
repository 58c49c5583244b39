package simd

import "testing"

// eachLevel runs a test with everything that the machine has, and with less of it, down to the twins.
func eachLevel(t *testing.T, test func(t *testing.T)) {
	avx2, avx512, vnni, gfni := haveAVX2, haveAVX512, haveVNNI, haveGFNI
	defer func() { haveAVX2, haveAVX512, haveVNNI, haveGFNI = avx2, avx512, vnni, gfni }()
	neon := haveNEON
	defer func() { haveNEON = neon }()
	for {
		t.Run(Name(), test)
		switch {
		case haveGFNI:
			haveGFNI = false
		case haveVNNI:
			haveVNNI = false
		case haveAVX512:
			haveAVX512 = false
		case haveAVX2:
			haveAVX2 = false
		case haveNEON:
			haveNEON = false
		default:
			return
		}
	}
}
