package main

import (
	"github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// narrowDeals put the scales of a tile's keys or values in order for AVX2: those of a group beside each other.
var narrowDeals = []routine{{"deal", narrowDeal}, {"regroup", narrowRegroup}}

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
