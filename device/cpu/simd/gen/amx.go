package main

import (
	"fmt"

	"github.com/mmcloughlin/avo/ir"
	"github.com/mmcloughlin/avo/operand"
)

// The instructions of AMX (Intel, Architecture Instruction Set Extensions Programming Reference, chapter 3), which multiply tiles: registers of up to 16 rows of 64 bytes. In
// memory a tile's rows lie as far apart as an index says.
const (
	loadConfig    = "LDTILECFG"   // memory
	releaseTiles  = "TILERELEASE" //
	zeroTile      = "TILEZERO"    // tile
	loadTile      = "TILELOADD"   // memory, tile
	storeTile     = "TILESTORED"  // tile, memory
	signedTiles   = "TDPBSSD"     // a tile of rows, four signed bytes of columns each a lane; one of columns; one of sums
	unsignedTiles = "TDPBSUD"     // the same, where the first tile's bytes are signed and the second's are not
	floatTiles    = "TDPBF16PS"   // the same with two numbers in bfloat16 a lane, and sums in float32
)

// tile is the number of a tile as operand.
func tile(n int) operand.Op { return operand.U8(n) }

// amx adds an instruction that leaves general registers and vectors as they are.
func (a *asm) amx(opcode string, ops ...operand.Op) {
	a.Instruction(&ir.Instruction{Opcode: opcode, Operands: ops, Inputs: ops})
}

// shape is what a tile is set up for.
type shape struct{ rows, bytes int }

// setTiles sets tiles up.
func (a *asm) setTiles(shapes ...shape) {
	m := a.constant("shapes", func() {
		var config [64]byte // palette 1; the tiles' bytes from the 16th on, in words, their rows from the 48th on
		config[0] = 1
		for i, s := range shapes {
			config[16+2*i], config[48+i] = byte(s.bytes), byte(s.rows)
		}
		for i, b := range config {
			a.AddDatum(i, operand.U8(b))
		}
	})
	r := a.GP64()
	a.LEAQ(m, r)
	a.amx(loadConfig, at(r, 0))
}

// numberOf is the number of a tile.
func numberOf(op operand.Op) (int, error) {
	if n, ok := op.(operand.U8); ok && n < 8 {
		return int(n), nil
	}
	return 0, fmt.Errorf("%v is no tile", op)
}

// ldtilecfg is the encoding VEX.128.NP.0F38.W0 49 /0.
func ldtilecfg(ops []operand.Op) ([]byte, error) { return vex{opcode: 0x49}.memory(0, ops[0]) }

// tilezero is the encoding VEX.128.F2.0F38.W0 49 /r.
func tilezero(ops []operand.Op) ([]byte, error) {
	n, err := numberOf(ops[0])
	return vex{prefix: 3, opcode: 0x49}.registers(n, 0), err
}

// tileMemory is the encoding VEX.128.prefix.0F38.W0 4B /r.
func tileMemory(prefix byte, m, t operand.Op) ([]byte, error) {
	n, err := numberOf(t)
	if err != nil {
		return nil, err
	}
	return vex{prefix: prefix, opcode: 0x4b}.memory(n, m)
}

// tileProduct is the encoding VEX.128.prefix.0F38.W0 opcode /r.
func tileProduct(prefix, opcode byte, ops []operand.Op) ([]byte, error) {
	var n [3]int
	for i, op := range ops {
		var err error
		if n[i], err = numberOf(op); err != nil {
			return nil, err
		}
	}
	return vex{prefix: prefix, second: n[1], opcode: opcode}.registers(n[2], n[0]), nil
}
