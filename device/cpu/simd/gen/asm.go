package main

import (
	"fmt"
	"math"
	"strings"

	"github.com/mmcloughlin/avo/attr"
	"github.com/mmcloughlin/avo/build"
	"github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// lanes is the number of float32 in one vector.
const lanes = 8

// asm is the context of one file, with what the routines share.
type asm struct {
	*build.Context
	consts map[string]operand.Mem
	labels int
}

// begin starts a routine.
func (a *asm) begin(name, signature string, doc ...string) {
	a.Function(name)
	a.Attributes(attr.NOSPLIT)
	a.Pragma("noescape")
	a.SignatureExpr(signature)
	a.Doc(strings.Split(strings.Join(doc, "\n"), "\n")...)
}

// ptr loads the base of a slice parameter.
func (a *asm) ptr(name string) reg.GPVirtual {
	r := a.GP64()
	a.Load(a.Param(name).Base(), r)
	return r
}

// length loads the length of a slice parameter.
func (a *asm) length(name string) reg.GPVirtual {
	r := a.GP64()
	a.Load(a.Param(name).Len(), r)
	return r
}

// integer loads an int parameter.
func (a *asm) integer(name string) reg.GPVirtual {
	r := a.GP64()
	a.Load(a.Param(name), r)
	return r
}

// copyOf is a new register with the value of r.
func (a *asm) copyOf(r reg.GPVirtual) reg.GPVirtual {
	c := a.GP64()
	a.MOVQ(r, c)
	return c
}

// zeroed is n vectors of zeros.
func (a *asm) zeroed(n int) []reg.VecVirtual {
	v := make([]reg.VecVirtual, n)
	for i := range v {
		v[i] = a.YMM()
		a.VXORPS(v[i], v[i], v[i])
	}
	return v
}

// label makes a name that is unique in the file.
func (a *asm) label(name string) string {
	a.labels++
	return fmt.Sprintf("%s%d", name, a.labels)
}

// repeat runs body while n >= step, taking step off n each time.
func (a *asm) repeat(n reg.GPVirtual, step int, body func()) {
	top, end := a.label("loop"), a.label("end")
	a.CMPQ(n, operand.U32(step))
	a.JLT(operand.LabelRef(end))
	a.Label(top)
	body()
	a.SUBQ(operand.U32(step), n)
	a.CMPQ(n, operand.U32(step))
	a.JGE(operand.LabelRef(top))
	a.Label(end)
}

// splat is a vector constant in memory, eight times the same float32.
func (a *asm) splat(name string, v float32) operand.Mem {
	if m, ok := a.consts[name]; ok {
		return m
	}
	if a.consts == nil {
		a.consts = map[string]operand.Mem{}
	}
	m := a.StaticGlobal(name)
	a.DataAttributes(attr.RODATA | attr.NOPTR)
	for i := range lanes {
		a.AddDatum(4*i, operand.U32(math.Float32bits(v))) // as bits: the assembler takes no infinity
	}
	a.consts[name] = m
	return m
}

// sum leaves the sum of the lanes of v in its lowest element.
func (a *asm) sum(v reg.VecVirtual) {
	t := a.XMM()
	a.VEXTRACTF128(operand.U8(1), v, t)
	a.VADDPS(t, v.AsX(), v.AsX())
	a.VMOVHLPS(v.AsX(), v.AsX(), t)
	a.VADDPS(t, v.AsX(), v.AsX())
	a.VMOVSHDUP(v.AsX(), t)
	a.VADDSS(t, v.AsX(), v.AsX())
}

// at is the memory disp bytes after base.
func at(base reg.GPVirtual, disp int) operand.Mem {
	return operand.Mem{Base: base, Disp: disp}
}

// atIndex is the memory at base + index*scale + disp.
func atIndex(base, index reg.GPVirtual, scale uint8, disp int) operand.Mem {
	return operand.Mem{Base: base, Index: index, Scale: scale, Disp: disp}
}

// format is how a routine reads stored elements.
type format struct {
	name  string
	bytes int
}

// formats are the stored formats of weights.
var formats = []format{{"F32", 4}, {"F16", 2}, {"BF16", 2}}

// load reads eight stored elements as float32.
func (a *asm) load(f format, m operand.Mem, v reg.VecVirtual) {
	switch f.name {
	case "F32":
		a.VMOVUPS(m, v)
	case "F16":
		a.VCVTPH2PS(m, v)
	case "BF16":
		a.VPMOVZXWD(m, v)
		a.VPSLLD(operand.U8(16), v, v)
	}
}
