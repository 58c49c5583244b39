package main

import (
	"fmt"

	"github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// wholeGEMMs are the matrix kernels of many rows of activations, as whole numbers, with quantized weights: words, of which pairs of neighbours are multiplied and
// added up in a lane. A group of 32 is 16 such steps where float32 takes 32; then comes one conversion, and a multiplication with either scale.
var wholeGEMMs = func() []routine {
	var rs []routine
	for _, k := range []wholeGEMM{{}, {sums: true}, {halves: true}} {
		rs = append(rs, routine{k.file(true), func(a *asm) { a.wide = true; k.write(a) }}, routine{k.file(false), k.write})
	}
	return rs
}()

// wholeGEMM is one of the kernels.
type wholeGEMM struct {
	sums   bool // weights have minimums or biases, which the sums of groups are multiplied with
	halves bool // weights have a scale for sixteen columns
}

const (
	gemmRows   = 6      // of activations
	packedRows = 16     // weights that lie together
	pairs      = 32 / 2 // steps of a group
)

func (k wholeGEMM) kind() string {
	switch {
	case k.sums:
		return "Sums"
	case k.halves:
		return "Halves"
	}
	return ""
}

func (k wholeGEMM) file(wide bool) string {
	name := "gemm_whole"
	switch {
	case k.sums:
		name += "_sums"
	case k.halves:
		name += "_halves"
	}
	if wide {
		name += "_avx512"
	}
	return name
}

// write keeps 6 rows of two vectors in registers as whole numbers, and with AVX-512 as float32 too; with AVX2 these are in the first cache.
func (k wholeGEMM) write(a *asm) {
	const cols = 2 // vectors
	name, width, scales := "gemmWhole"+k.kind()+a.suffix(), cols*a.lanes(), 1
	loop := "\t\t\tfor g := range groups {\n\t\t\t\tsum := int32(0)\n\t\t\t\tfor i := range 32 {\n\t\t\t\t\tsum += x.words[g*16+i/2][r][i%2] * w.words[g*16+i/2][j][i%2]\n\t\t\t\t}\n\t\t\t\tf += float32(sum) * w.scales[g][j] * x.scales[g][r]\n"
	xDoc, wDoc := "\twords  [groups*16][6][2]int16\n\tscales [groups][6]float32\n", "\twords  [groups*16][16][2]int16\n\tscales [groups][16]float32\n"
	switch {
	case k.sums:
		loop += "\t\t\t\tf += w.least[g][j] * x.sums[g][r]\n"
		xDoc, wDoc = xDoc+"\tsums   [groups][6]float32\n", wDoc+"\tleast  [groups][16]float32\n"
	case k.halves:
		scales = 2
		loop = "\t\t\tfor h := range 2 * groups {\n\t\t\t\tsum := int32(0)\n\t\t\t\tfor i := range 16 {\n\t\t\t\t\tsum += x.words[h*8+i/2][r][i%2] * w.words[h*8+i/2][j][i%2]\n\t\t\t\t}\n\t\t\t\tf += float32(sum) * w.scales[h][j] * x.scales[h/2][r]\n"
		wDoc = "\twords  [groups*16][16][2]int16\n\tscales [groups*2][16]float32\n"
	}
	behind := ""
	if a.wide {
		behind = " Columns from the sixteenth on are of a second w, behind the first."
	}
	a.begin(name, "func(c []float32, stride int, x, w []float32, groups int, add bool)",
		name+" is", "",
		fmt.Sprintf("\tfor r := range 6 {\n\t\tfor j := range %d {\n\t\t\tf := float32(0)\n%s\t\t\t}\n\t\t\tif add {\n\t\t\t\tf += c[r*stride+j]\n\t\t\t}\n\t\t\tc[r*stride+j] = f\n\t\t}\n\t}", width, loop),
		"", "for groups > 0 and x made of", "", xDoc, "and w of", "", wDoc+behind)
	x, w, groups := a.ptr("x"), a.ptr("w"), a.integer("groups")
	xs, ws, t := a.GP64(), a.GP64(), a.GP64() // where scales begin, and what is behind them
	a.IMUL3Q(operand.U32(pairs*gemmRows*4), groups, t)
	a.LEAQ(atIndex(x, t, 1, 0), xs)
	a.IMUL3Q(operand.U32(pairs*packedRows*4), groups, t)
	a.LEAQ(atIndex(w, t, 1, 0), ws)
	var sums, least reg.GPVirtual
	if k.sums {
		sums, least = a.GP64(), a.GP64()
		a.IMUL3Q(operand.U32(gemmRows*4), groups, t)
		a.LEAQ(atIndex(xs, t, 1, 0), sums)
		a.IMUL3Q(operand.U32(packedRows*4), groups, t)
		a.LEAQ(atIndex(ws, t, 1, 0), least)
	}
	beside := scales // float32 of a row's group beside its words
	if k.sums {
		beside++
	}
	second := a.GP64()
	a.IMUL3Q(operand.U32(uint32(pairs+beside)*packedRows*4), groups, second)
	// of is the memory of a vector's weights, or of what goes with them: the second vector of AVX-512 is of the next sixteen rows, that of AVX2 of the same.
	of := func(p reg.GPVirtual, j, disp int) operand.Mem {
		switch {
		case j == 0:
			return at(p, disp)
		case a.wide:
			return atIndex(p, second, 1, disp)
		}
		return at(p, disp+32)
	}

	c, stride := a.ptr("c"), a.integer("stride") // ask for the tile, whose rows may lie far apart
	for range gemmRows {
		a.PREFETCHT0(at(c, 0))
		a.PREFETCHT0(at(c, 4*width-1))
		a.LEAQ(atIndex(c, stride, 4, 0), c)
	}
	var tile []reg.VecVirtual // float32: with AVX2 it is kept in memory
	kept := func(int) operand.Mem { return operand.Mem{} }
	if a.wide {
		tile = a.zeroed(gemmRows * cols)
	} else {
		memory, zero := a.AllocLocal(4*gemmRows*width), a.zeroed(1)[0]
		kept = func(i int) operand.Mem { return memory.Offset(32 * i) }
		for i := range gemmRows * cols {
			a.VMOVUPS(zero, kept(i))
		}
	}
	a.repeat(groups, 1, func() {
		for part := range scales {
			sum := k.products(a, x, w, part*pairs/scales, pairs/scales, of)
			var scale []reg.VecVirtual
			for j := range cols {
				if a.wide {
					scale = append(scale, a.vec())
					a.VMOVUPS(of(ws, j, 64*part), scale[j])
				}
			}
			for r := range gemmRows {
				by := a.vec()
				a.VBROADCASTSS(at(xs, 4*r), by)
				for j := range cols {
					i := r*cols + j
					a.VCVTDQ2PS(sum[i], sum[i])
					if a.wide {
						a.VMULPS(scale[j], sum[i], sum[i])
						a.VFMADD231PS(sum[i], by, tile[i])
						continue
					}
					a.VMULPS(of(ws, j, 64*part), sum[i], sum[i])
					a.VFMADD213PS(kept(i), by, sum[i])
					if !k.sums {
						a.VMOVUPS(sum[i], kept(i))
					}
				}
			}
			if !k.sums {
				continue
			}
			for j := range cols {
				v := a.vec()
				a.VMOVUPS(of(least, j, 0), v)
				for r := range gemmRows {
					i := r*cols + j
					if a.wide {
						a.VFMADD231PS_BCST(at(sums, 4*r), v, tile[i])
						continue
					}
					by := a.vec()
					a.VBROADCASTSS(at(sums, 4*r), by)
					a.VFMADD231PS(v, by, sum[i])
					a.VMOVUPS(sum[i], kept(i))
				}
			}
		}
		a.ADDQ(operand.U32(2*32*gemmRows), x)
		a.ADDQ(operand.U32(4*gemmRows), xs)
		a.ADDQ(operand.U32(2*32*packedRows), w)
		a.ADDQ(operand.U32(4*packedRows*scales), ws)
		if k.sums {
			a.ADDQ(operand.U32(4*gemmRows), sums)
			a.ADDQ(operand.U32(4*packedRows), least)
		}
	})
	if !a.wide {
		tile = make([]reg.VecVirtual, gemmRows*cols)
		for i := range tile {
			tile[i] = a.vec()
			a.VMOVUPS(kept(i), tile[i])
		}
	}
	a.storeTile(tile, gemmRows, cols)
}

// products is the sums of so many pairs of columns from one on.
func (k wholeGEMM) products(a *asm, x, w reg.GPVirtual, first, n int, of func(p reg.GPVirtual, j, disp int) operand.Mem) []reg.VecVirtual {
	const cols = 2
	sum := make([]reg.VecVirtual, gemmRows*cols)
	for i := range sum {
		sum[i] = a.vec()
	}
	for u := range n {
		b := [cols]reg.VecVirtual{a.vec(), a.vec()}
		for j, v := range b {
			a.VMOVUPS(of(w, j, (first+u)*4*packedRows), v)
		}
		for r := range gemmRows {
			by := a.vec()
			a.VPBROADCASTD(at(x, ((first+u)*gemmRows+r)*4), by)
			for j, v := range b {
				to := sum[r*cols+j]
				switch {
				case u == 0:
					a.VPMADDWD(v, by, to)
				case a.wide:
					a.raw("VPDPWSSD", true, nil, v, by, to)
				default:
					t := a.vec()
					a.VPMADDWD(v, by, t)
					a.VPADDD(t, to, to)
				}
			}
		}
	}
	return sum
}
