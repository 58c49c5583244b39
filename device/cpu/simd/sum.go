package simd

import "encoding/binary"

// Sum is
//
//	for i := 0; i+8 <= len(b); i += 8 {
//		s += binary.LittleEndian.Uint64(b[i:])
//	}
//
// It does as little with what it reads as can be done, so it shows how fast memory can be read.
func Sum(b []byte) (s uint64) {
	n := 0
	switch {
	case haveAVX2:
		n = len(b) &^ 127
		s = sumAVX2(b[:n])
	case haveNEON:
		n = len(b) &^ 127
		s = sumNEON(b[:n])
	}
	return s + sumGo(b[n:])
}

func sumGo(b []byte) (s uint64) {
	for ; len(b) >= 8; b = b[8:] {
		s += binary.LittleEndian.Uint64(b)
	}
	return s
}
