package main

import (
	"math/bits"

	"github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// A narrowWholeFormat is a wholeFormat for AVX2, whose vectors are half a step: two of its quarters.
type narrowWholeFormat struct {
	name, file string
	order      wholeOrder
	bytes      int
	affine     bool
	constants  []narrowConstant
	kept       int // of the constants, for which there are registers with one token; with more there are for all
	begin      func(p *narrowWhole) narrowReader
}

// A narrowConstant is a vector, the same word all over.
type narrowConstant struct {
	name string
	word uint16
}

var (
	upperBytes = narrowConstant{"upper", 256}
	lowerBytes = narrowConstant{"lower", 1}
	fifteens   = narrowConstant{"fifteen", 0x0f0f}
	upperPairs = narrowConstant{"pairs", 0x3030}
	evenBytes  = narrowConstant{"evenBytes", 0xff}
	ofNibbles  = []narrowConstant{fifteens, upperBytes, lowerBytes}
	ofSixths   = []narrowConstant{fifteens, upperPairs, upperBytes, lowerBytes}
)

// narrowReader reads steps of one row or four.
type narrowReader struct {
	open  func(rows []operand.Mem) narrowStep
	leave func(rows int) // behind the last step, if it is there
}

// narrowStep is a step. What four rows have lies in a vector as the rows' numbers of the half's first quarter, then those of the second.
type narrowStep struct {
	scales  func(part, half int) reg.VecVirtual // float32
	beside  func(part, half int) reg.VecVirtual // what the sums of the activations are multiplied by, right after scales was called; those if it is nil
	weights func(part, half, row int) []reg.VecVirtual
}

var narrowWholeFormats = []narrowWholeFormat{
	{"Q8_0", "q8_0", wholeInOrder.inPairs(), 4 * 34, false, nil, 0, func(p *narrowWhole) narrowReader {
		return p.blocks(34, func(m operand.Mem, half int) []reg.VecVirtual {
			var words []reg.VecVirtual
			for i := range 2 {
				v, even := p.sixteenOf(moved(m, 68*half+2+16*i), moved(m, 68*half+36+16*i)), p.YMM()
				p.VPSLLW(operand.U8(8), v, even)
				p.VPSRAW(operand.U8(8), even, even)
				p.VPSRAW(operand.U8(8), v, v)
				words = append(words, even, v)
			}
			return words
		})
	}},
	{"Q4_0", "q4_0", wholeInOrder, 4 * 18, false, ofNibbles, 3, func(p *narrowWhole) narrowReader {
		return p.blocks(18, func(m operand.Mem, half int) []reg.VecVirtual {
			v := p.sixteenOf(moved(m, 36*half+2), moved(m, 36*half+20))
			return []reg.VecVirtual{p.nibblesOf(v, false), p.nibblesOf(v, true)}
		})
	}},
	{"Q4_K", "q4_k", wholeQ4_K, 144, false, ofNibbles, 1, beginNarrowQ4_K},
	{"Q6_K", "q6_k", wholeQ6_K, 210, false, ofSixths, 2, beginNarrowQ6_K},
	{"Affine8", "affine8", wholeAffine8.inPairs(), 128, true, []narrowConstant{evenBytes}, 1, func(p *narrowWhole) narrowReader {
		return p.affine(func(m operand.Mem, half int) []reg.VecVirtual {
			var words []reg.VecVirtual
			for i := range 2 {
				v, even := p.sixteenOf(moved(m, 64*half+16*i), moved(m, 64*half+32+16*i)), p.YMM()
				p.VPAND(p.constant(evenBytes), v, even)
				p.VPSRLW(operand.U8(8), v, v)
				words = append(words, even, v)
			}
			return words
		})
	}},
	{"Affine4", "affine4", wholeAffine4, 64, true, ofNibbles, 1, func(p *narrowWhole) narrowReader {
		return p.affine(func(m operand.Mem, half int) []reg.VecVirtual {
			v := p.YMM()
			p.VMOVDQU(moved(m, 32*half), v)
			return []reg.VecVirtual{p.nibblesOf(v, false), p.nibblesOf(v, true)}
		})
	}},
}

// vnniWholeFormats are those for AVX-VNNI: weights of 8 bits gain nothing.
var vnniWholeFormats = func() []narrowWholeFormat {
	var formats []narrowWholeFormat
	for _, f := range narrowWholeFormats {
		if !f.order.pairs {
			f.constants = f.constants[:len(f.constants)-2] // without those that put bytes together
			f.kept = len(f.constants)
			formats = append(formats, f)
		}
	}
	return formats
}()

// sixteenOf is sixteen bytes in each half.
func (a *asm) sixteenOf(low, high operand.Mem) reg.VecVirtual {
	v := a.YMM()
	a.VBROADCASTI128(low, v)
	a.VINSERTI128(operand.U8(1), high, v, v)
	return v
}

// nibblesOf is four bits of each byte, the lower ones in a register of their own.
func (p *narrowWhole) nibblesOf(bytes reg.VecVirtual, upper bool) reg.VecVirtual {
	v := bytes
	if upper {
		p.VPSRLW(operand.U8(4), v, v)
	} else {
		v = p.YMM()
	}
	p.VPAND(p.constant(fifteens), bytes, v)
	return v
}

// fourOf is the first rows, as four of them.
func fourOf(rows []operand.Mem) []operand.Mem {
	four := make([]operand.Mem, narrowRows)
	for r := range four {
		four[r] = rows[r%len(rows)]
	}
	return four
}

// blocks reads blocks that begin with their scale.
func (p *narrowWhole) blocks(bytes int, weights func(m operand.Mem, half int) []reg.VecVirtual) narrowReader {
	return narrowReader{open: func(rows []operand.Mem) narrowStep {
		return narrowStep{
			scales: func(_, half int) reg.VecVirtual {
				v := p.zeroed(1)[0]
				for g := range 2 {
					for r, m := range rows {
						p.VPINSRW(operand.U8(uint64(narrowRows*g+r)), moved(m, bytes*(2*half+g)), v.AsX(), v.AsX())
					}
				}
				p.VCVTPH2PS(v.AsX(), v)
				return v
			},
			weights: func(_, half, row int) []reg.VecVirtual { return weights(rows[row], half) },
		}
	}}
}

// turned4 is sixteen bytes of each of four rows, those of the first and the third and those of the others, turned: dwords with the same byte of each row,
// four of them in each vector.
func (a *asm) turned4(even, odd reg.VecVirtual) []reg.VecVirtual {
	var turned []reg.VecVirtual
	for _, unpack := range []func(ops ...operand.Op){a.VPUNPCKLBW, a.VPUNPCKHBW} {
		v, upper, low, high := a.YMM(), a.XMM(), a.YMM(), a.YMM()
		unpack(odd, even, v)
		a.VEXTRACTI128(operand.U8(1), v, upper)
		a.VPUNPCKLWD(upper, v.AsX(), low.AsX())
		a.VPUNPCKHWD(upper, v.AsX(), high.AsX())
		turned = append(turned, low, high)
	}
	return turned
}

// inBothHalves is four numbers, twice.
func (a *asm) inBothHalves(v reg.VecVirtual, quarter uint64) reg.VecVirtual {
	t := a.YMM()
	a.VPERMQ(operand.U8([]uint64{0x44, 0xee}[quarter]), v, t)
	return t
}

// beginNarrowQ4_K takes a block of each row: its groups of even numbers, and then the others, as the low and the high nibbles have them.
func beginNarrowQ4_K(p *narrowWhole) narrowReader {
	waiting := p.AllocLocal(4 * 16) // scales 0 to 3, minimums 0 to 3, scales 4 to 7, minimums 4 to 7; a vector's first half is those of even numbers
	quarter := func(values ...uint32) func(int) uint32 { return func(i int) uint32 { return 0x01010101 * values[i%4] } }
	return narrowReader{open: func(rows []operand.Mem) narrowStep {
		four := fourOf(rows)
		heads := make([]reg.VecVirtual, 2)
		for i := range heads {
			heads[i] = p.sixteenOf(four[i], four[i+2])
		}
		halves, upper := p.YMM(), p.XMM()
		p.VPUNPCKLWD(heads[1], heads[0], halves)
		p.VEXTRACTI128(operand.U8(1), halves, upper)
		p.VPUNPCKLDQ(upper, halves.AsX(), halves.AsX())
		p.VCVTPH2PS(halves.AsX(), halves)
		d, dmin := p.inBothHalves(halves, 0), p.inBothHalves(halves, 1)
		for _, v := range heads {
			upper := p.YMM()
			p.VPSHUFD(operand.U8(0x90), v, upper) // dwords 1 and 2 in the upper half
			p.VPSHUFD(operand.U8(0xf9), v, v)     // 1, 2, 3, 3
			p.VPSRLVD(p.words("shiftsQ4_K", func(i int) uint32 { return uint32(i % 4 / 3 * 4) }), v, v)
			p.VPSRLD(operand.U8(2), upper, upper)
			p.VPAND(p.words("masksQ4_K", quarter(63, 63, 15, 15)), v, v)
			p.VPAND(p.words("uppersQ4_K", quarter(0, 0, 0x30, 0x30)), upper, upper)
			p.VPOR(upper, v, v)
		}
		for i, v := range p.turned4(heads[0], heads[1]) {
			p.VPSHUFD(operand.U8(0xd8), v.AsX(), v.AsX())
			p.VMOVDQU(v.AsX(), waiting.Offset(16*i))
		}
		times := func(kind, part, half int, factor reg.VecVirtual) reg.VecVirtual {
			v := p.YMM()
			p.VPMOVZXBD(waiting.Offset(16*(2*half+kind)+8*part), v)
			p.VCVTDQ2PS(v, v)
			p.VMULPS(factor, v, v)
			return v
		}
		var held []reg.VecVirtual // the halves of the groups, two in each byte
		return narrowStep{
			scales: func(part, half int) reg.VecVirtual { return times(0, part, half, d) },
			beside: func(part, half int) reg.VecVirtual { return times(1, part, half, dmin) },
			weights: func(part, half, row int) []reg.VecVirtual {
				if part == 0 {
					held = nil
					for i := range 2 {
						held = append(held, p.sixteenOf(moved(rows[row], 16+64*half+16*i), moved(rows[row], 48+64*half+16*i)))
					}
				}
				return []reg.VecVirtual{p.nibblesOf(held[0], part == 1), p.nibblesOf(held[1], part == 1)}
			},
		}
	}}
}

// beginNarrowQ6_K takes a block of each row, 64 elements at a time, whose scales are one for each quarter.
func beginNarrowQ6_K(p *narrowWhole) narrowReader {
	const highAt, scalesAt, factorAt = 128, 192, 208
	waiting := p.AllocLocal(4 * 16) // the scales of parts
	return narrowReader{open: func(rows []operand.Mem) narrowStep {
		four := fourOf(rows)
		d, scales := p.YMM(), make([]reg.VecVirtual, 2)
		p.VPXOR(d, d, d)
		for r, m := range four {
			p.VPINSRW(operand.U8(uint64(r)), moved(m, factorAt), d.AsX(), d.AsX())
		}
		p.VCVTPH2PS(d.AsX(), d)
		d = p.inBothHalves(d, 0)
		for i := range scales {
			scales[i] = p.sixteenOf(moved(four[i], scalesAt), moved(four[i+2], scalesAt))
		}
		for part, v := range p.turned4(scales[0], scales[1]) {
			p.VMOVDQU(v.AsX(), waiting.Offset(16*part))
		}
		return narrowStep{
			scales: func(part, half int) reg.VecVirtual {
				v := p.YMM()
				p.VPMOVSXBD(waiting.Offset(16*part+8*half), v)
				p.VCVTDQ2PS(v, v)
				p.VMULPS(d, v, v)
				return v
			},
			weights: func(part, half, row int) []reg.VecVirtual {
				v, pairs := p.YMM(), p.YMM()
				p.VMOVDQU(moved(rows[row], part/2*64+32*half), v)
				p.VMOVDQU(moved(rows[row], highAt+part/2*32), pairs)
				if part%2 == 1 {
					p.VPSRLW(operand.U8(4), v, v)
				}
				p.VPAND(p.constant(fifteens), v, v)
				switch at := 4*(part%2) + 2*half; { // of two bits that belong to the fourth and the fifth
				case at < 4:
					p.VPSLLW(operand.U8(uint64(4-at)), pairs, pairs)
				case at > 4:
					p.VPSRLW(operand.U8(uint64(at-4)), pairs, pairs)
				}
				p.VPAND(p.constant(upperPairs), pairs, pairs)
				p.VPOR(pairs, v, v)
				return []reg.VecVirtual{v}
			},
		}
	}}
}

// affine takes 128 elements of each row, whose scales and biases are one, two or four.
func (p *narrowWhole) affine(weights func(m operand.Mem, half int) []reg.VecVirtual) narrowReader {
	numbers, per, row := p.integer("numbers"), p.integer("per"), p.copyOf(p.rows[0])
	p.SHRQ(operand.U8(uint64(bits.TrailingZeros(uint(p.f.bytes/4)))), row)
	p.IMULQ(per, row) // bytes of a row's scales
	step := p.slot(p.Param("per"))
	places := p.AllocLocal(8 * wholeGroups) // where the numbers of a quarter wait
	for quarter := range wholeGroups {
		place := p.GP64()
		p.MOVQ(operand.U32(quarter), place)
		p.IMULQ(per, place)
		p.SHRQ(operand.U8(2), place)
		p.SHLQ(operand.U8(5), place)
		p.MOVQ(place, places.Offset(8*quarter))
	}
	p.SHLQ(operand.U8(2), per)
	p.MOVQ(per, step)
	waiting := p.AllocLocal(4 * 32) // scales of four rows, then biases, for each of the numbers
	rowsOf := p.multiples(row, narrowRows)
	return narrowReader{
		open: func(weightsOf []operand.Mem) narrowStep {
			var v []reg.VecVirtual
			for _, m := range fourOf(strided(numbers, rowsOf, 1, len(weightsOf))) {
				v = append(v, p.sixteenOf(m, moved(m, 4*affineNumbers)))
			}
			for i, unpack := range []func(ops ...operand.Op){p.VUNPCKLPS, p.VUNPCKHPS} {
				first, second, t := p.YMM(), p.YMM(), p.YMM()
				unpack(v[1], v[0], first)
				unpack(v[3], v[2], second)
				p.VUNPCKLPD(second, first, t)
				p.VMOVUPS(t, waiting.Offset(64*i))
				p.VUNPCKHPD(second, first, t)
				p.VMOVUPS(t, waiting.Offset(64*i+32))
			}
			p.ADDQ(step, numbers)
			spread := func(half, disp int) reg.VecVirtual {
				first, second := p.GP64(), p.GP64()
				p.MOVQ(places.Offset(16*half), first)
				p.MOVQ(places.Offset(16*half+8), second)
				return p.sixteenOf(moved(waiting.Idx(first, 1), disp), moved(waiting.Idx(second, 1), disp))
			}
			return narrowStep{
				scales:  func(_, half int) reg.VecVirtual { return spread(half, 0) },
				beside:  func(_, half int) reg.VecVirtual { return spread(half, 16) },
				weights: func(_, half, row int) []reg.VecVirtual { return weights(weightsOf[row], half) },
			}
		},
		leave: func(rows int) {
			for range rows - 1 {
				p.ADDQ(row, numbers)
			}
		},
	}
}
