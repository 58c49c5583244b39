package main

import (
	"fmt"
	"math"
	"math/bits"

	"github.com/mmcloughlin/avo/ir"
	"github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// A wholeFormat is how a routine reads rows of quantized weights, as whole numbers and their scales, a step at a time.
type wholeFormat struct {
	name, file string
	order      wholeOrder // of the activations that it is multiplied with
	bytes      int        // of a step in a row
	affine     bool       // scales are float32, in arrays of their own beside biases, which are added; else what is beside scales is taken off
	// begin reads what does not change. What it gives back is called for each step of some rows.
	begin func(a *asm, p wholeProducts) wholeReader
}

// wholeProducts is what a format may look at of the routine that it is part of.
type wholeProducts struct {
	k       reg.GPVirtual   // the first of the rows, at the step
	row     []reg.GPVirtual // bytes of one, and of three, as strided takes them
	vectors int             // tokens
	keys    int             // rows that go together
}

// wholeReader reads steps of rows.
type wholeReader struct {
	enter func(keys int)                                                    // before the first step of so many rows, if it is there
	leave func(keys int)                                                    // behind the last one
	open  func(rows []operand.Mem, left reg.GPVirtual, bytes int) wholeStep // a step, with so many bytes of a row left from it on
}

// wholeStep is a step of up to four rows. What the rows have, four for each of a part's quarters, lies in a vector as the rows' numbers of the first
// quarter, then those of the second.
type wholeStep struct {
	scales  func(part int) reg.VecVirtual        // float32
	beside  func(part int) reg.VecVirtual        // what the sums of the activations are multiplied by, if the order has sums
	weights func(part, row int) []reg.VecVirtual // unsigned bytes, as the order has their activations
}

var wholeFormats = []wholeFormat{
	{"Q8_0", "q8_0", wholeInOrder, 4 * 34, false, beginWholeQ8_0},
	{"Q4_0", "q4_0", wholeInOrder, 4 * 18, false, beginWholeQ4_0},
	{"Q4_K", "q4_k", wholeQ4_K, 144, false, beginWholeQ4_K},
	{"Q6_K", "q6_k", wholeQ6_K, 210, false, beginWholeQ6_K},
	{"Affine8", "affine8", wholeAffine8, 128, true, func(a *asm, p wholeProducts) wholeReader {
		return beginWholeAffine(a, p, 128, a.firstAndSecond)
	}},
	{"Affine4", "affine4", wholeAffine4, 64, true, func(a *asm, p wholeProducts) wholeReader {
		return beginWholeAffine(a, p, 64, func(m operand.Mem) []reg.VecVirtual {
			v := a.ZMM()
			a.VMOVDQU64(m, v)
			return []reg.VecVirtual{a.lowNibbles(v), a.highNibbles(v)}
		})
	}},
}

// Up to how many tokens registers are left for what does not change, and for what two parts of a row have in common.
const (
	roomForConstants = 1
	roomForRows      = 2
)

// keep is a vector in memory, or in a register if it is to be kept there.
func (p wholeProducts) keep(a *asm, m operand.Mem) func() reg.VecVirtual {
	load := func() reg.VecVirtual {
		v := a.ZMM()
		a.VMOVDQU64(m, v)
		return v
	}
	if p.vectors > roomForConstants {
		return load
	}
	v := load()
	return func() reg.VecVirtual { return v }
}

const wholeScaleBytes = 2 * 4 * wholeGroups // of the scales of four groups in each of four rows, as halves

// beginWholeQ8_0 reads scales that are too far apart to be in one vector: they are put together in memory one step ahead, since what was stored in
// pieces can be loaded as a whole only a while later.
func beginWholeQ8_0(a *asm, p wholeProducts) wholeReader {
	const bytes = 34
	waiting := a.AllocLocal(2 * wholeScaleBytes)            // of two steps
	a.VMOVDQU64(a.zeroed(1)[0], waiting)                    // unlike what lies there, what is multiplied for rows that are not there takes no time
	collect := func(rows []operand.Mem, to reg.GPVirtual) { // the halves that begin blocks
		for r, m := range rows {
			for g := range wholeGroups {
				d := a.GP32()
				a.MOVWLZX(moved(m, bytes*g), d)
				a.MOVW(d.As16(), moved(waiting.Idx(to, 1), 2*(wholeGroups*g+r)))
			}
		}
	}
	var place reg.GPVirtual
	return wholeReader{
		enter: func(keys int) {
			place = a.GP64()
			a.XORQ(place, place)
			collect(strided(p.k, p.row, 1, keys), place)
		},
		open: func(rows []operand.Mem, left reg.GPVirtual, step int) wholeStep {
			scales := a.ZMM()
			a.VCVTPH2PS(waiting.Idx(place, 1), scales)
			a.XORQ(operand.U8(wholeScaleBytes), place)
			ahead, further := a.copyOf(p.k), a.GP64()
			a.LEAQ(at(p.k, step), further)
			a.CMPQ(left, operand.U32(step))
			a.CMOVQGT(further, ahead)
			collect(strided(ahead, p.row, 1, len(rows)), place)
			return wholeStep{
				scales: func(int) reg.VecVirtual { return scales },
				weights: func(_, row int) []reg.VecVirtual {
					half := func(i int) reg.VecVirtual {
						v := a.ZMM()
						a.VBROADCASTI32X4(moved(rows[row], 2+16*i), v)
						for g := 1; g < wholeGroups; g++ {
							a.VINSERTI32X4(operand.U8(uint64(g)), moved(rows[row], bytes*g+2+16*i), v, v)
						}
						a.VPXORD_BCST(a.dword("signs", 0x80808080), v, v)
						return v
					}
					return []reg.VecVirtual{half(0), half(1)}
				},
			}
		},
	}
}

func beginWholeQ4_0(a *asm, _ wholeProducts) wholeReader {
	var masks []reg.Register // of the last group's dwords, and of the words of each row but the first
	for _, bits := range []uint32{0xf000, 0x2222, 0x4444, 0x8888} {
		masks = append(masks, a.mask(bits))
	}
	return wholeReader{open: func(rows []operand.Mem, _ reg.GPVirtual, _ int) wholeStep {
		places, starts, halves := a.ZMM(), a.ZMM(), a.ZMM()
		a.VMOVDQU64(a.words16("placesQ4_0", func(i int) uint16 { return uint16(i/8*9 + 1 + i%8) }), places)
		a.VMOVDQU64(a.words16("startsQ4_0", func(i int) uint16 { return uint16(i / 4 % 4 * 9) }), starts)
		var bytes []reg.VecVirtual
		for r, m := range rows {
			all, v := a.ZMM(), a.ZMM()
			a.VMOVDQU64(m, all)
			if r == 0 {
				a.VPERMW(all, starts, halves)
			} else {
				a.VPERMW(all, starts, masks[r], halves)
			}
			a.VPERMW(all, places, v)
			a.VBROADCASTI32X4(moved(m, 56), masks[0], v) // they end behind the vector
			bytes = append(bytes, v)
		}
		scales := a.ZMM()
		a.VCVTPH2PS(halves.AsY(), scales)
		return wholeStep{
			scales: func(int) reg.VecVirtual { return scales },
			weights: func(_, row int) []reg.VecVirtual {
				return []reg.VecVirtual{a.lowNibbles(bytes[row]), a.highNibbles(bytes[row])}
			},
		}
	}}
}

// beginWholeQ4_K takes a block of each row: its groups of even numbers, and then the others, as the low and the high nibbles have them.
func beginWholeQ4_K(a *asm, p wholeProducts) wholeReader {
	const scalesAt, leastAt = 0, 4
	// In a quarter are a row's scales 0 to 3, the minimums 0 to 3, scales 4 to 7, minimums 4 to 7.
	place := func(name string, kind, part int) func() reg.VecVirtual {
		return p.keep(a, a.words(name, func(i int) uint32 {
			group, row := i/4*2+part, i%4
			return uint32(16*row + kind + group + group/4*4)
		}))
	}
	scalesOf := [2]func() reg.VecVirtual{place("evenScales", scalesAt, 0), place("oddScales", scalesAt, 1)}
	leastOf := [2]func() reg.VecVirtual{place("evenMinimums", leastAt, 0), place("oddMinimums", leastAt, 1)}
	factors := p.keep(a, a.words16("factorsQ4_K", func(i int) uint16 { return uint16(i%4*8 + i/16) })) // each row's d in each quarter, and then its dmin
	bytes, lanes := a.byteMask(0x1111111111111111), a.laneMasks(3)
	quarter := func(values ...uint32) func(int) uint32 { return func(i int) uint32 { return 0x01010101 * values[i%4] } }
	return wholeReader{open: func(rows []operand.Mem, _ reg.GPVirtual, _ int) wholeStep {
		heads := a.quarters(rows, 0, lanes)
		numbers, upper := a.ZMM(), a.ZMM()
		a.VPSHUFD(operand.U8(0xf9), heads, numbers) // dwords 1, 2, 3, 3
		a.VPSHUFD(operand.U8(0x90), heads, upper)   // 1 and 2 in the upper half
		a.VPSRLVD(a.words("shiftsQ4_K", func(i int) uint32 { return uint32(i % 4 / 3 * 4) }), numbers, numbers)
		a.VPSRLD(operand.U8(2), upper, upper)
		a.VPANDD(a.words("masksQ4_K", quarter(63, 63, 15, 15)), numbers, numbers)
		a.VPTERNLOGD(operand.U8(0xf8), a.words("uppersQ4_K", quarter(0, 0, 0x30, 0x30)), upper, numbers) // numbers | upper & mask
		halves, high, d, dmin := a.ZMM(), a.YMM(), a.ZMM(), a.ZMM()
		a.VPERMW(heads, factors(), halves)
		a.VCVTPH2PS(halves.AsY(), d)
		a.VEXTRACTI64X4(operand.U8(1), halves, high)
		a.VCVTPH2PS(high, dmin)
		times := func(places reg.VecVirtual, factor reg.VecVirtual) reg.VecVirtual {
			v := a.ZMM()
			a.VPERMB_Z(numbers, places, bytes, v)
			a.VCVTDQ2PS(v, v)
			a.VMULPS(factor, v, v)
			return v
		}
		held := map[int][]reg.VecVirtual{}
		halvesOf := func(row int) []reg.VecVirtual { // of the groups, two in each byte
			if held[row] != nil {
				return held[row]
			}
			v := a.firstAndSecond(moved(rows[row], 16))
			if p.vectors <= roomForRows {
				held[row] = v
			}
			return v
		}
		return wholeStep{
			scales: func(part int) reg.VecVirtual { return times(scalesOf[part](), d) },
			beside: func(part int) reg.VecVirtual { return times(leastOf[part](), dmin) },
			weights: func(part, row int) []reg.VecVirtual {
				nibbles := a.lowNibbles
				if part == 1 {
					nibbles = a.highNibbles
				}
				v := halvesOf(row)
				return []reg.VecVirtual{nibbles(v[0]), nibbles(v[1])}
			},
		}
	}}
}

// beginWholeQ6_K takes a block of each row, 64 elements at a time, whose scales are one for each quarter.
func beginWholeQ6_K(a *asm, p wholeProducts) wholeReader {
	const highAt, scalesAt, factorAt = 128, 192, 208
	var placesOf [4]func() reg.VecVirtual // of a part's scales, as the upper bytes of dwords
	for part := range placesOf {
		placesOf[part] = p.keep(a, a.words(fmt.Sprintf("scales%d", part), func(i int) uint32 { return uint32(16*(i%4)+4*part+i/4) << 24 }))
	}
	factors := p.keep(a, a.words16("factorsQ6_K", func(i int) uint16 { return uint16(i%4*8 + 1) })) // each row's d in each quarter
	nibbles := p.keep(a, a.words("nibbleMask", func(int) uint32 { return 0x0f0f0f0f }))
	// The two bits of each of the elements of a part, as bits 4 and 5 of its bytes.
	pairsOf := func(name string, first, second uint64) func() reg.VecVirtual {
		return p.keep(a, a.constant(name, func() {
			for i := range 8 {
				a.AddDatum(8*i, operand.U64([]uint64{first, second}[i/4]))
			}
		}))
	}
	pairs := [2]func() reg.VecVirtual{pairsOf("lowerPairs", 0x01020000, 0x04080000), pairsOf("upperPairs", 0x10200000, 0x40800000)}
	bytes, lanes := a.byteMask(0x8888888888888888), a.laneMasks(3)
	return wholeReader{open: func(rows []operand.Mem, _ reg.GPVirtual, _ int) wholeStep {
		scales, halves, d := a.quarters(rows, scalesAt, lanes), a.ZMM(), a.ZMM()
		a.VPBROADCASTD(moved(rows[0], factorAt-2), halves) // there may be nothing behind it
		for r, m := range rows[1:] {
			a.VPBROADCASTD(moved(m, factorAt-2), lanes[r], halves)
		}
		a.VPERMW(halves, factors(), halves)
		a.VCVTPH2PS(halves.AsY(), d)
		a.VMULPS_BCST(a.dword("upperByte", math.Float32bits(0x1p-24)), d, d)
		made := map[int]reg.VecVirtual{}
		scalesOf := func(part int) reg.VecVirtual {
			if made[part] == nil {
				v := a.ZMM()
				a.VPERMB_Z(scales, placesOf[part](), bytes, v)
				a.VCVTDQ2PS(v, v)
				a.VMULPS(d, v, v)
				made[part] = v
			}
			return made[part]
		}
		return wholeStep{
			scales: scalesOf,
			beside: scalesOf, // as often as what stands for zero among the unsigned weights
			weights: func(part, row int) []reg.VecVirtual {
				v, low := a.ZMM(), moved(rows[row], part/2*64)
				a.VBROADCASTI64X4(moved(rows[row], highAt+part/2*32), v)
				a.raw("VGF2P8AFFINEQB", false, nil, operand.U8(0), pairs[part%2](), v, v)
				if part%2 == 0 {
					a.VPTERNLOGD(operand.U8(0xf8), low, nibbles(), v) // v | nibbles & low
					return []reg.VecVirtual{v}
				}
				upper := a.ZMM()
				a.VMOVDQU64(low, upper)
				a.VPORD(a.highNibbles(upper), v, v)
				return []reg.VecVirtual{v}
			},
		}
	}}
}

// beginWholeAffine takes 128 elements of each row, in so many bytes, whose scales and biases are one, two or four.
func beginWholeAffine(a *asm, p wholeProducts, bytes int, weights func(m operand.Mem) []reg.VecVirtual) wholeReader {
	numbers, per, row := a.integer("numbers"), a.integer("per"), a.copyOf(p.row[0])
	a.SHRQ(operand.U8(uint64(bits.TrailingZeros(uint(bytes/4)))), row)
	a.IMULQ(per, row) // bytes of a row's scales
	places, t := a.ZMM(), a.ZMM()
	a.VPBROADCASTD(per.As32(), places)
	a.VMOVDQU64(a.words("quarters", func(i int) uint32 { return uint32(i / 4) }), t)
	a.VPMULLD(t, places, places)
	a.VPSRLD(operand.U8(2), places, places)
	a.VPADDD(a.words("rows", func(i int) uint32 { return uint32(i % 4 * 4) }), places, places)
	waiting := a.AllocLocal(64)
	a.VMOVDQU64(places, waiting)
	kept := p.keep(a, waiting)
	a.SHLQ(operand.U8(2), per)
	step := a.slot(a.Param("per"))
	a.MOVQ(per, step)
	rows, lanes := a.multiples(row, p.keys), a.laneMasks(3)
	spread := func(m []operand.Mem, disp int) reg.VecVirtual {
		v := a.quarters(m, disp, lanes)
		a.VPERMPS(v, kept(), v)
		return v
	}
	return wholeReader{
		open: func(weightsOf []operand.Mem, _ reg.GPVirtual, _ int) wholeStep {
			m := strided(numbers, rows, 1, len(weightsOf))
			scales, biases := spread(m, 0), spread(m, 4*affineNumbers)
			a.ADDQ(step, numbers)
			return wholeStep{
				scales:  func(int) reg.VecVirtual { return scales },
				beside:  func(int) reg.VecVirtual { return biases },
				weights: func(_, row int) []reg.VecVirtual { return weights(weightsOf[row]) },
			}
		},
		leave: func(keys int) {
			for range keys - 1 {
				a.ADDQ(row, numbers)
			}
		},
	}
}

// quarters is sixteen bytes of each of some rows, with lanes the masks of the second row's and those after.
func (a *asm) quarters(rows []operand.Mem, disp int, lanes []reg.OpmaskVirtual) reg.VecVirtual {
	v := a.ZMM()
	a.VBROADCASTI32X4(moved(rows[0], disp), v)
	for r, m := range rows[1:] {
		a.VBROADCASTI32X4(moved(m, disp), lanes[r], v)
	}
	return v
}

// firstAndSecond is the first halves of four groups of 32 bytes, and the second ones.
func (a *asm) firstAndSecond(m operand.Mem) []reg.VecVirtual {
	v, first, second := a.ZMM(), a.ZMM(), a.ZMM()
	a.VMOVDQU64(m, v)
	a.VSHUFI32X4(operand.U8(0x88), moved(m, 64), v, first)
	a.VSHUFI32X4(operand.U8(0xdd), moved(m, 64), v, second)
	return []reg.VecVirtual{first, second}
}

// lowNibbles is the lower four bits of each byte.
func (a *asm) lowNibbles(bytes reg.VecVirtual) reg.VecVirtual {
	v := a.ZMM()
	a.VPANDD_BCST(a.dword("nibbles", 0x0f0f0f0f), bytes, v)
	return v
}

// highNibbles is the upper four bits of each byte.
func (a *asm) highNibbles(bytes reg.VecVirtual) reg.VecVirtual {
	v := a.ZMM()
	a.raw("VGF2P8AFFINEQB", false, []string{"BCST"}, operand.U8(0), a.constant("upperNibbles", func() { a.AddDatum(0, operand.U64(0x1020408000000000)) }), bytes, v)
	return v
}

// raw adds an instruction that avo does not know. Its last operand is what it writes, and reads too if it adds to it.
func (a *asm) raw(opcode string, adds bool, suffixes []string, ops ...operand.Op) {
	in, out := ops, ops[len(ops)-1]
	if !adds {
		in = ops[:len(ops)-1]
	}
	a.Instruction(&ir.Instruction{Opcode: opcode, Suffixes: suffixes, Operands: ops, Inputs: in, Outputs: []operand.Op{out}})
}

// mask is a mask in a register.
func (a *asm) mask(bits uint32) reg.Register {
	k, r := a.K(), a.GP32()
	a.MOVL(operand.U32(bits), r)
	a.KMOVD(r, k)
	return k
}

// byteMask is a mask of bytes in a register.
func (a *asm) byteMask(bits uint64) reg.Register {
	k, r := a.K(), a.GP64()
	a.MOVQ(operand.U64(bits), r)
	a.KMOVQ(r, k)
	return k
}

// words16 is a vector of words in memory.
func (a *asm) words16(name string, lane func(i int) uint16) operand.Mem {
	return a.constant(name, func() {
		for i := range 32 {
			a.AddDatum(2*i, operand.U16(lane(i)))
		}
	})
}
