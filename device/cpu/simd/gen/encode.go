package main

import (
	"encoding/binary"
	"fmt"
	"strings"

	"github.com/mmcloughlin/avo/ir"
	"github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// encoded are instructions that Go's assembler does not know, with how each is written: in bytes, once registers are allocated.
var encoded = map[string]func(ops []operand.Op) ([]byte, error){
	vexDot:        dotInBytes,
	loadConfig:    ldtilecfg,
	releaseTiles:  func([]operand.Op) ([]byte, error) { return vex{opcode: 0x49}.registers(0, 0), nil },
	zeroTile:      tilezero,
	loadTile:      func(ops []operand.Op) ([]byte, error) { return tileMemory(3, ops[0], ops[1]) },
	storeTile:     func(ops []operand.Op) ([]byte, error) { return tileMemory(2, ops[1], ops[0]) },
	signedTiles:   func(ops []operand.Op) ([]byte, error) { return tileProduct(3, 0x5e, ops) },
	unsignedTiles: func(ops []operand.Op) ([]byte, error) { return tileProduct(2, 0x5e, ops) },
	floatTiles:    func(ops []operand.Op) ([]byte, error) { return tileProduct(2, 0x5c, ops) },
}

// encode writes each such instruction in bytes.
func encode(f *ir.File) error {
	for _, fn := range f.Functions() {
		var nodes []ir.Node
		for _, node := range fn.Nodes {
			i, ok := node.(*ir.Instruction)
			if !ok || encoded[i.Opcode] == nil {
				nodes = append(nodes, node)
				continue
			}
			code, err := encoded[i.Opcode](i.Operands)
			if err != nil {
				return fmt.Errorf("%s: %s: %w", fn.Name, i.Opcode, err)
			}
			text := strings.TrimSuffix(i.Opcode, "_VEX")
			for n, op := range i.Operands {
				name := op.Asm()
				if t, ok := op.(operand.U8); ok { // the number of a tile
					name = fmt.Sprintf("TMM%d", t)
				}
				text += []string{" ", ", "}[min(n, 1)] + name
			}
			nodes = append(nodes, ir.NewComment(text))
			for len(code) > 0 {
				opcode, size := "BYTE", 1
				var value operand.Op = operand.U8(code[0])
				if len(code) >= 4 {
					opcode, size, value = "LONG", 4, operand.U32(binary.LittleEndian.Uint32(code))
				} else if len(code) >= 2 {
					opcode, size, value = "WORD", 2, operand.U16(binary.LittleEndian.Uint16(code))
				}
				nodes = append(nodes, &ir.Instruction{Opcode: opcode, Operands: []operand.Op{value}})
				code = code[size:]
			}
		}
		fn.Nodes = nodes
	}
	return nil
}

// vex is an instruction of the map 0F38, W0.
type vex struct {
	prefix byte // 1 for 66, 2 for F3, 3 for F2
	wide   byte // 1 for 256 bits
	second int  // register, or 0 if there is none
	opcode byte
}

// head is all before the operands: the upper bits of registers, inverted, and which opcodes 0F38 begins; the second source, inverted, vectors' size and the prefix.
func (v vex) head(register, index, base int) []byte {
	return []byte{0xc4, byte((1-register>>3)<<7 | (1-index>>3)<<6 | (1-base>>3)<<5 | 2), byte(15-v.second)<<3 | v.wide<<2 | v.prefix, v.opcode}
}

// registers is the instruction with two registers.
func (v vex) registers(register, other int) []byte {
	return append(v.head(register, 0, other), byte(3<<6|register&7<<3|other&7))
}

// memory is the instruction with a register and memory.
func (v vex) memory(register int, op operand.Op) ([]byte, error) {
	m, ok := op.(operand.Mem)
	if !ok || m.Symbol.Name != "" {
		return nil, fmt.Errorf("no way to encode %v", op)
	}
	base, ok := m.Base.(reg.Physical)
	if !ok {
		return nil, fmt.Errorf("no way to encode %v", op)
	}
	const none = 4
	b, x, scale := int(base.PhysicalIndex()), none, 0
	if m.Index != nil {
		i, ok := m.Index.(reg.Physical)
		if !ok {
			return nil, fmt.Errorf("no way to encode %v", op)
		}
		x = int(i.PhysicalIndex())
		for 1<<scale < int(m.Scale) {
			scale++
		}
	}
	short := m.Disp >= -128 && m.Disp < 128
	mode := 2 // four bytes of displacement
	switch {
	case m.Disp == 0 && b&7 != 5:
		mode = 0
	case short:
		mode = 1
	}
	code := append(v.head(register, x, b), byte(mode<<6|register&7<<3|4), byte(scale<<6|x&7<<3|b&7)) // there is always a byte for the index
	switch mode {
	case 1:
		code = append(code, byte(m.Disp))
	case 2:
		code = binary.LittleEndian.AppendUint32(code, uint32(m.Disp))
	}
	return code, nil
}
