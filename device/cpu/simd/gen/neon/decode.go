package main

import "fmt"

// How numbers of 8, 6 or 4 bits become float32.

// octets spreads bytes over the words of vectors, one in the highest byte of each word, where a conversion from fixed point reads
// it: a number of a vector of four takes two instructions.
type octets struct {
	*asm
	places []reg // where the bytes of each four go
	fixed  func(d, n reg, by int) instruction
}

func newOctets(a *asm, signed bool) octets {
	var places [4][16]byte
	for quad := range places {
		for i := range places[quad] {
			places[quad][i] = 0xff // none
			if i%4 == 3 {
				places[quad][i] = byte(4*quad + i/4)
			}
		}
	}
	o := octets{asm: a, places: a.tables("places", places[:]...), fixed: ucvtfFixed}
	if signed {
		o.fixed = scvtfFixed
	}
	return o
}

// each calls use with four numbers at a time of the sixteen in raw, each of which is 2^fraction times what it stands for.
func (o octets) each(raw reg, fraction int, use func(quad int, v reg)) {
	for quad, place := range o.places {
		v := o.vec()
		o.do(tbl(v, raw, place), o.fixed(v, v, 24+fraction))
		use(quad, v)
		o.free(v)
	}
}

// nibbles looks up q-8, for q of four bits, as halves: their upper bytes suffice, since each of the sixteen has at most three
// significant bits.
type nibbles struct {
	*asm
	mask, halves, zero reg
}

func newNibbles(a *asm) nibbles {
	n := nibbles{asm: a, mask: a.vec(), zero: a.vec()}
	n.halves = a.tables("fromEight", [16]byte{0xc8, 0xc7, 0xc6, 0xc5, 0xc4, 0xc2, 0xc0, 0xbc, 0, 0x3c, 0x40, 0x42, 0x44, 0x45, 0x46, 0x47})[0]
	a.do(movi(n.mask, 15), movi(n.zero, 0))
	return n
}

// low replaces bytes by the upper bytes of the halves of their lower four bits, high by those of their upper four.
func (n nibbles) low(v, raw reg)  { n.do(and(v, raw, n.mask), tbl(v, n.halves, v)) }
func (n nibbles) high(v, raw reg) { n.do(ushr(v, raw, 4), tbl(v, n.halves, v)) }

// each calls use with four numbers at a time of those whose halves have the sixteen upper bytes.
func (n nibbles) each(upper reg, use func(quad int, v reg)) {
	for i, zip := range []func(d, n, m reg) instruction{zip1b, zip2b} {
		h := n.vec()
		n.do(zip(h, n.zero, upper))
		n.eight(h, func(quad int, v reg) { use(2*i+quad, v) })
		n.free(h)
	}
}

// eight calls use with four at a time of eight halves.
func (n nibbles) eight(h reg, use func(quad int, v reg)) {
	v := n.vec()
	n.do(fcvtl(v, h))
	use(0, v)
	n.do(fcvtl2(v, h))
	use(1, v)
	n.free(v)
}

// A blockFormat is how a routine reads blocks of quantized weights, group by group; a group shares a scale. A block is read in
// parts, for which there is the same code, by a register that goes through it and up to one more.
type blockFormat struct {
	name     string
	elements int
	bytes    int
	group    int
	numbers  int  // of float32 that are worked out for a block first, and wait in memory
	least    bool // the second half of them are minimums
	parts    int
	extra    int // registers
	rest     int // bytes from where the parts end to the next block

	open  func(a *asm) any                                                         // what is kept in registers for all blocks
	begin func(a *asm, block, numbers gp, fromEight bool)                          // works out a block's numbers
	place func(a *asm, at gp, extra []gp)                                          // goes from a block's start to its first part
	next  func(a *asm, at gp, extra []gp)                                          // goes to the next part
	each  func(a *asm, kept any, at gp, extra []gp, group int, use func(int, reg)) // the elements of a group of the part, four at a time
}

// groups is how many there are in a part.
func (f *blockFormat) groups() int { return f.elements / f.group / f.parts }

var blockFormats = []blockFormat{
	{name: "Q8_0", bytes: 34, elements: 32, group: 32, parts: 1, rest: 34,
		open: func(a *asm) any { return newOctets(a, true) },
		each: func(a *asm, kept any, at gp, _ []gp, _ int, use func(int, reg)) {
			for i := range 2 {
				raw := a.vec()
				a.ldq(raw, at, 2+16*i)
				kept.(octets).each(raw, 0, func(quad int, v reg) { use(4*i+quad, v) })
				a.free(raw)
			}
		}},
	{name: "Q4_0", bytes: 18, elements: 32, group: 32, parts: 1, rest: 18,
		open: func(a *asm) any { return newNibbles(a) },
		each: func(a *asm, kept any, at gp, _ []gp, _ int, use func(int, reg)) {
			n, raw, upper := kept.(nibbles), a.vec(), a.vec()
			a.ldq(raw, at, 2)
			n.low(upper, raw)
			n.each(upper, use)
			n.high(upper, raw)
			n.each(upper, func(quad int, v reg) { use(4+quad, v) })
			a.free(raw, upper)
		}},
	// Of Q4_K, a part is two groups, whose elements are the lower and the upper four bits of 32 bytes.
	{name: "Q4_K", bytes: 144, elements: 256, group: 32, numbers: 16, least: true, parts: 4,
		open:  func(a *asm) any { return newNibbles(a) },
		begin: numbersQ4_K,
		place: func(a *asm, at gp, _ []gp) { a.advance(16, at) },
		next:  func(a *asm, at gp, _ []gp) { a.advance(32, at) },
		each: func(a *asm, kept any, at gp, _ []gp, group int, use func(int, reg)) {
			n := kept.(nibbles)
			for i := range 2 {
				upper := a.vec()
				a.ldq(upper, at, 16*i)
				if group == 0 {
					n.low(upper, upper)
				} else {
					n.high(upper, upper)
				}
				n.each(upper, func(quad int, v reg) { use(4*i+quad, v) })
				a.free(upper)
			}
		}},
	// Of Q6_K, a part is half of a block: 64 bytes with the lower four bits, and 32 with the upper two.
	{name: "Q6_K", bytes: 210, elements: 256, group: 16, numbers: 16, parts: 2, extra: 1, rest: 210 - 128,
		open: func(a *asm) any {
			k := sixes{octets: newOctets(a, true), lower: a.vec(), sign: a.vec()}
			a.do(movi(k.lower, 0x3c), movi(k.sign, 0x80))
			return k
		},
		begin: numbersQ6_K,
		place: func(a *asm, at gp, extra []gp) { a.line("ADD\t$128, %v, %v", at, extra[0]) },
		next: func(a *asm, at gp, extra []gp) {
			a.advance(64, at)
			a.advance(32, extra[0])
		},
		each: func(a *asm, kept any, at gp, extra []gp, group int, use func(int, reg)) {
			k, quarter, half := kept.(sixes), group/2, group%2*16
			v, high := a.vec(), a.vec()
			a.ldq(v, at, quarter%2*32+half)
			a.ldq(high, extra[0], half)
			// Four times the element: its lower bits in the middle, its upper two on top.
			if quarter < 2 {
				a.do(shl16b(v, v, 2))
			} else {
				a.do(ushr(v, v, 2), and(v, v, k.lower))
			}
			if quarter > 0 {
				a.do(ushr(high, high, 2*quarter))
			}
			a.do(sli(v, high, 6), eor(v, v, k.sign)) // less 32, as a signed number
			a.free(high)
			k.each(v, 2, use)
			a.free(v)
		}},
}

// sixes is what Q6_K keeps.
type sixes struct {
	octets
	lower, sign reg
}

// numbersQ4_K stores the eight scales d s, and then the eight minimums dmin m, or else, for elements q-8, what is to be subtracted
// from those: dmin m - 8 d s. Scales and minimums from the fifth on have their upper two bits elsewhere; eight are worked out at a
// time.
func numbersQ4_K(a *asm, block, numbers gp, fromEight bool) {
	lower, upper, part := a.general(), a.general(), a.general()
	factor, scales := a.vec(), a.vecs(2)
	for kind := range 2 { // scales, minimums
		a.line("MOVWU\t%d(%v), %v", 4+4*kind, block, lower)
		a.line("MOVWU\t12(%v), %v", block, upper)
		if kind == 1 {
			a.line("LSRW\t$4, %v", upper)
		}
		a.line("ANDW\t$0x0f0f0f0f, %v", upper)
		a.line("LSRW\t$2, %v, %v", lower, part)
		a.line("ANDW\t$0x30303030, %v", part)
		a.line("ORRW\t%v, %v", part, upper)
		a.line("ANDW\t$0x3f3f3f3f, %v", lower)
		a.line("ORR\t%v<<32, %v", upper, lower)
		bytes, words := a.vec(), a.vecs(2)
		a.line("FMOVD\t%v, F%d", lower, bytes)
		a.do(uxtlb(bytes, bytes), uxtlh(words[0], bytes), uxtlh2(words[1], bytes))
		a.do(ldrh(factor, block, 2*kind), fcvtsh(factor, factor))
		for i, v := range words {
			a.do(ucvtf(v, v), fmulLane(v, v, factor, 0))
			switch {
			case kind == 0:
				a.do(mov(scales[i], v))
			case fromEight:
				eight := a.word(0x41000000)
				a.do(fmls(v, scales[i], eight))
				a.free(eight)
			}
			a.stq(v, numbers, 32*kind+16*i)
		}
		a.free(bytes)
		a.free(words...)
	}
	a.free(scales...)
	a.free(factor)
	a.drop(lower, upper, part)
}

// numbersQ6_K stores the sixteen scales d s.
func numbersQ6_K(a *asm, block, numbers gp, _ bool) {
	raw, factor := a.vec(), a.vec()
	a.ldq(raw, block, 192)
	a.do(ldrh(factor, block, 208), fcvtsh(factor, factor))
	for i, half := range []func(d, n reg) instruction{sxtlb, sxtlb2} {
		h := a.vec()
		a.do(half(h, raw))
		for j, quarter := range []func(d, n reg) instruction{sxtlh, sxtlh2} {
			v := a.vec()
			a.do(quarter(v, h), scvtf(v, v), fmulLane(v, v, factor, 0))
			a.stq(v, numbers, 32*i+16*j)
			a.free(v)
		}
		a.free(h)
	}
	a.free(raw, factor)
}

// file is the format's part of file names.
func (f *blockFormat) file() string {
	return map[string]string{"Q8_0": "q8_0", "Q4_0": "q4_0", "Q4_K": "q4_k", "Q6_K": "q6_k"}[f.name]
}

// local sets r to the start of the routine's frame, which has so many bytes.
func (a *asm) local(r gp, bytes int) {
	a.frame = bytes
	a.line("MOVD\t$numbers-%d(SP), %v", bytes, r)
}

// expansions write what quantized weights stand for, in just the bits of package quant.
var expansions = func() []routine {
	var rs []routine
	for _, f := range blockFormats {
		rs = append(rs, routine{"from_" + f.file(), func(a *asm) { fromBlocks(a, &f) }})
	}
	for _, bits := range []int{4, 8} {
		rs = append(rs, routine{fmt.Sprintf("from_affine%d", bits), func(a *asm) { fromAffine(a, bits) }})
	}
	return rs
}()

func fromBlocks(a *asm, f *blockFormat) {
	name := "from" + f.name + "NEON"
	a.begin(name, "func(dst []float32, src []byte)",
		is(name, fmt.Sprintf("for i := range dst {\n\tdst[i] = src[i] // as %s\n}", f.name), fmt.Sprintf("for len(dst) a multiple of %d.", f.elements)))
	dst, src, n := a.ptr("dst"), a.ptr("src"), a.length("dst")
	kept := f.open(a)
	number, minimum, left := a.general(), a.general(), a.general()
	var eight reg
	if f.least {
		eight = a.word(0x41000000)
	}
	extra := a.generalsOf(f.extra)
	a.repeat(n, f.elements, func() {
		if f.numbers > 0 {
			a.local(number, 4*f.numbers)
			f.begin(a, src, number, false)
			a.line("ADD\t$%d, %v, %v", 2*f.numbers, number, minimum)
			f.place(a, src, extra)
		}
		a.each(f, left, func() {
			for g := range f.groups() {
				scale, least := a.vec(), a.vec()
				if f.numbers == 0 {
					a.do(ldrh(scale, src, 0), fcvtsh(scale, scale))
				} else {
					a.line("FMOVS.P\t4(%v), F%d", number, scale)
				}
				if f.least {
					a.line("VLD1R.P\t4(%v), [V%d.S4]", minimum, least)
				}
				f.each(a, kept, src, extra, g, func(quad int, v reg) {
					if f.least {
						a.do(fadd(v, v, eight), fmulLane(v, v, scale, 0), fsub(v, v, least))
					} else {
						a.do(fmulLane(v, v, scale, 0))
					}
					a.putq(v, dst)
				})
				a.free(scale, least)
			}
			if f.next != nil {
				f.next(a, src, extra)
			}
		})
		a.advance(f.rest, src)
	})
}

// each is a loop over a block's parts.
func (a *asm) each(f *blockFormat, count gp, part func()) {
	if f.parts == 1 {
		part()
		return
	}
	a.line("MOVD\t$%d, %v", f.parts, count)
	a.repeat(count, 1, part)
}

// pairs calls use with the 32 numbers less eight of sixteen bytes at p, of which a byte has one in its lower four bits and the next
// in its upper.
func (n nibbles) pairs(p gp, use func(quad int, v reg)) {
	low, high, upper := n.vec(), n.vec(), n.vec()
	n.ldq(high, p, 0)
	n.low(low, high)
	n.high(high, high)
	for i, zip := range []func(d, n, m reg) instruction{zip1b, zip2b} {
		n.do(zip(upper, low, high))
		n.each(upper, func(quad int, v reg) { use(4*i+quad, v) })
	}
	n.free(low, high, upper)
}

// An affine is how MLX's groups of 4 or 8 bits become numbers.
type affine struct {
	*asm
	bits    int
	octets  octets
	nibbles nibbles
}

func newAffine(a *asm, bits int) affine {
	if bits == 4 {
		return affine{asm: a, bits: bits, nibbles: newNibbles(a)}
	}
	return affine{asm: a, bits: bits, octets: newOctets(a, false)}
}

// each calls use with 32 numbers at p, those of four bits less eight.
func (f affine) each(p gp, use func(quad int, v reg)) {
	if f.bits == 4 {
		f.nibbles.pairs(p, use)
		return
	}
	for i := range 2 {
		raw := f.vec()
		f.ldq(raw, p, 16*i)
		f.octets.each(raw, 0, func(quad int, v reg) { use(4*i+quad, v) })
		f.free(raw)
	}
}

func fromAffine(a *asm, bits int) {
	name := fmt.Sprintf("fromAffine%dNEON", bits)
	a.begin(name, "func(dst []float32, q []byte, scales, biases []float32, group int)",
		is(name, "for i := range dst {\n\tdst[i] = scales[i/group]*q[i] + biases[i/group]\n}", fmt.Sprintf("for q of %d bits, group a multiple of 32 and len(dst) of group.", bits)))
	dst, q, scales, biases := a.ptr("dst"), a.ptr("q"), a.ptr("scales"), a.ptr("biases")
	n, group := a.length("dst"), a.integer("group")
	f, scale, bias := newAffine(a, bits), a.vec(), a.vec()
	var eight reg
	if bits == 4 {
		eight = a.word(0x41000000)
	}
	inside := a.general()
	a.repeat(n, 32, func() {
		a.line("FMOVS.P\t4(%v), F%d", scales, scale)
		a.line("VLD1R.P\t4(%v), [V%d.S4]", biases, bias)
		a.line("MOVD\t%v, %v", group, inside)
		a.line("SUB\t%v, %v", group, n)
		a.repeat(inside, 32, func() {
			f.each(q, func(_ int, v reg) {
				if bits == 4 {
					a.do(fadd(v, v, eight))
				}
				a.do(fmulLane(v, v, scale, 0), fadd(v, v, bias))
				a.putq(v, dst)
			})
			a.advance(4*bits, q)
		})
		a.advance(32, n) // which the loop takes off
	})
}
