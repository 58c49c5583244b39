package main

import (
	"encoding/binary"
	"errors"
)

// instruction is one of AMX (Intel, Architecture Instruction Set Extensions Programming Reference, chapter 3).
type instruction struct {
	kind                   kind
	size                   int // bytes
	tile, rows, columns    int // the result, or what is loaded or stored; of products the first operand and the second
	base, index, scale     int // of memory; index 4 is none
	displacement           int64
	signedFirst, signedTwo bool // of products: the bytes of either operand
}

type kind int

const (
	configure kind = iota
	release
	zero
	load
	store
	multiply
	multiplyFloats // in bfloat16
)

var errOther = errors.New("not an instruction of AMX that is known here")

// decode reads an instruction: VEX.128.W0 in three bytes, of the map 0F38, with an opcode of tiles.
func decode(code []byte) (instruction, error) {
	if len(code) < 5 || code[0] != 0xc4 || code[1]&0x1f != 2 || code[2]&0x84 != 0 {
		return instruction{}, errOther
	}
	prefix, opcode, operands := code[2]&3, code[3], code[4]
	registers := operands>>6 == 3
	i := instruction{size: 5, tile: int(operands >> 3 & 7), rows: int(operands & 7), columns: int(15 - code[2]>>3&15)}
	switch {
	case opcode == 0x49 && registers && prefix == 0 && operands == 0xc0:
		i.kind = release
		return i, nil
	case opcode == 0x49 && registers && prefix == 3:
		i.kind = zero
		return i, nil
	case opcode == 0x5e && registers && i.columns < 8:
		i.kind, i.signedFirst, i.signedTwo = multiply, prefix >= 2, prefix&1 == 1
		return i, nil
	case opcode == 0x5c && registers && prefix == 2 && i.columns < 8:
		i.kind = multiplyFloats
		return i, nil
	case opcode == 0x49 && !registers && prefix == 0 && i.tile == 0:
		i.kind = configure
	case opcode == 0x4b && !registers && prefix == 3:
		i.kind = load
	case opcode == 0x4b && !registers && prefix == 2:
		i.kind = store
	default:
		return instruction{}, errOther
	}
	return i.address(code)
}

// address reads the operand in memory, which has a byte for the index.
func (i instruction) address(code []byte) (instruction, error) {
	mode := code[4] >> 6
	if code[4]&7 != 4 || len(code) < 6 || mode == 0 && code[5]&7 == 5 {
		return instruction{}, errOther
	}
	extend := ^code[1] // the upper bits of the registers' numbers
	i.base, i.index, i.scale = int(code[5]&7|extend>>5&1<<3), int(code[5]>>3&7|extend>>6&1<<3), 1<<(code[5]>>6)
	i.size = 6
	switch mode {
	case 1:
		i.size += 1
	case 2:
		i.size += 4
	}
	if len(code) < i.size {
		return instruction{}, errOther
	}
	switch mode {
	case 1:
		i.displacement = int64(int8(code[6]))
	case 2:
		i.displacement = int64(int32(binary.LittleEndian.Uint32(code[6:])))
	}
	return i, nil
}
