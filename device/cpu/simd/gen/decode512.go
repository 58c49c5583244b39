package main

import (
	"fmt"
	"slices"

	"github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// wideDecodes are the kernels of decode attention for AVX-512, for 1, 2, 4 or 8 query heads that share each
// loaded key or value. They ask for the memory that comes next as the others do.
var wideDecodes = func() []routine {
	var rs []routine
	for _, heads := range []int{1, 2, 4, 8} {
		rs = append(rs,
			routine{fmt.Sprintf("scores%d_f16_avx512", heads), func(a *asm) { a.wide = true; wideScores(a, heads) }},
			routine{fmt.Sprintf("values%d_f16_avx512", heads), func(a *asm) { a.wide = true; values(a, heads) }})
	}
	return rs
}()

// strided is the memory at base + i*unit*step for i < n, step one of 1 and 2. units holds unit times 1, 3, 5 and 7.
func strided(base reg.GPVirtual, units []reg.GPVirtual, step uint8, n int) []operand.Mem {
	ms := []operand.Mem{at(base, 0)}
	for i := 1; i < n; i++ {
		odd, scale := i, step
		for odd%2 == 0 {
			odd, scale = odd/2, scale*2
		}
		if scale > 8 {
			panic("too far a stride") // a mistake in this program
		}
		ms = append(ms, atIndex(base, units[odd/2], scale, 0))
	}
	return ms
}

// multiples is unit times 1, 3, 5 and 7, as far as n strides need them.
func (a *asm) multiples(unit reg.GPVirtual, n int) []reg.GPVirtual {
	units := []reg.GPVirtual{unit}
	for odd := 3; odd < n; odd += 2 {
		r := a.GP64()
		a.LEAQ(atIndex(units[len(units)-1], unit, 2, 0), r)
		units = append(units, r)
	}
	return units
}

// moved is the same memory, disp bytes further on.
func moved(m operand.Mem, disp int) operand.Mem {
	m.Disp += disp
	return m
}

// wideScores writes the products of heads queries with n keys.
func wideScores(a *asm, heads int) {
	name := fmt.Sprintf("scores%dF16AVX512", heads)
	a.begin(name, "func(s []float32, stride int, q []float32, k, next []byte, n, dim int)",
		name+" is", "",
		fmt.Sprintf("\tfor h := range %d {\n\t\tfor j := range n {\n\t\t\tfor i := range dim {\n\t\t\t\ts[h*stride+j] += q[h*dim+i] * k[j*dim+i] // from 0\n\t\t\t}\n\t\t}\n\t}", heads),
		"", "for dim a multiple of 16. It prefetches next, at most 2*n*dim bytes of it.")
	a.products(formats[1], heads, 16/heads, true)
}

// products is the body of a routine with the parameters of wideScores, for rows k in the format. It takes so many
// of them at a time, and adds sums up across their lanes together, each in the same order as alone.
func (a *asm) products(f format, heads, keys int, near bool) {
	s, stride, q, k := a.ptr("s"), a.integer("stride"), a.ptr("q"), a.ptr("k")
	next, limit := a.ahead()
	n, row := a.integer("n"), a.integer("dim")
	a.SHLQ(operand.U8(2), stride)
	wider := uint8(4 / f.bytes) // how many times the bytes of a row a query has
	asked := func(int) {}
	if near {
		asked = a.near("k").orNext(next, limit).ask
	}
	if f.bytes == 2 {
		a.SHLQ(operand.U8(1), row)
	} else {
		a.SHLQ(operand.U8(2), row)
	}
	units := a.multiples(row, min(8, max(heads, keys)))
	step := 16 * f.bytes
	products := func(keys int) []reg.VecVirtual {
		acc := a.zeroed(heads * keys)
		queries := strided(q, units, wider, heads)
		stored := strided(k, units, 1, min(keys, 8))
		if keys == 16 {
			k8 := a.GP64()
			a.LEAQ(atIndex(k, row, 8, 0), k8)
			stored = append(stored, strided(k8, units, 1, 8)...)
		}
		left := a.copyOf(row)
		a.repeat(left, step, func() {
			a.multiply(f, stored, queries, acc)
			a.prefetch(next, limit, keys*step)
			asked(keys * step)
			a.ADDQ(operand.U32(step), k)
			a.ADDQ(operand.U32(64), q)
			if keys == 16 {
				a.ADDQ(operand.U32(step), stored[8].Base.(reg.GPVirtual))
			}
		})
		for range wider {
			a.SUBQ(row, q)
		}
		return acc
	}
	a.repeat(n, keys, func() {
		total := a.laneSums(products(keys))
		a.spread(total, s, stride, heads, keys)
		a.ADDQ(operand.U32(keys*4), s)
		for range keys - 1 {
			a.ADDQ(row, k)
		}
	})
	a.repeat(n, 1, func() {
		out := a.copyOf(s)
		for _, v := range products(1) {
			a.laneSum(v)
			a.VMOVSS(v.AsX(), at(out, 0))
			a.ADDQ(stride, out)
		}
		a.ADDQ(operand.U32(4), s)
	})
	a.VZEROUPPER()
	a.RET()
}

// multiply adds the products of sixteen elements of some keys with those of each head to sums, which are a head's for all keys, then the next's.
func (a *asm) multiply(f format, stored, queries []operand.Mem, acc []reg.VecVirtual) {
	heads, keys := len(queries), len(stored)
	if heads < keys { // few heads: a key at a time
		y := make([]reg.VecVirtual, heads)
		for h := range y {
			y[h] = a.ZMM()
			a.VMOVUPS(queries[h], y[h])
		}
		for j := range keys {
			x := a.ZMM()
			a.load(f, stored[j], x)
			for h := range heads {
				a.VFMADD231PS(x, y[h], acc[h*keys+j])
			}
		}
		return
	}
	x := make([]reg.VecVirtual, keys)
	for j := range x {
		x[j] = a.ZMM()
		a.load(f, stored[j], x[j])
	}
	for h := range heads {
		y := a.ZMM()
		a.VMOVUPS(queries[h], y)
		for j := range keys {
			a.VFMADD231PS(x[j], y, acc[h*keys+j])
		}
	}
}

// laneSums is the sums of the lanes of up to 16 vectors, which it destroys, in their order. Lanes add up as
// in laneSum. Shuffles are for one port of the processor only, so where a blend does it is a blend.
func (a *asm) laneSums(v []reg.VecVirtual) reg.VecVirtual {
	for _, full := range []int{4, 8, 16} {
		if len(v) <= full {
			v = append(slices.Clone(v), a.zeroed(full-len(v))...)
			break
		}
	}
	mask := func(bits uint32) reg.OpmaskVirtual {
		t, k := a.GP32(), a.K()
		a.MOVL(operand.U32(bits), t)
		a.KMOVW(t, k)
		return k
	}
	pairs := mask(0xcccc) // the upper two lanes of each quarter
	// halves adds up two halves of what a shuffle exchanges: x keeps its lower ones, y its upper ones.
	halves := func(upper reg.OpmaskVirtual, x, y reg.VecVirtual, exchange func(x, y, z reg.VecVirtual)) {
		t := a.ZMM()
		exchange(x, y, t)
		a.VMOVAPS(y, upper, x)
		a.VADDPS(t, x, x)
	}
	whole := func(x, y reg.VecVirtual, low, high func(x, y, z reg.VecVirtual)) {
		t := a.ZMM()
		high(x, y, t)
		low(x, y, x)
		a.VADDPS(t, x, x)
	}
	singles := func(imm uint64) func(x, y, z reg.VecVirtual) {
		return func(x, y, z reg.VecVirtual) { a.VSHUFPS(operand.U8(imm), y, x, z) }
	}
	quarters := func(imm uint64) func(x, y, z reg.VecVirtual) {
		return func(x, y, z reg.VecVirtual) { a.VSHUFF32X4(operand.U8(imm), y, x, z) }
	}
	for i := 0; i < len(v); i += 4 {
		halves(pairs, v[i], v[i+1], singles(0x4e))
		halves(pairs, v[i+2], v[i+3], singles(0x4e))
		whole(v[i], v[i+2], singles(0x88), singles(0xdd))
	}
	if len(v) == 4 {
		whole(v[0], v[0], quarters(0x44), quarters(0xee))
		whole(v[0], v[0], quarters(0x88), quarters(0xdd))
		return v[0]
	}
	upper := mask(0xff00)
	for i := 0; i < len(v); i += 8 {
		halves(upper, v[i], v[i+4], quarters(0x4e))
	}
	whole(v[0], v[len(v)-8], quarters(0x88), quarters(0xdd))
	return v[0]
}

// laneSum leaves the sum of the lanes of v in its lowest element.
func (a *asm) laneSum(v reg.VecVirtual) {
	t := a.ZMM()
	a.VPERMILPS(operand.U8(0x4e), v, t)
	a.VADDPS(t, v, v)
	a.VPERMILPS(operand.U8(0xb1), v, t)
	a.VADDPS(t, v, v)
	a.VEXTRACTF64X4(operand.U8(1), v, t.AsY())
	a.VADDPS(t.AsY(), v.AsY(), v.AsY())
	a.VEXTRACTF128(operand.U8(1), v.AsY(), t.AsX())
	a.VADDPS(t.AsX(), v.AsX(), v.AsX())
}

// spread stores the lanes of v, keys of them for each head, a stride apart.
func (a *asm) spread(v reg.VecVirtual, s, stride reg.GPVirtual, heads, keys int) {
	out := a.copyOf(s)
	switch keys {
	case 16:
		a.VMOVUPS(v, at(out, 0))
	case 8:
		a.VMOVUPS(v.AsY(), at(out, 0))
		a.ADDQ(stride, out)
		a.VEXTRACTF64X4(operand.U8(1), v, at(out, 0))
	default:
		for i := range (heads*keys + 3) / 4 {
			t := v
			if i > 0 {
				t = a.XMM()
				a.VEXTRACTF32X4(operand.U8(uint64(i)), v, t)
			}
			if keys == 4 {
				a.VMOVUPS(t.AsX(), at(out, 0))
				a.ADDQ(stride, out)
				continue
			}
			a.VMOVLPS(t.AsX(), at(out, 0))
			a.ADDQ(stride, out)
			if 2*i+1 == heads {
				break
			}
			a.VMOVHPS(t.AsX(), at(out, 0))
			a.ADDQ(stride, out)
		}
	}
}
