package main

import "fmt"

// An instruction of vectors: its 32 bits, and how the manual of the architecture writes it. Go's assembler lacks most of these,
// so all are written as words, each with the manual's form beside it.
type instruction struct {
	word uint32
	text string
}

// reg is one of the 32 vector registers.
type reg uint32

// same is an instruction with two sources and a destination of one shape.
func same(opcode uint32, name, shape string) func(d, n, m reg) instruction {
	return func(d, n, m reg) instruction {
		return instruction{opcode | uint32(m)<<16 | uint32(n)<<5 | uint32(d), fmt.Sprintf("%s v%d.%s, v%d.%s, v%d.%s", name, d, shape, n, shape, m, shape)}
	}
}

var (
	fadd  = same(0x4e20d400, "fadd", "4s")
	fsub  = same(0x4ea0d400, "fsub", "4s")
	fmul  = same(0x6e20dc00, "fmul", "4s")
	fdiv  = same(0x6e20fc00, "fdiv", "4s")
	fmla  = same(0x4e20cc00, "fmla", "4s")
	fmls  = same(0x4ea0cc00, "fmls", "4s")
	fmax  = same(0x4e20f400, "fmax", "4s")
	fmin  = same(0x4ea0f400, "fmin", "4s")
	faddp = same(0x6e20d400, "faddp", "4s")
	fcmgt = same(0x6ea0e400, "fcmgt", "4s")
	fcmeq = same(0x4e20e400, "fcmeq", "4s")
	add4s = same(0x4ea08400, "add", "4s")
	add2d = same(0x4ee08400, "add", "2d")
	and   = same(0x4e201c00, "and", "16b")
	eor   = same(0x6e201c00, "eor", "16b")
	bic   = same(0x4e601c00, "bic", "16b")

	zip1b = same(0x4e003800, "zip1", "16b")
	zip2b = same(0x4e007800, "zip2", "16b")
	zip1s = same(0x4e803800, "zip1", "4s")
	zip2s = same(0x4e807800, "zip2", "4s")
	trn1s = same(0x4e802800, "trn1", "4s")
	trn2s = same(0x4e806800, "trn2", "4s")
	trn1d = same(0x4ec02800, "trn1", "2d")
	trn2d = same(0x4ec06800, "trn2", "2d")
)

// one is an instruction with one source.
func one(opcode uint32, name, to, from, last string) func(d, n reg) instruction {
	return func(d, n reg) instruction {
		return instruction{opcode | uint32(n)<<5 | uint32(d), fmt.Sprintf("%s v%d.%s, v%d.%s%s", name, d, to, n, from, last)}
	}
}

var (
	fcvtl  = one(0x0e217800, "fcvtl", "4s", "4h", "")
	fcvtl2 = one(0x4e217800, "fcvtl2", "4s", "8h", "")
	fcvtn  = one(0x0e216800, "fcvtn", "4h", "4s", "")
	fcvtn2 = one(0x4e216800, "fcvtn2", "8h", "4s", "")
	shll   = one(0x2e613800, "shll", "4s", "4h", ", #16")
	shll2  = one(0x6e613800, "shll2", "4s", "8h", ", #16")
	fneg   = one(0x6ea0f800, "fneg", "4s", "4s", "")
	scvtf  = one(0x4e21d800, "scvtf", "4s", "4s", "")
	ucvtf  = one(0x6e21d800, "ucvtf", "4s", "4s", "")
	sxtlb  = one(0x0f08a400, "sshll", "8h", "8b", ", #0")
	sxtlb2 = one(0x4f08a400, "sshll2", "8h", "16b", ", #0")
	sxtlh  = one(0x0f10a400, "sshll", "4s", "4h", ", #0")
	sxtlh2 = one(0x4f10a400, "sshll2", "4s", "8h", ", #0")
	uxtlb  = one(0x2f08a400, "ushll", "8h", "8b", ", #0")
	uxtlh  = one(0x2f10a400, "ushll", "4s", "4h", ", #0")
	uxtlh2 = one(0x6f10a400, "ushll2", "4s", "8h", ", #0")
)

// Shifts by a constant; left ones count up from the width of an element, right ones down from twice that.

func shift(opcode uint32, name, shape string, at func(by int) int) func(d, n reg, by int) instruction {
	return func(d, n reg, by int) instruction {
		return instruction{opcode | uint32(at(by))<<16 | uint32(n)<<5 | uint32(d), fmt.Sprintf("%s v%d.%s, v%d.%s, #%d", name, d, shape, n, shape, by)}
	}
}

var (
	shl4s  = shift(0x4f005400, "shl", "4s", func(by int) int { return 32 + by })
	shl16b = shift(0x4f005400, "shl", "16b", func(by int) int { return 8 + by })
	sli    = shift(0x6f005400, "sli", "16b", func(by int) int { return 8 + by })
	ushr   = shift(0x6f000400, "ushr", "16b", func(by int) int { return 16 - by })
	// What lies in a word, as a fixed-point number with so many bits after its point.
	scvtfFixed = shift(0x4f00e400, "scvtf", "4s", func(by int) int { return 64 - by })
	ucvtfFixed = shift(0x6f00e400, "ucvtf", "4s", func(by int) int { return 64 - by })
)

// lane is an instruction whose last operand is one lane of a vector.
func lane(opcode uint32, name string) func(d, n, m reg, i int) instruction {
	return func(d, n, m reg, i int) instruction {
		return instruction{opcode | uint32(i&1)<<21 | uint32(i>>1)<<11 | uint32(m)<<16 | uint32(n)<<5 | uint32(d),
			fmt.Sprintf("%s v%d.4s, v%d.4s, v%d.s[%d]", name, d, n, m, i)}
	}
}

var (
	fmlaLane = lane(0x4f801000, "fmla")
	fmlsLane = lane(0x4f805000, "fmls")
	fmulLane = lane(0x4f809000, "fmul")
)

// dup fills d with a lane of n.
func dup(d, n reg, i int) instruction {
	return instruction{0x4e000400 | uint32(i<<3|4)<<16 | uint32(n)<<5 | uint32(d), fmt.Sprintf("dup v%d.4s, v%d.s[%d]", d, n, i)}
}

// tbl takes, for each byte of m, that byte of n, or 0 from 16 on.
func tbl(d, n, m reg) instruction {
	return instruction{0x4e000000 | uint32(m)<<16 | uint32(n)<<5 | uint32(d), fmt.Sprintf("tbl v%d.16b, { v%d.16b }, v%d.16b", d, n, m)}
}

// movi fills d with a byte.
func movi(d reg, b uint8) instruction {
	return instruction{0x4f00e400 | uint32(b>>5)<<16 | uint32(b&31)<<5 | uint32(d), fmt.Sprintf("movi v%d.16b, #%d", d, b)}
}

// mov copies a vector.
func mov(d, n reg) instruction {
	return instruction{0x4ea01c00 | uint32(n)<<16 | uint32(n)<<5 | uint32(d), fmt.Sprintf("mov v%d.16b, v%d.16b", d, n)}
}

// fmaxv leaves the largest lane of n in d.
func fmaxv(d, n reg) instruction {
	return instruction{0x6e30f800 | uint32(n)<<5 | uint32(d), fmt.Sprintf("fmaxv s%d, v%d.4s", d, n)}
}

// addpd leaves the sum of the two halves of n, whole numbers, in d.
func addpd(d, n reg) instruction {
	return instruction{0x5ef1b800 | uint32(n)<<5 | uint32(d), fmt.Sprintf("addp d%d, v%d.2d", d, n)}
}

// fmuls multiplies the first lanes.
func fmuls(d, n, m reg) instruction {
	return instruction{0x1e200800 | uint32(m)<<16 | uint32(n)<<5 | uint32(d), fmt.Sprintf("fmul s%d, s%d, s%d", d, n, m)}
}

// fcvtsh makes a single of the half in the first lane.
func fcvtsh(d, n reg) instruction {
	return instruction{0x1ee24000 | uint32(n)<<5 | uint32(d), fmt.Sprintf("fcvt s%d, h%d", d, n)}
}

// ldrh loads a half.
func ldrh(d reg, base gp, offset int) instruction {
	return instruction{0x7d400000 | uint32(offset/2)<<10 | uint32(base)<<5 | uint32(d), fmt.Sprintf("ldr h%d, [x%d, #%d]", d, base, offset)}
}
