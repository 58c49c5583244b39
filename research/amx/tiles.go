package main

import (
	"encoding/binary"
	"fmt"
	"io"
	"math"
)

// tiles are a thread's.
type tiles struct {
	set  bool
	tile [8]tile
}

// tile is some rows of some bytes.
type tile struct {
	rows, bytes int
	data        [16][64]byte
}

// memory is the program's.
type memory interface {
	io.ReaderAt
	io.WriterAt
}

// do carries out an instruction. What a processor would not do is an error.
func (t *tiles) do(i instruction, registers [16]uint64, m memory) error {
	const none = 4
	at, stride := int64(registers[i.base])+i.displacement, int64(0)
	if i.index != none {
		stride = int64(registers[i.index]) * int64(i.scale)
	}
	switch i.kind {
	case release:
		*t = tiles{}
		return nil
	case configure:
		var config [64]byte
		if _, err := m.ReadAt(config[:], at+stride); err != nil {
			return err
		}
		return t.configure(config)
	}
	if !t.set {
		return fmt.Errorf("tiles are used that have not been set up")
	}
	to := &t.tile[i.tile]
	if to.rows == 0 {
		return fmt.Errorf("tile %d has no rows", i.tile)
	}
	switch i.kind {
	case zero:
		to.data = [16][64]byte{}
	case load:
		to.data = [16][64]byte{}
		for r := range to.rows {
			if _, err := m.ReadAt(to.data[r][:to.bytes], at+int64(r)*stride); err != nil {
				return err
			}
		}
	case store:
		for r := range to.rows {
			if _, err := m.WriteAt(to.data[r][:to.bytes], at+int64(r)*stride); err != nil {
				return err
			}
		}
	case multiply, multiplyFloats:
		return to.multiply(&t.tile[i.rows], &t.tile[i.columns], i)
	}
	return nil
}

// configure sets tiles up: palette 1, their bytes from the 16th on, in words, and their rows from the 48th on.
func (t *tiles) configure(config [64]byte) error {
	if config[0] != 1 {
		return fmt.Errorf("palette %d", config[0])
	}
	*t = tiles{set: true}
	for i := range t.tile {
		to := &t.tile[i]
		to.rows, to.bytes = int(config[48+i]), int(binary.LittleEndian.Uint16(config[16+2*i:]))
		if to.rows > len(to.data) || to.bytes > len(to.data[0]) || (to.rows == 0) != (to.bytes == 0) {
			return fmt.Errorf("tile %d is set up for %d rows of %d bytes", i, to.rows, to.bytes)
		}
	}
	return nil
}

// multiply adds to the lanes of t, row by row, the products of four bytes of the first tile's row with four of the second's column, or of two numbers in bfloat16.
func (t *tile) multiply(first, second *tile, i instruction) error {
	if t == first || t == second || first == second || t.rows != first.rows || t.bytes != second.bytes || first.bytes != 4*second.rows || t.bytes%4 != 0 {
		return fmt.Errorf("tiles of %dx%d and %dx%d bytes multiplied into %dx%d", first.rows, first.bytes, second.rows, second.bytes, t.rows, t.bytes)
	}
	if i.kind == multiplyFloats {
		t.multiplyFloats(first, second)
		return nil
	}
	number := func(b byte, signed bool) int32 {
		if signed {
			return int32(int8(b))
		}
		return int32(b)
	}
	for r := range t.rows {
		for c := 0; c < t.bytes; c += 4 {
			sum := binary.LittleEndian.Uint32(t.data[r][c:])
			for k := range first.bytes {
				sum += uint32(number(first.data[r][k], i.signedFirst) * number(second.data[k/4][c+k%4], i.signedTwo))
			}
			binary.LittleEndian.PutUint32(t.data[r][c:], sum)
		}
	}
	return nil
}

// multiplyFloats adds up the products of the first of two numbers, and those of the second, and then both to t.
func (t *tile) multiplyFloats(first, second *tile) {
	number := func(b []byte) float32 {
		return flushed(math.Float32frombits(uint32(binary.LittleEndian.Uint16(b)) << 16))
	}
	for r := range t.rows {
		for c := 0; c < t.bytes; c += 4 {
			var sums [2]float32
			for k := 0; k < first.bytes; k += 2 {
				product := number(first.data[r][k:]) * number(second.data[k/4][c+k%4:])
				sums[k/2%2] = flushed(sums[k/2%2] + product)
			}
			to := t.data[r][c:]
			sum := flushed(math.Float32frombits(binary.LittleEndian.Uint32(to))) + flushed(sums[0]+sums[1])
			binary.LittleEndian.PutUint32(to, math.Float32bits(flushed(sum)))
		}
	}
}

// flushed is 0 for what has less than all bits of precision.
func flushed(v float32) float32 {
	if math.Abs(float64(v)) < 0x1p-126 {
		return 0
	}
	return v
}
