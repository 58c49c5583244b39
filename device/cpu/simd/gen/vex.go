package main

import (
	"encoding/binary"
	"fmt"

	"github.com/mmcloughlin/avo/ir"
	"github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// vexDot stands for VPDPBUSD as AVX-VNNI has it, which Go's assembler does not know: it is written in bytes once registers are allocated. Its operands are a vector of
// AVX2, or memory at a general register, and two vectors more.
const vexDot = "VPDPBUSD_VEX"

// encodeVEX writes each vexDot in bytes.
func encodeVEX(f *ir.File) error {
	for _, fn := range f.Functions() {
		var nodes []ir.Node
		for _, node := range fn.Nodes {
			i, ok := node.(*ir.Instruction)
			if !ok || i.Opcode != vexDot {
				nodes = append(nodes, node)
				continue
			}
			code, err := dotInBytes(i.Operands)
			if err != nil {
				return fmt.Errorf("%s: %w", fn.Name, err)
			}
			nodes = append(nodes, ir.NewComment(fmt.Sprintf("VPDPBUSD %s, %s, %s", i.Operands[0].Asm(), i.Operands[1].Asm(), i.Operands[2].Asm())))
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

// dotInBytes is the encoding VEX.256.66.0F38.W0 50 /r.
func dotInBytes(ops []operand.Op) ([]byte, error) {
	weights, _ := ops[1].(reg.Physical)
	sum, _ := ops[2].(reg.Physical)
	if weights == nil || sum == nil {
		return nil, fmt.Errorf("no way to encode %v", ops)
	}
	w, s := int(weights.PhysicalIndex()), int(sum.PhysicalIndex())
	// opcode is all before the operands: the upper bits of registers, inverted, and which opcodes 0F38 begins; the second source, inverted, 256 bits, 66.
	opcode := func(index, base int) []byte {
		return []byte{0xc4, byte((1-s>>3)<<7 | (1-index)<<6 | (1-base)<<5 | 2), byte((15-w)<<3 | 1<<2 | 1), 0x50}
	}
	if numbers, ok := ops[0].(reg.Physical); ok {
		n := int(numbers.PhysicalIndex())
		return append(opcode(0, n>>3), byte(3<<6|s&7<<3|n&7)), nil
	}
	m, ok := ops[0].(operand.Mem)
	if !ok || m.Base == nil || m.Symbol.Name != "" {
		return nil, fmt.Errorf("no way to encode %v", ops)
	}
	base, ok := m.Base.(reg.Physical)
	if !ok {
		return nil, fmt.Errorf("no way to encode %v", ops)
	}
	const noIndex = 4
	b, x, index, scale := int(base.PhysicalIndex()), 0, noIndex, 0
	if m.Index != nil {
		i, ok := m.Index.(reg.Physical)
		if !ok {
			return nil, fmt.Errorf("no way to encode %v", ops)
		}
		index, x = int(i.PhysicalIndex())&7, int(i.PhysicalIndex())>>3
		for 1<<scale < int(m.Scale) {
			scale++
		}
	}
	code := opcode(x, b>>3)
	short := m.Disp >= -128 && m.Disp < 128
	mode := 2 // four bytes of displacement
	switch {
	case m.Disp == 0 && b&7 != 5:
		mode = 0
	case short:
		mode = 1
	}
	code = append(code, byte(mode<<6|s&7<<3|4), byte(scale<<6|index<<3|b&7)) // there is always a byte for the index
	switch mode {
	case 1:
		code = append(code, byte(m.Disp))
	case 2:
		code = binary.LittleEndian.AppendUint32(code, uint32(m.Disp))
	}
	return code, nil
}
