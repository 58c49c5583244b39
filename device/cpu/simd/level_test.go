package simd

import "testing"

// eachLevel runs a test with everything that the machine has, and with less of it, down to the twins.
func eachLevel(t *testing.T, test func(t *testing.T)) {
	avx2, avxVNNI, avx512, vnni, gfni, amx := haveAVX2, haveAVXVNNI, haveAVX512, haveVNNI, haveGFNI, haveAMX
	defer func() {
		haveAVX2, haveAVXVNNI, haveAVX512, haveVNNI, haveGFNI, haveAMX = avx2, avxVNNI, avx512, vnni, gfni, amx
	}()
	neon := haveNEON
	defer func() { haveNEON = neon }()
	was := direct
	defer func() { direct = was }()
	direct = haveAVX512
	for {
		t.Run(Name(), test)
		switch {
		case haveAMX:
			haveAMX = false
		case haveGFNI && direct:
			direct = false
		case haveGFNI:
			direct, haveGFNI = true, false
		case haveVNNI:
			direct, haveVNNI = false, false
		case haveAVX512:
			haveAVX512 = false
		case haveAVXVNNI:
			haveAVXVNNI = false
		case haveAVX2:
			haveAVX2 = false
		case haveNEON:
			haveNEON = false
		default:
			return
		}
	}
}
