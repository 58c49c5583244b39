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

// lanes is the number of float32 in one vector of AVX2.
const lanes = 8

// asm is the context of one file, with what the routines share.
type asm struct {
	*build.Context
	wide   bool // vectors are those of AVX-512
	roomy  bool // many of them are free
	atOnce bool // memory is asked for into the first cache, rather than into the second
	bytes  bool // weights are written as bytes, rather than as words
	once   bool // weights may be rounded once where their twins are rounded twice
	consts map[string]operand.Mem
	labels int

	exponential *exponential              // for AVX-512, where it is held
	held        map[string]reg.VecVirtual // constants of the exponential for AVX2
}

// lanes is the number of float32 in one vector.
func (a *asm) lanes() int {
	if a.wide {
		return 2 * lanes
	}
	return lanes
}

// vec is a new vector.
func (a *asm) vec() reg.VecVirtual {
	if a.wide {
		return a.ZMM()
	}
	return a.YMM()
}

// suffix ends the names of routines.
func (a *asm) suffix() string {
	if a.wide {
		return "AVX512"
	}
	return "AVX2"
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
		v[i] = a.vec()
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

// splat is a vector constant in memory, the same float32 in each lane.
func (a *asm) splat(name string, v float32) operand.Mem {
	return a.list(name, func(int) float32 { return v })
}

// list is a vector constant in memory.
func (a *asm) list(name string, lane func(i int) float32) operand.Mem {
	return a.words(name, func(i int) uint32 { return math.Float32bits(lane(i)) })
}

// words is a vector constant in memory, given as bits: the assembler takes no infinity, and whole numbers as
// integers.
func (a *asm) words(name string, lane func(i int) uint32) operand.Mem {
	return a.constant(name, func() {
		for i := range a.lanes() {
			a.AddDatum(4*i, operand.U32(lane(i)))
		}
	})
}

// constant is memory that fill describes, made once in each file.
func (a *asm) constant(name string, fill func()) operand.Mem {
	if m, ok := a.consts[name]; ok {
		return m
	}
	if a.consts == nil {
		a.consts = map[string]operand.Mem{}
	}
	m := a.StaticGlobal(name)
	a.DataAttributes(attr.RODATA | attr.NOPTR)
	fill()
	a.consts[name] = m
	return m
}

// sum leaves the sum of the lanes of v in its lowest element.
func (a *asm) sum(v reg.VecVirtual) {
	t := a.XMM()
	if a.wide {
		h := a.YMM()
		a.VEXTRACTF64X4(operand.U8(1), v, h)
		a.VADDPS(h, v.AsY(), v.AsY())
	}
	a.upper(v.AsY(), t)
	a.VADDPS(t, v.AsX(), v.AsX())
	a.VMOVHLPS(v.AsX(), v.AsX(), t)
	a.VADDPS(t, v.AsX(), v.AsX())
	a.VMOVSHDUP(v.AsX(), t)
	a.VADDSS(t, v.AsX(), v.AsX())
}

// upper is the upper half of a vector of AVX2. That of AVX2 reaches half of the registers only.
func (a *asm) upper(v reg.Register, x reg.VecVirtual) {
	if a.wide {
		a.VEXTRACTF32X4(operand.U8(1), v, x)
	} else {
		a.VEXTRACTF128(operand.U8(1), v, x)
	}
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

// ahead loads the parameter next, what to ask for meanwhile; where it ends takes the place of its length.
func (a *asm) ahead() (next reg.GPVirtual, limit operand.Mem) {
	next, limit = a.ptr("next"), a.slot(a.Param("next").Len())
	a.ADDQ(next, limit)
	return next, limit
}

// prefetch asks for so many bytes at next, and moves it on, to limit at most.
func (a *asm) prefetch(next reg.GPVirtual, limit operand.Mem, bytes int) {
	for disp := 0; disp < bytes; disp += cacheLine {
		if a.atOnce {
			a.PREFETCHT0(at(next, disp))
		} else {
			a.PREFETCHT1(at(next, disp))
		}
	}
	a.advance(next, limit, bytes)
}

// advance moves next on by so many bytes, to limit at most.
func (a *asm) advance(next reg.GPVirtual, limit operand.Mem, bytes int) {
	a.advanceBy(next, limit, operand.U32(bytes))
}

// advanceBy is advance by so many bytes as a register holds.
func (a *asm) advanceBy(next reg.GPVirtual, limit operand.Mem, bytes operand.Op) {
	a.ADDQ(bytes, next)
	a.CMPQ(next, limit)
	a.CMOVQHI(limit, next)
}

// nearBytes is how far ahead of its use memory is brought from the second cache into the first.
const nearBytes = 2048

// near asks for what a routine is about to read to be brought from the second cache into the first: a load that finds it
// only in the second waits for a line fill buffer, all of which what comes from memory takes.
type near struct {
	*asm
	at  reg.GPVirtual
	end operand.Mem
}

// near begins at a slice parameter, whose length's place it takes for where it ends.
func (a *asm) near(name string) near {
	n := near{a, a.ptr(name), a.slot(a.Param(name).Len())}
	a.ADDQ(n.at, n.end)
	a.ADDQ(operand.U32(nearBytes), n.at)
	a.CMPQ(n.at, n.end)
	a.CMOVQHI(n.end, n.at)
	return n
}

// orNext has n begin at next instead, and nothing left of that, where memory is to come into the first cache at once.
func (n near) orNext(next reg.GPVirtual, limit operand.Mem) near {
	begin := n.label("begin")
	n.CMPB(operand.NewDataAddr(operand.Symbol{Name: "·direct"}, 0), operand.U8(0))
	n.JEQ(operand.LabelRef(begin))
	n.MOVQ(next, n.at)
	n.MOVQ(limit, next)
	n.MOVQ(next, n.end)
	n.LEAQ(limit, next) // which the first cache has: else the requests for nothing would keep the second busy
	n.MOVQ(next, limit)
	n.Label(begin)
	return n
}

// ask asks for so many bytes more.
func (n near) ask(bytes int) {
	for disp := 0; disp < bytes; disp += cacheLine {
		n.PREFETCHT0(at(n.at, disp))
	}
	n.advance(n.at, n.end, bytes)
}
