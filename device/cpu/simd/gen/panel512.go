package main

import (
	"fmt"

	"github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// A panel is columns from one on up to another of all that a product adds up: as many as the first cache keeps the activations of while rows of weights come by. A
// routine adds up one of them for some rows; the sums of these wait in memory from panel to panel, as vectors, so that they are added up in the same order whatever the
// panels.
type panel struct {
	*asm
	sums, from operand.Mem
	rest       operand.Mem // columns behind the panel
}

const panelParameters = "from, to, dim int, sums *[4096]float32"

// panel is that of a routine with these parameters, and the column that it begins at and how many it has, in registers.
func (a *asm) panel() (p panel, from, columns reg.GPVirtual) {
	p = panel{a, a.slot(a.Param("sums")), a.slot(a.Param("from")), a.slot(a.Param("to"))}
	from, columns = a.integer("from"), a.integer("to")
	rest := a.integer("dim")
	a.SUBQ(columns, rest)
	a.SUBQ(from, columns)
	a.MOVQ(rest, p.rest)
	return p, from, columns
}

// begin is so many sums, zeros in the first panel.
func (p panel) begin(n int) []reg.VecVirtual {
	resumed, begun := p.label("resumed"), p.label("begun")
	p.CMPQ(p.from, operand.U8(0))
	p.JNE(operand.LabelRef(resumed))
	v := p.zeroed(n)
	p.JMP(operand.LabelRef(begun))
	p.Label(resumed)
	sums := p.GP64()
	p.MOVQ(p.sums, sums)
	for i, v := range v {
		p.VMOVUPS(at(sums, 64*i), v)
	}
	p.Label(begun)
	return v
}

// end stores sums for the next panel, or behind the last one has finish store what they come to.
func (p panel) end(v []reg.VecVirtual, finish func()) {
	last, ended := p.label("last"), p.label("ended")
	p.CMPQ(p.rest, operand.U8(0))
	p.JEQ(operand.LabelRef(last))
	sums := p.GP64()
	p.MOVQ(p.sums, sums)
	for i, v := range v {
		p.VMOVUPS(v, at(sums, 64*i))
	}
	p.JMP(operand.LabelRef(ended))
	p.Label(last)
	finish()
	p.Label(ended)
	p.ADDQ(operand.U32(64*len(v)), p.sums)
}

// panelDoc says what a routine does, with weight an element of the weights.
func panelDoc(name, weight string, vectors int) string {
	return fmt.Sprintf("%s is\n\n\tfor h := range %d {\n\t\tfor j := range n {\n\t\t\tfor i := from; i < to; i++ {\n\t\t\t\ts[h*stride+j] += q[h*dim+i] * %s // from 0\n\t\t\t}\n\t\t}\n\t}\n\n"+
		"but that s is set when to is dim, and sums has what it would be until then, for panels of the same rows that come one after the other.", name, vectors, weight)
}
