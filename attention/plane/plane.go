package plane

import (
	"encoding/binary"
	"fmt"
	"math"

	"github.com/orrery-ai/orrery/device/cpu/simd"
)

// Group is the number of elements that share a scale.
const Group = simd.QuantizedGroup

// align is what rows and scales are padded to, in bytes.
const align = 16

// Layout is the geometry of a plane.
type Layout struct {
	Bits int // of an element: 16, 8 or 4
	Dim  int // elements of a head, a multiple of 16
}

// Check returns an error that says what is wrong with the layout.
func (l Layout) Check() error {
	if l.Bits != 16 && l.Bits != 8 && l.Bits != 4 {
		return fmt.Errorf("keys and values of %d bits: only 16, 8 and 4 are stored", l.Bits)
	}
	if l.Dim <= 0 || l.Dim%16 != 0 {
		return fmt.Errorf("heads of %d elements: only multiples of 16 are stored", l.Dim)
	}
	return nil
}

// RowBytes is the size of one token's elements.
func (l Layout) RowBytes() int { return l.Dim * l.Bits / 8 }

// Scales is the number of scales of one token.
func (l Layout) Scales() int {
	if l.Bits == 16 {
		return 0
	}
	return (l.Dim + Group - 1) / Group
}

// ScalesAt is where the scales of a plane with room for capacity tokens begin, in bytes.
func (l Layout) ScalesAt(capacity int) int { return roundUp(capacity * l.RowBytes()) }

// Bytes is the size of a plane with room for capacity tokens.
func (l Layout) Bytes(capacity int) int {
	return l.ScalesAt(capacity) + roundUp(capacity*l.Scales()*2)
}

// Put stores x [Dim], one head's keys or values of one token, in a plane.
func (l Layout) Put(plane []byte, capacity, token int, x []float32) {
	row := plane[token*l.RowBytes():][:l.RowBytes()]
	if l.Bits == 16 {
		simd.ToF16(row, x)
		return
	}
	scales := plane[l.ScalesAt(capacity)+token*l.Scales()*2:]
	var half [1]float32
	for g := range l.Scales() {
		part := x[g*Group : min((g+1)*Group, l.Dim)]
		half[0] = l.scale(part)
		simd.ToF16(scales[g*2:g*2+2], half[:])
		simd.FromF16(half[:], scales[g*2:g*2+2])
		if l.Bits == 8 {
			put8(row[g*Group:], part, half[0])
		} else {
			put4(row[g*Group/2:], part, half[0])
		}
	}
}

// scale is that of the elements of a group, before it is rounded to a half. Of a group with a NaN it is one, so that all of it is.
func (l Layout) scale(part []float32) float32 {
	low, high, special := float32(0), float32(0), float32(0)
	for _, v := range part {
		if v < low {
			low = v
		}
		if v > high {
			high = v
		}
		special += v - v // 0, or NaN
	}
	switch {
	case special != 0:
		return special
	case l.Bits == 8:
		return max(high, -low) / 127
	case high >= -low:
		return high / -8
	}
	return low / -8
}

// rounder is so large that what is added to it is rounded to a whole number, ties to even.
const rounder = 3 << 22

// put8 stores a group in 8 bits.
func put8(row []byte, part []float32, scale float32) {
	if !(scale > 0 && scale <= math.MaxFloat32) { // zeros, or what is not finite whatever is stored
		clear(row[:len(part)])
		return
	}
	row = row[:len(part)]
	for i, v := range part {
		q := v / scale
		if q > 127 {
			q = 127
		}
		if q < -127 {
			q = -127
		}
		row[i] = byte(math.Float32bits(q + rounder)) // whose lowest bits are those of the number
	}
}

// put4 stores a group in 4 bits.
func put4(row []byte, part []float32, scale float32) {
	for w := 0; w < len(part); w += 8 {
		word := uint32(0x88888888)
		if scale != 0 && scale-scale == 0 {
			word = 0
			for i, v := range part[w : w+8] {
				q := v / scale
				if q > 7 {
					q = 7
				}
				if q < -8 {
					q = -8
				}
				word |= (math.Float32bits(q+rounder) + 8) & 15 << nibble(i)
			}
		}
		binary.LittleEndian.PutUint32(row[w/2:], word)
	}
}

// Get reads what Put stored into x [Dim].
func (l Layout) Get(x []float32, plane []byte, capacity, token int) {
	row := plane[token*l.RowBytes():][:l.RowBytes()]
	if l.Bits == 16 {
		simd.FromF16(x, row)
		return
	}
	scales := plane[l.ScalesAt(capacity)+token*l.Scales()*2:]
	var scale [1]float32
	for i := range x {
		if i%Group == 0 {
			simd.FromF16(scale[:], scales[i/Group*2:][:2])
		}
		if l.Bits == 8 {
			x[i] = float32(int8(row[i])) * scale[0]
			continue
		}
		word := binary.LittleEndian.Uint32(row[i/8*4:])
		x[i] = (float32(word>>nibble(i)&15) - 8) * scale[0]
	}
}

// nibble is the lowest bit of element i in its word.
func nibble(i int) int { return i%8/2*4 + i%2*16 }

func roundUp(n int) int { return (n + align - 1) / align * align }
