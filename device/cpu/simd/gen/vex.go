package main

import (
	"fmt"

	"github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// vexDot stands for VPDPBUSD as AVX-VNNI has it. Its operands are a vector of AVX2, or memory at a general register, and two vectors more.
const vexDot = "VPDPBUSD_VEX"

// dotInBytes is the encoding VEX.256.66.0F38.W0 50 /r.
func dotInBytes(ops []operand.Op) ([]byte, error) {
	weights, _ := ops[1].(reg.Physical)
	sum, _ := ops[2].(reg.Physical)
	if weights == nil || sum == nil {
		return nil, fmt.Errorf("no way to encode %v", ops)
	}
	v := vex{prefix: 1, wide: 1, second: int(weights.PhysicalIndex()), opcode: 0x50}
	if numbers, ok := ops[0].(reg.Physical); ok {
		return v.registers(int(sum.PhysicalIndex()), int(numbers.PhysicalIndex())), nil
	}
	return v.memory(int(sum.PhysicalIndex()), ops[0])
}
