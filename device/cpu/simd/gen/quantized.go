package main

import (
	"fmt"
	"math"

	"github.com/mmcloughlin/avo/attr"
	"github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// quantized are the kernels of attention over keys and values of 8 and 4 bits, which become float32 in registers: for 1, 2 or 4
// query heads that share them, and the one that writes them for tiles of prefill.
var quantized = func() []routine {
	var rs []routine
	for _, wide := range []bool{false, true} {
		for _, bits := range []int{8, 4} {
			add := func(name string, write func(q quantizer)) {
				if wide {
					name += "_avx512"
				}
				rs = append(rs, routine{name, func(a *asm) { a.wide = wide; write(quantizer{asm: a, bits: bits}) }})
			}
			for _, heads := range []int{1, 2, 4} {
				add(fmt.Sprintf("scores%d_q%d", heads, bits), func(q quantizer) { q.scores(heads) })
				add(fmt.Sprintf("values%d_q%d", heads, bits), func(q quantizer) { q.values(heads) })
			}
			add(fmt.Sprintf("from_q%d", bits), func(q quantizer) { q.from() })
		}
	}
	return append(rs, routine{"prefetch", prefetch})
}()

// group is the number of elements that share a scale.
const group = 32

// quantizer reads rows of 8 or 4 bits.
type quantizer struct {
	*asm
	bits   int
	shifts reg.VecVirtual // of 4 bits: where each lane's element lies in its word
	steps  reg.VecVirtual // of 4 bits, AVX-512: what each nibble stands for
	high   reg.Register   // likewise: the mask of the upper lanes
	row    reg.GPVirtual  // bytes of a row
	scales reg.GPVirtual  // bytes of its scales
}

// geometry takes the sizes of rows from the parameter dim, and what elements are made with.
func (q *quantizer) geometry() {
	q.row, q.scales = q.integer("dim"), q.GP64()
	q.LEAQ(at(q.row, group-1), q.scales)
	q.SHRQ(operand.U8(5), q.scales)
	q.SHLQ(operand.U8(2), q.scales)
	if q.bits == 8 {
		return
	}
	q.SHRQ(operand.U8(1), q.row)
	q.shifts = q.vec()
	words := q.StaticGlobal("shifts")
	q.DataAttributes(attr.RODATA | attr.NOPTR)
	for i := range q.lanes() {
		q.AddDatum(4*i, operand.U32(i%8/2*4+i%2*16))
	}
	if !q.wide {
		q.VMOVDQU(words, q.shifts)
		return
	}
	q.VMOVDQU32(words, q.shifts)
	steps := q.StaticGlobal("steps")
	q.DataAttributes(attr.RODATA | attr.NOPTR)
	for i := range 16 {
		q.AddDatum(4*i, operand.U32(math.Float32bits(float32(i-8))))
	}
	q.steps = q.vec()
	q.VMOVUPS(steps, q.steps)
	mask, k := q.GP32(), q.K()
	q.MOVL(operand.U32(0xff00), mask)
	q.KMOVW(mask, k)
	q.high = k
}

// bytes is what so many elements of a row take.
func (q *quantizer) bytes(elements int) int { return elements * q.bits / 8 }

// query is how many times the bytes of a row a row of float32 has.
func (q *quantizer) query() uint8 { return uint8(32 / q.bits) }

// scaled prepares a scale for element.
func (q *quantizer) scaled(scale operand.Mem) []reg.VecVirtual {
	v := q.vec()
	q.VBROADCASTSS(scale, v)
	if q.bits == 8 {
		return []reg.VecVirtual{v}
	}
	if q.wide {
		q.VMULPS(q.steps, v, v)
		return []reg.VecVirtual{v}
	}
	zero := q.vec() // eight times it
	q.VMULPS(q.splat("eight", 8), v, zero)
	return []reg.VecVirtual{v, zero}
}

// element makes a vector of elements, which lie at m, with their scale.
func (q *quantizer) element(m operand.Mem, scale []reg.VecVirtual) reg.VecVirtual {
	v := q.vec()
	switch {
	case q.bits == 8:
		q.VPMOVSXBD(m, v)
		q.VCVTDQ2PS(v, v)
		q.VMULPS(scale[0], v, v)
	case q.wide:
		q.VPBROADCASTD(m, v)
		q.VPBROADCASTD(moved(m, 4), q.high, v)
		q.VPSRLVD(q.shifts, v, v)
		q.VPERMPS(scale[0], v, v)
	default:
		q.VPBROADCASTD(m, v)
		q.VPSRLVD(q.shifts, v, v)
		q.VPAND(q.nibbles(), v, v)
		q.VCVTDQ2PS(v, v)
		q.VFMSUB213PS(scale[1], scale[0], v)
	}
	return v
}

// nibbles is the vector of masks of the lowest four bits.
func (q *quantizer) nibbles() operand.Mem {
	if m, ok := q.consts["nibbles"]; ok {
		return m
	}
	m := q.StaticGlobal("nibbles")
	q.DataAttributes(attr.RODATA | attr.NOPTR)
	for i := range q.lanes() {
		q.AddDatum(4*i, operand.U32(15))
	}
	if q.consts == nil {
		q.consts = map[string]operand.Mem{}
	}
	q.consts["nibbles"] = m
	return m
}

// spans runs body over the elements of a row, in whole groups and then what is left, which is 16 elements.
func (q *quantizer) spans(most int, body func(elements int)) {
	left := q.integer("dim")
	for elements := most; elements >= 16; elements /= 2 {
		q.repeat(left, elements, func() { body(elements) })
	}
}

// scores writes the products of heads queries with n keys.
func (q quantizer) scores(heads int) {
	name := fmt.Sprintf("scores%dQ%d%s", heads, q.bits, q.suffix())
	q.begin(name, "func(s []float32, stride int, q []float32, k []byte, scales []float32, next []byte, n, dim int)",
		name+" is", "",
		fmt.Sprintf("\tfor h := range %d {\n\t\tfor j := range n {\n\t\t\tfor i := range dim {\n\t\t\t\ts[h*stride+j] += q[h*dim+i] * k[j*dim+i] // from 0, k as element times scale\n\t\t\t}\n\t\t}\n\t}", heads),
		"", "for dim a multiple of 16. It prefetches next, as many bytes of it as k has at most.")
	keys := 16 / heads
	if !q.wide {
		keys = min(4, 8/heads)
	}
	s, stride, x, k, scales := q.ptr("s"), q.integer("stride"), q.ptr("q"), q.ptr("k"), q.ptr("scales")
	next, limit := q.ahead()
	n := q.integer("n")
	q.SHLQ(operand.U8(2), stride)
	q.geometry()
	products := func(keys int) []reg.VecVirtual {
		acc := q.zeroed(heads * keys)
		q.spans(group, func(elements int) {
			vectors := 1 // at a time, as registers suffice
			if q.wide {
				vectors = elements / q.lanes()
			}
			for first := 0; first < elements; first += vectors * q.lanes() {
				queries := make([]reg.VecVirtual, heads*vectors)
				at0 := q.copyOf(x)
				for h := range heads {
					for u := range vectors {
						y := q.vec()
						q.VMOVUPS(at(at0, 4*(first+u*q.lanes())), y)
						queries[h*vectors+u] = y
					}
					if h+1 < heads {
						q.LEAQ(atIndex(at0, q.row, q.query(), 0), at0)
					}
				}
				key, scale := q.copyOf(k), q.copyOf(scales)
				for j := range keys {
					by := q.scaled(at(scale, 0))
					for u := range vectors {
						v := q.element(at(key, q.bytes(first+u*q.lanes())), by)
						for h := range heads {
							q.VFMADD231PS(v, queries[h*vectors+u], acc[h*keys+j])
						}
					}
					if j+1 < keys {
						q.ADDQ(q.row, key)
						q.ADDQ(q.scales, scale)
					}
				}
			}
			q.prefetch(next, limit, keys*q.bytes(elements))
			q.ADDQ(operand.U32(q.bytes(elements)), k)
			q.ADDQ(operand.U32(4), scales)
			q.ADDQ(operand.U32(4*elements), x)
		})
		for range q.query() {
			q.SUBQ(q.row, x)
		}
		for range keys - 1 {
			q.ADDQ(q.row, k)
			q.ADDQ(q.scales, scales)
		}
		return acc
	}
	q.repeat(n, keys, func() {
		acc := products(keys)
		if q.wide {
			q.spread(q.laneSums(acc), s, stride, heads, keys)
		} else {
			q.narrowSums(acc, s, stride, keys)
		}
		q.ADDQ(operand.U32(keys*4), s)
	})
	q.repeat(n, 1, func() {
		out := q.copyOf(s)
		for _, v := range products(1) {
			if q.wide {
				q.laneSum(v)
			} else {
				q.narrowSum(v)
			}
			q.VMOVSS(v.AsX(), at(out, 0))
			q.ADDQ(stride, out)
		}
		q.ADDQ(operand.U32(4), s)
	})
	q.VZEROUPPER()
	q.RET()
}

// values writes the sums of n values, weighted for each of heads queries.
func (q quantizer) values(heads int) {
	name := fmt.Sprintf("values%dQ%d%s", heads, q.bits, q.suffix())
	q.begin(name, "func(o, p []float32, stride int, v []byte, scales []float32, next []byte, n, dim int)",
		name+" is", "",
		fmt.Sprintf("\tfor h := range %d {\n\t\tfor j := range n {\n\t\t\tfor i := range dim {\n\t\t\t\to[h*dim+i] += p[h*stride+j] * v[j*dim+i] // v as element times scale\n\t\t\t}\n\t\t}\n\t}", heads),
		"", "for n at least 1 and dim a multiple of 16. It prefetches next, as many bytes of it as v has at most.")
	o, stride, v0, scales0 := q.ptr("o"), q.integer("stride"), q.ptr("v"), q.ptr("scales")
	next, limit := q.ahead()
	q.SHLQ(operand.U8(2), stride)
	strides := q.multiples(stride, heads)
	q.geometry()
	chunk := func(elements int) {
		vectors := elements / q.lanes()
		acc := make([]reg.VecVirtual, heads*vectors)
		each := func(do func(x reg.VecVirtual, m operand.Mem)) {
			out := q.copyOf(o)
			for i, x := range acc {
				do(x, at(out, i%vectors*q.lanes()*4))
				if i%vectors == vectors-1 && i+1 < len(acc) {
					q.LEAQ(atIndex(out, q.row, q.query(), 0), out)
				}
			}
		}
		for i := range acc {
			acc[i] = q.vec()
		}
		each(func(x reg.VecVirtual, m operand.Mem) { q.VMOVUPS(m, x) })
		v, scale, weights, left := q.copyOf(v0), q.copyOf(scales0), q.ptr("p"), q.integer("n")
		q.repeat(left, 1, func() {
			w := make([]reg.VecVirtual, heads)
			weigh := func(h int, m operand.Mem) {
				w[h] = q.vec()
				q.VBROADCASTSS(m, w[h])
			}
			for h, m := range strided(weights, strides, 1, heads) {
				weigh(h, m)
			}
			for first := 0; first < elements; first += group {
				by := q.scaled(at(scale, first/group*4))
				for u := first / q.lanes(); u < min(first+group, elements)/q.lanes(); u++ {
					x := q.element(at(v, q.bytes(u*q.lanes())), by)
					for h := range heads {
						q.VFMADD231PS(x, w[h], acc[h*vectors+u])
					}
				}
			}
			q.prefetch(next, limit, q.bytes(elements))
			q.ADDQ(operand.U32(4), weights)
			q.ADDQ(q.row, v)
			q.ADDQ(q.scales, scale)
		})
		each(func(x reg.VecVirtual, m operand.Mem) { q.VMOVUPS(x, m) })
		q.ADDQ(operand.U32(4*elements), o)
		q.ADDQ(operand.U32(q.bytes(elements)), v0)
	}
	switch {
	case q.wide:
		q.spans(min(2*group, 16*q.lanes()/heads), func(elements int) {
			chunk(elements)
			q.ADDQ(operand.U32((elements+group-1)/group*4), scales0)
		})
	case heads == 4: // registers suffice for half a group
		q.spans(group, func(elements int) {
			for range elements / 16 {
				chunk(16)
			}
			q.ADDQ(operand.U32(4), scales0)
		})
	default:
		q.spans(group, func(elements int) {
			chunk(elements)
			q.ADDQ(operand.U32(4), scales0)
		})
	}
	q.VZEROUPPER()
	q.RET()
}

// prefetch writes the routine that asks for memory.
func prefetch(a *asm) {
	a.begin("prefetchAsm", "func(b []byte)", "prefetchAsm asks for b to be brought into the nearest cache.")
	b, n := a.ptr("b"), a.length("b")
	a.ADDQ(operand.U32(cacheLine-1), n)
	a.repeat(n, cacheLine, func() {
		a.PREFETCHT1(at(b, 0))
		a.ADDQ(operand.U32(cacheLine), b)
	})
	a.RET()
}

// from writes n rows as float32.
func (q quantizer) from() {
	name := fmt.Sprintf("fromQ%d%s", q.bits, q.suffix())
	q.begin(name, "func(dst []float32, src []byte, scales []float32, n, dim int)",
		name+" is", "",
		"\tfor j := range n {\n\t\tfor i := range dim {\n\t\t\tdst[j*dim+i] = src[j*dim+i] // as element times scale\n\t\t}\n\t}",
		"", "for dim a multiple of 16.")
	dst, src, scales, n := q.ptr("dst"), q.ptr("src"), q.ptr("scales"), q.integer("n")
	q.geometry()
	q.repeat(n, 1, func() {
		q.spans(group, func(elements int) {
			by := q.scaled(at(scales, 0))
			for u := range elements / q.lanes() {
				q.VMOVUPS(q.element(at(src, q.bytes(u*q.lanes())), by), at(dst, u*q.lanes()*4))
			}
			q.ADDQ(operand.U32(q.bytes(elements)), src)
			q.ADDQ(operand.U32(4*elements), dst)
			q.ADDQ(operand.U32(4), scales)
		})
	})
	q.VZEROUPPER()
	q.RET()
}
