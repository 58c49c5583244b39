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
	clear(row)
	scales := plane[l.ScalesAt(capacity)+token*l.Scales()*2:]
	for g := range l.Scales() {
		part := x[g*Group : min((g+1)*Group, l.Dim)]
		largest := float32(0)
		for _, v := range part {
			if math.Abs(float64(v)) > math.Abs(float64(largest)) {
				largest = v
			}
		}
		divisor := float32(-8)
		if l.Bits == 8 {
			largest, divisor = float32(math.Abs(float64(largest))), 127
		}
		simd.ToF16(scales[g*2:g*2+2], []float32{largest / divisor})
		var scale [1]float32
		simd.FromF16(scale[:], scales[g*2:g*2+2])
		for i, v := range part {
			l.put(row, g*Group+i, v, scale[0])
		}
	}
}

// put stores element i of a row.
func (l Layout) put(row []byte, i int, v, scale float32) {
	q := 0.0
	if scale != 0 {
		q = math.RoundToEven(float64(v / scale))
	}
	if l.Bits == 8 {
		row[i] = byte(int8(max(-127, min(127, q))))
		return
	}
	word, shift := row[i/8*4:], nibble(i)
	n := uint32(max(-8, min(7, q)) + 8)
	binary.LittleEndian.PutUint32(word, binary.LittleEndian.Uint32(word)|n<<shift)
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
