package main

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"go/ast"
	"go/parser"
	"slices"
	"strings"
)

// gp is one of the general registers.
type gp uint32

func (r gp) String() string { return fmt.Sprintf("R%d", uint32(r)) }

// asm writes one routine. Registers are taken and given back by hand; taking one too many is a mistake in this program, and panics.
type asm struct {
	name, signature string
	doc             []string

	frame     int // bytes of locals
	arguments int
	offsets   map[string]int

	text   bytes.Buffer
	data   bytes.Buffer
	labels int

	generals []gp // that are free
	vectors  []reg
}

func newASM() *asm {
	a := &asm{offsets: map[string]int{}}
	for r := 26; r >= 0; r-- { // those above are Go's
		if r != 18 { // the platform's
			a.generals = append(a.generals, gp(r))
		}
	}
	for v := 31; v >= 0; v-- {
		a.vectors = append(a.vectors, reg(v))
	}
	return a
}

// begin starts a routine with a Go signature, func(…), and the lines of its comment.
func (a *asm) begin(name, signature string, doc ...string) {
	a.name, a.signature, a.doc = name, strings.TrimPrefix(signature, "func"), strings.Split(strings.Join(doc, "\n"), "\n")
	e, err := parser.ParseExpr(signature)
	if err != nil {
		panic(err)
	}
	f := e.(*ast.FuncType)
	at := 0
	place := func(fields *ast.FieldList) {
		for _, field := range fields.List {
			for _, name := range field.Names {
				size, parts := 8, []string{""}
				switch t := field.Type.(type) {
				case *ast.ArrayType:
					parts = []string{"_base", "_len", "_cap"}
				case *ast.Ident:
					size = map[string]int{"int": 8, "uint64": 8, "float32": 4, "bool": 1}[t.Name]
				}
				for _, part := range parts {
					at = (at + size - 1) / size * size
					a.offsets[name.Name+part] = at
					at += size
				}
			}
		}
	}
	place(f.Params)
	if f.Results != nil {
		at = (at + 7) / 8 * 8
		place(f.Results)
	}
	a.arguments = at
}

// is is the usual comment: the loop that a routine equals, and for what.
func is(name, loop, limit string) string {
	lines := name + " is\n\n\t" + indented(loop)
	if limit != "" {
		lines += "\n\n" + limit
	}
	return lines
}

// parameter is where a parameter lies.
func (a *asm) parameter(name string) string {
	offset, ok := a.offsets[name]
	if !ok {
		panic("no parameter " + name)
	}
	return fmt.Sprintf("%s+%d(FP)", name, offset)
}

// line writes an instruction of Go's assembler.
func (a *asm) line(format string, args ...any) {
	a.text.WriteByte('\t')
	fmt.Fprintf(&a.text, format, args...)
	a.text.WriteByte('\n')
}

// do writes instructions of vectors.
func (a *asm) do(is ...instruction) {
	for _, i := range is {
		a.line("WORD\t$0x%08x // %s", i.word, i.text)
	}
}

// general takes a general register.
func (a *asm) general() gp {
	if len(a.generals) == 0 {
		panic(a.name + ": no general register is left")
	}
	r := a.generals[len(a.generals)-1]
	a.generals = a.generals[:len(a.generals)-1]
	return r
}

// generalsOf takes n general registers.
func (a *asm) generalsOf(n int) []gp {
	rs := make([]gp, n)
	for i := range rs {
		rs[i] = a.general()
	}
	return rs
}

// drop gives general registers back.
func (a *asm) drop(rs ...gp) {
	for _, r := range slices.Backward(rs) {
		a.generals = append(a.generals, r)
	}
}

// vec takes a vector register.
func (a *asm) vec() reg {
	if len(a.vectors) == 0 {
		panic(a.name + ": no vector register is left")
	}
	v := a.vectors[len(a.vectors)-1]
	a.vectors = a.vectors[:len(a.vectors)-1]
	return v
}

// vecs takes n vector registers.
func (a *asm) vecs(n int) []reg {
	vs := make([]reg, n)
	for i := range vs {
		vs[i] = a.vec()
	}
	return vs
}

// zeros takes n vector registers and clears them.
func (a *asm) zeros(n int) []reg {
	vs := a.vecs(n)
	for _, v := range vs {
		a.do(movi(v, 0))
	}
	return vs
}

// free gives vector registers back.
func (a *asm) free(vs ...reg) {
	for _, v := range slices.Backward(vs) {
		a.vectors = append(a.vectors, v)
	}
}

// ptr loads the base of a slice parameter, length its length, integer an int or pointer parameter.
func (a *asm) ptr(name string) gp    { return a.integer(name + "_base") }
func (a *asm) length(name string) gp { return a.integer(name + "_len") }

func (a *asm) integer(name string) gp {
	r := a.general()
	a.line("MOVD\t%s, %v", a.parameter(name), r)
	return r
}

// copyOf is a new register with the value of r.
func (a *asm) copyOf(r gp) gp {
	c := a.general()
	a.line("MOVD\t%v, %v", r, c)
	return c
}

// shifted is a new register with r times 2^by.
func (a *asm) shifted(r gp, by int) gp {
	c := a.general()
	a.line("LSL\t$%d, %v, %v", by, r, c)
	return c
}

// rows takes n registers, for base, base + row, base + 2 row and so on.
func (a *asm) rows(base, row gp, n int) []gp {
	rs := a.generalsOf(n)
	a.place(rs, base, row)
	return rs
}

// place sets registers to base, base + row, base + 2 row and so on.
func (a *asm) place(rs []gp, base, row gp) {
	a.line("MOVD\t%v, %v", base, rs[0])
	for i := 1; i < len(rs); i++ {
		a.line("ADD\t%v, %v, %v", row, rs[i-1], rs[i])
	}
}

// label makes a name that is unique in the routine.
func (a *asm) label(name string) string {
	a.labels++
	return fmt.Sprintf("%s%d", name, a.labels)
}

// mark puts a label.
func (a *asm) mark(label string) { fmt.Fprintf(&a.text, "%s:\n", label) }

// repeat runs body while n >= step, taking step off n each time.
func (a *asm) repeat(n gp, step int, body func()) {
	top, end := a.label("loop"), a.label("end")
	a.line("CMP\t$%d, %v", step, n)
	a.line("BLT\t%s", end)
	a.mark(top)
	body()
	a.line("SUB\t$%d, %v", step, n)
	a.line("CMP\t$%d, %v", step, n)
	a.line("BGE\t%s", top)
	a.mark(end)
}

// Loads and stores of a vector (q), of its lower half (d) and of its first lane (s).

func (a *asm) ldq(v reg, base gp, offset int) { a.line("FMOVQ\t%d(%v), F%d", offset, base, v) }
func (a *asm) ldd(v reg, base gp, offset int) { a.line("FMOVD\t%d(%v), F%d", offset, base, v) }
func (a *asm) lds(v reg, base gp, offset int) { a.line("FMOVS\t%d(%v), F%d", offset, base, v) }
func (a *asm) stq(v reg, base gp, offset int) { a.line("FMOVQ\tF%d, %d(%v)", v, offset, base) }
func (a *asm) std(v reg, base gp, offset int) { a.line("FMOVD\tF%d, %d(%v)", v, offset, base) }
func (a *asm) sts(v reg, base gp, offset int) { a.line("FMOVS\tF%d, %d(%v)", v, offset, base) }

// nextq loads a vector and moves base on to the next.
func (a *asm) nextq(v reg, base gp) { a.line("FMOVQ.P\t16(%v), F%d", base, v) }

// putq stores a vector and moves base on.
func (a *asm) putq(v reg, base gp) { a.line("FMOVQ.P\tF%d, 16(%v)", v, base) }

// advance adds a constant to registers.
func (a *asm) advance(by int, rs ...gp) {
	if by == 0 {
		return
	}
	for _, r := range rs {
		a.line("ADD\t$%d, %v", by, r)
	}
}

// word takes a vector with the same 32 bits in each lane.
func (a *asm) word(bits uint32) reg {
	v, r := a.vec(), a.general()
	a.line("MOVD\t$0x%08x, %v", bits, r)
	a.line("VDUP\t%v, V%d.S4", r, v)
	a.drop(r)
	return v
}

// broadcast takes a vector with a float32 parameter in each lane.
func (a *asm) broadcast(name string) reg {
	v := a.vec()
	a.line("FMOVS\t%s, F%d", a.parameter(name), v)
	a.do(dup(v, v, 0))
	return v
}

// tables takes vectors of sixteen bytes each, from a constant of that name.
func (a *asm) tables(name string, values ...[16]byte) []reg {
	for i, bytes := range values {
		for half := range 2 {
			fmt.Fprintf(&a.data, "DATA %s<>+%d(SB)/8, $0x%016x\n", name, 16*i+8*half, binary.LittleEndian.Uint64(bytes[8*half:]))
		}
	}
	fmt.Fprintf(&a.data, "GLOBL %s<>(SB), RODATA|NOPTR, $%d\n\n", name, 16*len(values))
	r, vs := a.general(), a.vecs(len(values))
	a.line("MOVD\t$%s<>(SB), %v", name, r)
	for i, v := range vs {
		a.ldq(v, r, 16*i)
	}
	a.drop(r)
	return vs
}

// laneSums stores, for each of so many vectors of results, the sums of the lanes of rows accumulators, a stride apart from out on. However many rows
// there are, a sum is (l0 + l1) + (l2 + l3).
func (a *asm) laneSums(acc []reg, rows int, out, stride gp) {
	vectors := len(acc) / rows
	switch {
	case rows == 1:
		for _, v := range acc {
			a.do(faddp(v, v, v), faddp(v, v, v))
			a.sts(v, out, 0)
			a.line("ADD\t%v, %v", stride, out)
		}
	case rows == 2:
		for i := 0; i < len(acc); i += 4 {
			a.do(faddp(acc[i], acc[i], acc[i+1]), faddp(acc[i+2], acc[i+2], acc[i+3]), faddp(acc[i], acc[i], acc[i+2]))
			a.std(acc[i], out, 0)
			a.line("ADD\t%v, %v", stride, out)
			a.line("VST1\tV%d.D[1], (%v)", acc[i], out)
			a.line("ADD\t%v, %v", stride, out)
		}
	default: // a multiple of four
		for v := range vectors {
			for i := 0; i < rows; i += 4 {
				s := acc[v*rows+i:]
				a.do(faddp(s[0], s[0], s[1]), faddp(s[2], s[2], s[3]), faddp(s[0], s[0], s[2]))
				a.stq(s[0], out, 4*i)
			}
			a.line("ADD\t%v, %v", stride, out)
		}
	}
}

// file is the routine as Go's assembler reads it.
func (a *asm) file() []byte {
	var b bytes.Buffer
	b.WriteString(header + "\n#include \"textflag.h\"\n\n")
	b.Write(a.data.Bytes())
	fmt.Fprintf(&b, "// func %s%s\nTEXT ·%s(SB), NOSPLIT, $%d-%d\n", a.name, a.signature, a.name, a.frame, a.arguments)
	b.Write(a.text.Bytes())
	b.WriteString("\tRET\n")
	return b.Bytes()
}

// declaration is the routine as Go knows it.
func (a *asm) declaration() string {
	return "\n// " + strings.ReplaceAll(strings.Join(a.doc, "\n// "), "// \n", "//\n") + "\n//\n//go:noescape\nfunc " + a.name + a.signature + "\n"
}

// indented is the lines of a loop in a comment, but for the first.
func indented(loop string) string { return strings.ReplaceAll(loop, "\n", "\n\t") }
