package main

import (
	"fmt"

	"github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// narrowFixed are the scores of queries as whole numbers for AVX-VNNI: what fixed are for AVX-512, of the same numbers and with the same bits. There are half as many
// registers, of half the size: sixteen keys are turned into the stack, for two heads at a time to take them from there.
var narrowFixed = func() []routine {
	rs := []routine{{"fix", narrowFix}, {"deal", narrowDeal}, {"regroup", narrowRegroup}}
	for _, heads := range []int{1, 2, 4} {
		for _, bits := range []int{8, 4} {
			rs = append(rs, routine{fmt.Sprintf("scores%d_q%d_avxvnni", heads, bits), func(a *asm) { narrowFixedScores(a, heads, bits, true) }})
		}
		rs = append(rs, routine{fmt.Sprintf("scores%d_q4_fixed", heads), func(a *asm) { narrowFixedScores(a, heads, 4, false) }})
	}
	return rs
}()

// narrowDot is dot for AVX-VNNI: numbers are signed bytes, four to each lane, u is unsigned ones.
func (a *asm) narrowDot(numbers operand.Op, u, sum reg.Register) {
	a.raw(vexDot, true, nil, numbers, u, sum)
}

// bytesOf is a vector constant in memory, the same in both halves.
func (a *asm) bytesOf(name string, at func(i int) uint32) operand.Mem {
	return a.words(name, func(i int) (word uint32) {
		for b := range 4 {
			word |= at(i%4*4+b) << (8 * b)
		}
		return word
	})
}

// narrowBytes is the lower three bytes of 32 numbers, which it overwrites, in their order: those of one place to a vector, the highest first.
func (a *asm) narrowBytes(x []reg.VecVirtual) []reg.VecVirtual {
	split := a.bytesOf("split", func(i int) uint32 { return uint32(i%4*4 + i/4) })
	for _, v := range x {
		a.VPSHUFB(split, v, v)
	}
	low, mid := []reg.VecVirtual{a.YMM(), a.YMM()}, a.YMM()
	for i := range low {
		a.VPUNPCKLDQ(x[2*i+1], x[2*i], low[i])
		a.VPUNPCKHDQ(x[2*i+1], x[2*i], x[2*i])
	}
	a.VPUNPCKHQDQ(low[1], low[0], mid)
	a.VPUNPCKLQDQ(low[1], low[0], low[0])
	a.VPUNPCKLQDQ(x[2], x[0], x[0])
	natural, all := a.YMM(), []reg.VecVirtual{x[0], mid, low[0]}
	a.VMOVDQU(a.words("natural", func(i int) uint32 { return uint32(i/2 + i%2*4) }), natural)
	for _, v := range all {
		a.VPERMD(v, natural, v)
	}
	return all
}

// narrowTotal leaves the sum of the dwords of v in a general register.
func (a *asm) narrowTotal(v reg.VecVirtual) reg.GPVirtual {
	t, total := a.XMM(), a.GP32()
	a.VEXTRACTI128(operand.U8(1), v, t)
	a.VPADDD(t, v.AsX(), v.AsX())
	for _, swap := range []uint64{0x4e, 0xb1} {
		a.VPSHUFD(operand.U8(swap), v.AsX(), t)
		a.VPADDD(t, v.AsX(), v.AsX())
	}
	a.VMOVD(v.AsX(), total)
	return total
}

// narrowFix writes one head of what narrowFixedScores takes.
func narrowFix(a *asm) {
	a.begin("fixAVX2", "func(planes, starts []byte, q []float32, factor float32, step int, order *[16]byte, zero uint32)",
		"fixAVX2 is fixAVX512 for AVX2.")
	planes, starts, q, n := a.ptr("planes"), a.ptr("starts"), a.ptr("q"), a.length("q")
	factor, step, order, zero := a.broadcast("factor"), a.integer("step"), a.YMM(), a.YMM()
	a.VBROADCASTI128(at(a.integer("order"), 0), order)
	z := a.GP32()
	a.Load(a.Param("zero"), z)
	a.VMOVD(z, zero.AsX())
	a.VPBROADCASTD(zero.AsX(), zero)
	a.repeat(n, group, func() {
		v := make([]reg.VecVirtual, group/lanes)
		for i := range v {
			v[i] = a.YMM()
			a.VMULPS(at(q, 32*i), factor, v[i])
			a.VCVTPS2DQ(v[i], v[i])
			a.VPADDD(a.words("digits", func(int) uint32 { return 0x808080 }), v[i], v[i]) // so that bytes have no sign
		}
		sums := make([]reg.VecVirtual, fixedPlanes)
		for p, bytes := range a.narrowBytes(v) {
			a.VPXOR(a.words("signs", func(int) uint32 { return 0x80808080 }), bytes, bytes)
			a.VPSHUFB(order, bytes, bytes)
			a.VMOVDQU(bytes, at(planes, p*group))
			sums[p] = a.YMM()
			a.VPMADDUBSW(bytes, zero, sums[p]) // which fits: there are two of them
			a.VPMADDWD(a.wordsOf("wordOnes", 1), sums[p], sums[p])
		}
		a.VPSLLD(operand.U8(8), sums[0], sums[0])
		a.VPADDD(sums[1], sums[0], sums[0])
		for i, sum := range []reg.VecVirtual{sums[0], sums[2]} {
			total := a.narrowTotal(sum)
			a.NEGL(total)
			a.MOVL(total, at(starts, 4*i))
		}
		a.ADDQ(operand.U32(4*group), q)
		a.ADDQ(step, planes)
		a.ADDQ(step, starts)
	})
	a.VZEROUPPER()
	a.RET()
}

// narrowDeal writes scales group by group.
func narrowDeal(a *asm) {
	a.begin("dealAVX2", "func(dst []float32, src []byte, groups, n int)",
		"dealAVX2 is dealAVX512 for AVX2.")
	dst, src, groups, n := a.ptr("dst"), a.ptr("src"), a.integer("groups"), a.integer("n")
	split := a.YMM()
	a.VMOVDQU(a.bytesOf("split", func(i int) uint32 { return uint32(i%8/2*4 + i/8*2 + i%2) }), split)
	// stored writes the lower and the upper halves of eight dwords, as groups g and g + 1.
	stored := func(x reg.VecVirtual, g int) {
		a.VPSHUFB(split, x, x)
		a.VPERMQ(operand.U8(0xd8), x, x)
		upper, y := a.XMM(), a.YMM()
		a.VEXTRACTI128(operand.U8(1), x, upper)
		a.VCVTPH2PS(x.AsX(), y)
		a.VMOVUPS(y, at(dst, 4*fixedKeys*g))
		a.VCVTPH2PS(upper, y)
		a.VMOVUPS(y, at(dst, 4*fixedKeys*(g+1)))
	}
	next := func(bytes int) {
		a.ADDQ(operand.U32(bytes), src)
		a.ADDQ(operand.U8(4*lanes), dst)
	}
	two, four, done := a.label("two"), a.label("four"), a.label("done")
	a.CMPQ(groups, operand.U8(2))
	a.JEQ(operand.LabelRef(two))
	a.JHI(operand.LabelRef(four))
	a.repeat(n, lanes, func() {
		y := a.YMM()
		a.VCVTPH2PS(at(src, 0), y)
		a.VMOVUPS(y, at(dst, 0))
		next(2 * lanes)
	})
	a.JMP(operand.LabelRef(done))
	a.Label(two)
	a.repeat(n, lanes, func() {
		x := a.YMM()
		a.VMOVDQU(at(src, 0), x)
		stored(x, 0)
		next(4 * lanes)
	})
	a.JMP(operand.LabelRef(done))
	a.Label(four)
	a.repeat(n, lanes, func() {
		x := a.YMM()
		a.VMOVUPS(at(src, 0), x)
		for g, which := range []uint64{0x88, 0xdd} { // the first two groups of each row, the others
			pairs := a.YMM()
			a.VSHUFPS(operand.U8(which), at(src, 32), x, pairs)
			a.VPERMQ(operand.U8(0xd8), pairs, pairs)
			stored(pairs, 2*g)
		}
		next(8 * lanes)
	})
	a.Label(done)
	a.VZEROUPPER()
	a.RET()
}

// narrowRegroup writes singles group by group.
func narrowRegroup(a *asm) {
	a.begin("regroupAVX2", "func(dst, src []float32, groups, n int)",
		"regroupAVX2 is regroupAVX512 for AVX2.")
	dst, src, groups, n := a.ptr("dst"), a.ptr("src"), a.integer("groups"), a.integer("n")
	index, step := a.YMM(), a.copyOf(groups)
	a.VMOVD(step.As32(), index.AsX())
	a.VPBROADCASTD(index.AsX(), index)
	a.VPMULLD(a.words("lanes", func(i int) uint32 { return uint32(i) }), index, index)
	a.SHLQ(operand.U8(5), step) // bytes of eight keys' scales
	a.repeat(n, lanes, func() {
		from, to, left := a.copyOf(src), a.copyOf(dst), a.copyOf(groups)
		a.repeat(left, 1, func() {
			v, all := a.YMM(), a.YMM()
			a.VXORPS(v, v, v)
			a.VPCMPEQD(all, all, all)
			a.VGATHERDPS(all, operand.Mem{Base: from, Index: index, Scale: 4}, v)
			a.VMOVUPS(v, at(to, 0))
			a.ADDQ(operand.U8(4), from)
			a.ADDQ(operand.U32(4*fixedKeys), to)
		})
		a.ADDQ(step, src)
		a.ADDQ(operand.U8(4*lanes), dst)
	})
	a.VZEROUPPER()
	a.RET()
}

// scratch is memory on the stack, at a boundary of vectors.
func (a *asm) scratch(bytes int) reg.GPVirtual {
	p := a.GP64()
	a.LEAQ(a.AllocLocal(bytes+32), p)
	a.ADDQ(operand.U8(31), p)
	a.ANDQ(operand.I8(-32), p)
	return p
}

// narrowFixedScores writes the products of heads queries with n keys.
func narrowFixedScores(a *asm, heads, bits int, vnni bool) {
	name := fmt.Sprintf("scores%dQ%dAVXVNNI", heads, bits)
	if !vnni {
		name = fmt.Sprintf("scores%dQ%dFixedAVX2", heads, bits)
	}
	a.begin(name, "func(s []float32, stride int, q, k []byte, scales []float32, next []byte, n, dim int)",
		name+fmt.Sprintf(" is scores%dQ%dVNNI for AVX-VNNI.", heads, bits))
	a.Attributes(0)             // the frame is too large for what is left of every stack
	const vectors = 2           // of keys
	const columns = group / 4   // of four elements of each key
	const column = 32 * vectors // bytes
	bytes := group * bits / 8
	turned := a.scratch(columns*column + 32*vectors*heads)
	total := func(h, u int) operand.Mem { return at(turned, columns*column+32*(vectors*h+u)) }
	n, s, k, scales0 := a.slot(a.Param("n")), a.slot(a.Param("s").Base()), a.slot(a.Param("k").Base()), a.slot(a.Param("scales").Base())
	row, row3 := a.integer("dim"), a.GP64()
	if bits == 4 {
		a.SHRQ(operand.U8(1), row)
	}
	a.LEAQ(atIndex(row, row, 2, 0), row3)
	next, limit := a.ahead()
	a.whileSlot(n, 16, func() {
		from, scales, q := a.GP64(), a.GP64(), a.ptr("q")
		a.MOVQ(k, from)
		a.MOVQ(scales0, scales)
		a.ADDQ(operand.U8(fixedHeader), q)
		zero := a.zeroed(1)[0]
		for h := range heads {
			for u := range vectors {
				a.VMOVDQU(zero, total(h, u))
			}
		}
		left := a.copyOf(row)
		a.repeat(left, bytes, func() {
			a.turnKeys(from, row, row3, turned, bits)
			asked := 0
			for first := 0; first < heads; first += 2 {
				pair := min(2, heads-first)
				sums := make([][fixedPlanes][vectors]reg.VecVirtual, pair)
				for h := range sums {
					for u := range vectors {
						start := heads*fixedGroup + (first+h)*fixedStart
						for p := range fixedPlanes {
							if vnni && p > 0 {
								sums[h][p][u] = a.YMM()
								a.VPBROADCASTD(at(q, start+4*(p-1)), sums[h][p][u])
							} else {
								sums[h][p][u] = a.zeroed(1)[0]
							}
						}
					}
				}
				for c := range columns {
					var keys [vectors]reg.VecVirtual
					for u := range keys {
						keys[u] = a.YMM()
						a.VMOVDQA(at(turned, column*c+32*u), keys[u])
					}
					for h := range sums {
						for p := range fixedPlanes {
							number := a.YMM()
							a.VPBROADCASTD(at(q, (first+h)*fixedGroup+p*group+4*c), number)
							for u := range keys {
								if vnni {
									a.narrowDot(number, keys[u], sums[h][p][u])
									continue
								}
								t := a.YMM()
								a.VPMADDUBSW(number, keys[u], t)
								a.VPADDW(t, sums[h][p][u], sums[h][p][u])
							}
						}
					}
					// As evenly as lines can be.
					for ; asked < 16*bytes/cacheLine*(columns*first+(c+1)*pair)/(columns*heads); asked++ {
						a.PREFETCHT1(at(next, cacheLine*asked))
					}
				}
				for h := range sums {
					for u := range vectors {
						high, mid, low, sum := sums[h][0][u], sums[h][1][u], sums[h][2][u], a.YMM()
						if vnni {
							a.VPSLLD(operand.U8(8), high, high)
							a.VPADDD(mid, high, high)
						} else {
							start := heads*fixedGroup + (first+h)*fixedStart
							a.VPMADDWD(a.wordsOf("word256", 256), high, high)
							for i, v := range []reg.VecVirtual{mid, low} {
								begin := a.YMM()
								a.VPBROADCASTD(at(q, start+4*i), begin)
								a.VPMADDWD(a.wordsOf("wordOnes", 1), v, v)
								a.VPADDD(begin, v, v)
							}
							a.VPADDD(mid, high, high)
						}
						a.VCVTDQ2PS(high, high)
						a.VCVTDQ2PS(low, low)
						a.VFMADD231PS(a.splat("byte", 256), high, low)
						a.VMOVUPS(total(first+h, u), sum)
						a.VFMADD231PS(at(scales, 32*u), low, sum)
						a.VMOVUPS(sum, total(first+h, u))
					}
				}
			}
			a.advance(next, limit, 16*bytes)
			a.ADDQ(operand.U8(bytes), from)
			a.ADDQ(operand.U32(4*fixedKeys), scales)
			a.ADDQ(operand.U32(heads*(fixedGroup+fixedStart)), q)
		})
		out, stride, factors := a.GP64(), a.integer("stride"), a.ptr("q")
		a.MOVQ(s, out)
		for h := range heads {
			factor := a.YMM()
			a.VBROADCASTSS(at(factors, 4*h), factor)
			for u := range vectors {
				v := a.YMM()
				a.VMULPS(total(h, u), factor, v)
				a.VMOVUPS(v, at(out, 32*u))
			}
			if h+1 < heads {
				a.LEAQ(atIndex(out, stride, 4, 0), out)
			}
		}
		step := a.copyOf(row)
		a.SHLQ(operand.U8(4), step)
		a.ADDQ(step, k)
		a.ADDQ(operand.U8(64), s)
		a.ADDQ(operand.U8(64), scales0)
	})
	a.VZEROUPPER()
	a.RET()
}

// turnKeys writes a group of sixteen rows, from from on, dword by dword: at to there are the first four elements of eight rows, and of the other eight, then the next
// four, as unsigned bytes.
func (a *asm) turnKeys(from, row, row3, to reg.GPVirtual, bits int) {
	store := func(v reg.VecVirtual, column, u int) { a.VMOVDQA(v, at(to, 64*column+32*u)) }
	base := a.copyOf(from)
	for u := range 2 {
		upper := a.GP64()
		a.LEAQ(atIndex(base, row, 4, 0), upper)
		for part := range group * bits / 8 / 16 {
			v := make([]reg.VecVirtual, 4)
			lower := []operand.Mem{at(base, 16*part), atIndex(base, row, 1, 16*part), atIndex(base, row, 2, 16*part), atIndex(base, row3, 1, 16*part)}
			for r, m := range lower {
				high := m
				high.Base = upper
				v[r] = a.sixteenOf(m, high)
			}
			t0, t1 := a.YMM(), a.YMM()
			a.VPUNPCKLDQ(v[1], v[0], t0)
			a.VPUNPCKHDQ(v[1], v[0], t1)
			a.VPUNPCKLDQ(v[3], v[2], v[0])
			a.VPUNPCKHDQ(v[3], v[2], v[2])
			a.VPUNPCKHQDQ(v[0], t0, v[1])
			a.VPUNPCKLQDQ(v[0], t0, v[0])
			a.VPUNPCKHQDQ(v[2], t1, v[3])
			a.VPUNPCKLQDQ(v[2], t1, v[2])
			for i, c := range v {
				if bits == 8 {
					a.VPXOR(a.words("signs", func(int) uint32 { return 0x80808080 }), c, c)
					store(c, 4*part+i, u)
					continue
				}
				low := a.YMM()
				nibbles := a.words("nibbles", func(int) uint32 { return 0x0f0f0f0f })
				a.VPAND(nibbles, c, low)
				store(low, 2*i, u)
				a.VPSRLD(operand.U8(4), c, c)
				a.VPAND(nibbles, c, c)
				store(c, 2*i+1, u)
			}
		}
		if u == 0 {
			a.LEAQ(atIndex(upper, row, 4, 0), base)
		}
	}
}
