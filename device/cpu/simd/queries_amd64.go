//go:build amd64 && !noasm

package simd

import (
	"encoding/binary"
	"math"
	"slices"
)

const (
	fixedMost   = 0x7f7f00 // less than the largest number of three signed bytes by more than rounding adds
	fixedLeast  = 0x1p-100 // smallest largest element, so that neither it nor its inverse leaves the normal numbers
	fixedKeys   = 16       // that the routines take at a time
	fixedHeader = 16       // bytes: what to multiply sums with, for each head
	fixedGroup  = 3*32 + 8 // bytes of a head's numbers for a group, and of where its sums start
)

// The order of the elements of each eight in a row's bytes, and the byte that stands for zero when they are taken as unsigned.
var (
	order8 = [16]byte{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}
	order4 = [16]byte{0, 4, 1, 5, 2, 6, 3, 7, 8, 12, 9, 13, 10, 14, 11, 15}
)

// fixedBytes is the size of so many heads that go together.
func fixedBytes(heads, dim int) int { return fixedHeader + heads*fixedGroup*dim/QuantizedGroup }

// queryBytes is the size of a query whose heads go in shares of 4, 2 and 1.
func queryBytes(heads, dim int) (size int) {
	for left := heads; left > 0; left -= sharedHeads(left) {
		size += fixedBytes(sharedHeads(left), dim)
	}
	return size
}

// fix appends to dst a query as the routines take it: in shares of 4, 2 or 1 heads. It reports false where there is none for the shape, and
// if an element is not finite: then it appends nothing of use.
func fix(dst []byte, bits int, q []float32, heads, dim int) ([]byte, bool) {
	if !(haveVNNI || narrowWhole(bits)) || dim > fixedDim || dim%QuantizedGroup != 0 {
		return dst, false
	}
	at, size := len(dst), queryBytes(heads, dim)
	dst = slices.Grow(dst, size)[:at+size]
	digits := fixAVX512
	if !haveVNNI {
		digits = fixAVX2
	}
	order, zero := &order8, uint32(0x80808080)
	if bits == 4 {
		order, zero = &order4, 0x08080808
	}
	for heads > 0 {
		share := sharedHeads(heads)
		part := dst[at : at+fixedBytes(share, dim)]
		for h := range share {
			most := uint32(0)
			for _, v := range q[h*dim : (h+1)*dim] {
				most = max(most, math.Float32bits(v)&^(1<<31))
			}
			largest := math.Float32frombits(most)
			if most != 0 && !(largest >= fixedLeast && largest <= math.MaxFloat32) {
				return dst, false
			}
			factor := float32(0)
			if most != 0 {
				factor = fixedMost / largest
			}
			binary.LittleEndian.PutUint32(part[4*h:], math.Float32bits(largest/fixedMost))
			digits(part[fixedHeader+h*3*32:], part[fixedHeader+share*3*32+h*8:], q[h*dim:(h+1)*dim], factor, share*fixedGroup, order, zero)
		}
		at += len(part)
		q, heads = q[share*dim:], heads-share
	}
	return dst, true
}

// fixedScores is the products of keys with one of the shares of heads that fix makes.
type fixedScores func(s []float32, stride int, q, k []byte, scales []float32, next []byte, n, dim int)

// For 1, 2 and 4 heads.
var (
	fixed8 = [...]fixedScores{scores1Q8VNNI, scores2Q8VNNI, scores4Q8VNNI}
	fixed4 = [...]fixedScores{scores1Q4VNNI, scores2Q4VNNI, scores4Q4VNNI}
)

// fixedFor is the routines for keys of 8 or 4 bits.
func fixedFor(bits int) *[3]fixedScores {
	switch {
	case !haveVNNI:
		return narrowFixedFor(bits)
	case bits == 8:
		return &fixed8
	}
	return &fixed4
}

// scoresFixed is [Queries.Scores] of a query that fix took, for at most dealtKeys keys.
func scoresFixed(q *Queries, query int, s []float32, stride int, k, scales, next []byte, n int) {
	routines := fixedFor(q.bits)
	fixed, rest, dim := q.fixed[query*queryBytes(q.heads, q.dim):], q.rest, q.dim
	by := q.scaling.deal(scales, groups(dim), n)
	whole, row := n/fixedKeys*fixedKeys, dim*q.bits/8
	if n > whole {
		copy(rest.rows[:], k[whole*row:])
	}
	for heads := q.heads; heads > 0; {
		share := sharedHeads(heads)
		scores := routines[share/2]
		if whole > 0 {
			scores(s, stride, fixed, k, by, next, whole, dim)
		}
		if n > whole {
			scores(rest.scores[:], fixedKeys, fixed, rest.rows[:fixedKeys*row], by[whole:], nil, fixedKeys, dim)
			for h := range share {
				copy(s[h*stride+whole:h*stride+n], rest.scores[h*fixedKeys:])
			}
		}
		fixed, next = fixed[fixedBytes(share, dim):], nil
		if heads -= share; heads > 0 {
			s = s[share*stride:]
		}
	}
}
