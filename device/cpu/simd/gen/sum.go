package main

import "github.com/mmcloughlin/avo/operand"

// reads only read memory, as fast as it can be read.
var reads = []routine{{"sum", sum}}

func sum(a *asm) {
	const vectors = 4
	a.begin("sumAVX2", "func(b []byte) (s uint64)",
		"sumAVX2 is", "", "\tfor i := 0; i < len(b); i += 8 {\n\t\ts += uint64(b[i:])\n\t}",
		"", "for len(b) a multiple of 128.")
	p, n := a.ptr("b"), a.length("b")
	acc := a.zeroed(vectors)
	a.repeat(n, vectors*32, func() {
		for disp := 0; disp < vectors*32; disp += cacheLine {
			a.PREFETCHT1(at(p, prefetchAhead+disp))
		}
		for i, v := range acc {
			a.VPADDQ(at(p, i*32), v, v)
		}
		a.ADDQ(operand.U32(vectors*32), p)
	})
	a.VPADDQ(acc[1], acc[0], acc[0])
	a.VPADDQ(acc[3], acc[2], acc[2])
	a.VPADDQ(acc[2], acc[0], acc[0])
	t := a.XMM()
	a.VEXTRACTI128(operand.U8(1), acc[0], t)
	a.VPADDQ(t, acc[0].AsX(), t)
	s, high := a.GP64(), a.GP64()
	a.VMOVQ(t, s)
	a.VPEXTRQ(operand.U8(1), t, high)
	a.ADDQ(high, s)
	a.Store(s, a.Return("s"))
	a.VZEROUPPER()
	a.RET()
}
