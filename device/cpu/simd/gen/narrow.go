package main

import (
	"fmt"

	"github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// A narrowFormat is how a routine for AVX2 reads blocks of quantized weights: in groups with a scale, which multiplies their sums.
type narrowFormat struct {
	name     string
	elements int
	bytes    int
	groups   int
	steps    int // in a group
	// step is a step of a group of a block at m: some vectors of eight weights, without the scale, and where in the block they belong.
	step func(a *asm, m operand.Mem, group, i int) (weights []reg.VecVirtual, places []int)
	// open reads the scales of all groups of a block at m, and behind them what to take off their weights, if there are such
	// minimums; without it the block begins with a half, its scale.
	open     func(a *asm, m operand.Mem, halves reg.GPVirtual) (numbers operand.Mem)
	minimums bool
}

var narrowFormats = []narrowFormat{
	{"Q8_0", 32, 34, 1, 4, func(a *asm, m operand.Mem, _, i int) ([]reg.VecVirtual, []int) {
		v := a.YMM()
		a.VPMOVSXBD(moved(m, 2+8*i), v)
		a.VCVTDQ2PS(v, v)
		return []reg.VecVirtual{v}, []int{8 * i}
	}, nil, false},
	{"Q4_0", 32, 18, 1, 2, func(a *asm, m operand.Mem, _, i int) ([]reg.VecVirtual, []int) {
		low, high := a.YMM(), a.YMM()
		a.VPMOVZXBD(moved(m, 2+8*i), high)
		a.VPAND(a.words("fifteen", func(int) uint32 { return 15 }), high, low)
		a.VPSRLD(operand.U8(4), high, high)
		v := []reg.VecVirtual{low, high}
		for _, v := range v {
			a.VPSUBD(a.words("eight", func(int) uint32 { return 8 }), v, v)
			a.VCVTDQ2PS(v, v)
		}
		return v, []int{8 * i, 16 + 8*i}
	}, nil, false},
	{"Q4_K", 256, 144, 8, 4, func(a *asm, m operand.Mem, group, i int) ([]reg.VecVirtual, []int) {
		v := a.YMM()
		a.VPMOVZXBD(moved(m, 16+group/2*32+8*i), v)
		if group%2 == 0 {
			a.VPAND(a.words("fifteen", func(int) uint32 { return 15 }), v, v)
		} else {
			a.VPSRLD(operand.U8(4), v, v)
		}
		a.VCVTDQ2PS(v, v)
		return []reg.VecVirtual{v}, []int{32*group + 8*i}
	}, narrowNumbersQ4K, true},
	{"Q6_K", 256, 210, 16, 2, func(a *asm, m operand.Mem, group, i int) ([]reg.VecVirtual, []int) {
		part, quarter, at := group/8, group/2%4, group%2*16+8*i
		v, high := a.YMM(), a.YMM()
		a.VPMOVZXBD(moved(m, 64*part+32*(quarter%2)+at), v)
		if quarter >= 2 {
			a.VPSRLD(operand.U8(4), v, v)
		} else {
			a.VPAND(a.words("fifteen", func(int) uint32 { return 15 }), v, v)
		}
		a.VPMOVZXBD(moved(m, 128+32*part+at), high)
		switch quarter {
		case 0, 1:
			a.VPSLLD(operand.U8(uint64(4-2*quarter)), high, high)
		case 3:
			a.VPSRLD(operand.U8(2), high, high)
		}
		a.VPAND(a.words("upper", func(int) uint32 { return 0x30 }), high, high)
		a.VPOR(high, v, v)
		a.VPSUBD(a.words("thirtyTwo", func(int) uint32 { return 32 }), v, v)
		a.VCVTDQ2PS(v, v)
		return []reg.VecVirtual{v}, []int{16*group + 8*i}
	}, narrowNumbersQ6K, false},
}

// narrowNumbersQ6K writes the sixteen scales of a block.
func narrowNumbersQ6K(a *asm, m operand.Mem, halves reg.GPVirtual) operand.Mem {
	numbers, factor, d := a.AllocLocal(64), a.YMM(), a.GP64()
	a.MOVWQZX(moved(m, 208), d)
	a.VBROADCASTSS(atIndex(halves, d, 4, 0), factor)
	for i := range 2 {
		v := a.YMM()
		a.VPMOVSXBD(moved(m, 192+8*i), v)
		a.VCVTDQ2PS(v, v)
		a.VMULPS(factor, v, v)
		a.VMOVUPS(v, numbers.Offset(32*i))
	}
	return numbers
}

// narrowNumbersQ4K writes the eight scales of a block, and then its eight minimums.
func narrowNumbersQ4K(a *asm, m operand.Mem, halves reg.GPVirtual) operand.Mem {
	numbers := a.AllocLocal(64)
	raw := a.XMM()
	a.VMOVUPS(moved(m, 4), raw)
	for i, name := range []string{"Scales", "Minimums"} {
		// Those from the fifth on have their upper two bits elsewhere.
		low, high, d := a.YMM(), a.YMM(), a.GP64()
		at := uint8(4 * i)
		t := a.XMM()
		a.VPSHUFB(a.octets("low"+name, at, at+1, at+2, at+3, 8, 9, 10, 11), raw, t)
		a.VPMOVZXBD(t, low)
		a.VPSHUFB(a.octets("high"+name, 0xff, 0xff, 0xff, 0xff, at, at+1, at+2, at+3), raw, t)
		a.VPMOVZXBD(t, high)
		if i == 1 {
			a.VPSRLVD(a.words("shiftsQ4K", func(i int) uint32 { return uint32(i / 4 * 4) }), low, low)
		}
		a.VPAND(a.words("lowQ4K", func(i int) uint32 { return []uint32{63, 15}[i/4] }), low, low)
		a.VPSRLD(operand.U8(2), high, high)
		a.VPAND(a.words("highQ4K", func(i int) uint32 { return []uint32{0, 0x30}[i/4] }), high, high)
		a.VPOR(high, low, low)
		a.VCVTDQ2PS(low, low)
		a.MOVWQZX(moved(m, 2*i), d)
		a.VBROADCASTSS(atIndex(halves, d, 4, 0), high)
		a.VMULPS(high, low, low)
		a.VMOVUPS(low, numbers.Offset(32*i))
	}
	return numbers
}

// narrowQuants are products of 1, 2 or 4 rows of activations with quantized weights, for AVX2. They add up in the same order, so
// that a token's result does not depend on what it is batched with.
var narrowQuants = func() []routine {
	var rs []routine
	for _, f := range narrowFormats {
		for _, vectors := range []int{1, 2, 4} {
			rs = append(rs, routine{fmt.Sprintf("product%d_%s", vectors, blockFormat{name: f.name}.file()), func(a *asm) { narrowProduct(a, f, vectors) }})
		}
	}
	return rs
}()

func narrowProduct(a *asm, f narrowFormat, vectors int) {
	keys := 4 / vectors
	name := fmt.Sprintf("product%d%sAVX2", vectors, f.name)
	a.begin(name, "func(s []float32, stride int, q []float32, k, next []byte, n, dim int, halves *[65536]float32)",
		name+" is", "",
		fmt.Sprintf("\tfor h := range %d {\n\t\tfor j := range n {\n\t\t\tfor i := range dim {\n\t\t\t\ts[h*stride+j] += q[h*dim+i] * k[j*dim+i] // from 0\n\t\t\t}\n\t\t}\n\t}", vectors),
		"", fmt.Sprintf("for dim a multiple of %d. It prefetches next, about as many bytes of it as k has at most.", f.elements))
	s, stride, q, k := a.ptr("s"), a.integer("stride"), a.ptr("q"), a.ptr("k")
	next, limit := a.ahead() // there are too few registers to keep it in one
	n, dim, halves := a.integer("n"), a.integer("dim"), a.integer("halves")
	a.SHLQ(operand.U8(2), stride)
	activations := a.copyOf(dim) // bytes of a row of them
	a.SHLQ(operand.U8(2), activations)
	units := a.multiples(activations, vectors)
	row := a.GP64() // bytes of a row of weights
	a.XORQ(row, row)
	a.repeat(dim, f.elements, func() { a.ADDQ(operand.U32(f.bytes), row) })
	rows := a.multiples(row, keys)
	// sums is the products of some rows, over all their blocks.
	sums := func(keys int) []reg.VecVirtual {
		acc := a.zeroed(keys * vectors)
		stored, queries := strided(k, rows, 1, keys), strided(q, units, 1, vectors)
		left := a.copyOf(row)
		a.repeat(left, f.bytes, func() {
			numbers := make([]operand.Mem, keys)
			for j, m := range stored {
				if f.open != nil {
					numbers[j] = f.open(a, m, halves)
				}
			}
			for g := range f.groups {
				a.narrowGroup(f, g, stored, queries, numbers, acc, halves)
			}
			for line := range (keys*f.bytes + cacheLine - 1) / cacheLine {
				a.PREFETCHT1(at(next, line*cacheLine))
			}
			a.ADDQ(operand.U32(keys*f.bytes), next)
			a.CMPQ(next, limit)
			a.CMOVQHI(limit, next)
			a.ADDQ(operand.U32(f.bytes), k)
			a.ADDQ(operand.U32(4*f.elements), q)
		})
		a.SUBQ(activations, q)
		for range keys - 1 {
			a.ADDQ(row, k)
		}
		return acc
	}
	for _, take := range []int{keys, 1} {
		a.repeat(n, take, func() {
			acc, out := sums(take), a.copyOf(s)
			for h := range vectors {
				for j := range take {
					v := acc[j*vectors+h]
					a.sum(v)
					a.VMOVSS(v.AsX(), at(out, 4*j))
				}
				if h+1 < vectors {
					a.ADDQ(stride, out)
				}
			}
			a.ADDQ(operand.U32(4*take), s)
		})
		if keys == 1 {
			break
		}
	}
	a.VZEROUPPER()
	a.RET()
}

// narrowGroup adds a group of the rows stored, times the queries, to the sums acc.
func (a *asm) narrowGroup(f narrowFormat, g int, stored, queries, numbers []operand.Mem, acc []reg.VecVirtual, halves reg.GPVirtual) {
	vectors := len(queries)
	parts := a.zeroed(len(acc))                    // without their scales
	activations := make([]reg.VecVirtual, vectors) // the sums of theirs, to take minimums off
	for i := range f.steps {
		shared := map[operand.Mem]reg.VecVirtual{}
		for j, m := range stored {
			weights, places := f.step(a, m, g, i)
			for w, v := range weights {
				for h, m := range queries {
					x := moved(m, 4*places[w])
					var from operand.Op = x
					if len(stored) > 1 {
						if _, loaded := shared[x]; !loaded {
							shared[x] = a.YMM()
							a.VMOVUPS(x, shared[x])
						}
						from = shared[x]
					}
					a.VFMADD231PS(from, v, parts[j*vectors+h])
					switch {
					case !f.minimums || j > 0:
					case i == 0:
						activations[h] = a.YMM()
						a.VMOVUPS(from, activations[h])
					default:
						a.VADDPS(from, activations[h], activations[h])
					}
				}
			}
		}
	}
	for j, m := range stored {
		scale := a.YMM()
		if f.open == nil {
			d := a.GP64()
			a.MOVWQZX(m, d)
			a.VBROADCASTSS(atIndex(halves, d, 4, 0), scale)
		} else {
			a.VBROADCASTSS(numbers[j].Offset(4*g), scale)
		}
		for h := range vectors {
			a.VFMADD231PS(scale, parts[j*vectors+h], acc[j*vectors+h])
		}
		if f.minimums {
			least := a.YMM()
			a.VBROADCASTSS(numbers[j].Offset(4*(f.groups+g)), least)
			for h := range vectors {
				a.VFNMADD231PS(least, activations[h], acc[j*vectors+h])
			}
		}
	}
}
