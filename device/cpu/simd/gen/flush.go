package main

import (
	"github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// flushes empty caches.
var flushes = []routine{
	{"flush", func(a *asm) { a.flush("flushAsm", "CLFLUSH", a.CLFLUSH) }},
	{"flush_opt", func(a *asm) { a.flush("flushOptAsm", "CLFLUSHOPT", a.CLFLUSHOPT) }},
	{"have_flush_opt", haveFlushOpt},
}

// flush is a routine that flushes by one of two instructions.
func (a *asm) flush(name, instruction string, line func(operand.Op)) {
	a.begin(name, "func(b []byte)",
		name+" flushes the lines in which b, which is not empty, lies, by "+instruction+". What is read after it is read from memory.")
	p, end := a.ptr("b"), a.length("b")
	a.ADDQ(p, end)
	a.ANDQ(operand.I32(-cacheLine), p)
	a.Label("lines")
	line(at(p, 0))
	a.ADDQ(operand.U32(cacheLine), p)
	a.CMPQ(p, end)
	a.JCS(operand.LabelRef("lines"))
	a.MFENCE()
	a.RET()
}

func haveFlushOpt(a *asm) {
	const leaf, bit = 7, 23 // of EBX
	a.begin("haveFlushOptAsm", "func() (have bool)", "haveFlushOptAsm reports whether the processor has CLFLUSHOPT.")
	have := a.GP64()
	a.XORQ(have, have)
	a.XORL(reg.EAX, reg.EAX)
	a.XORL(reg.ECX, reg.ECX)
	a.CPUID()
	a.CMPL(reg.EAX, operand.U32(leaf))
	a.JCS(operand.LabelRef("done"))
	a.MOVL(operand.U32(leaf), reg.EAX)
	a.XORL(reg.ECX, reg.ECX)
	a.CPUID()
	a.MOVL(reg.EBX, have.As32())
	a.SHRL(operand.U8(bit), have.As32())
	a.ANDL(operand.U32(1), have.As32())
	a.Label("done")
	a.Store(have.As8(), a.Return("have"))
	a.RET()
}
