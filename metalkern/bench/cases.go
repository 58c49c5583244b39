package bench

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"sync"
	"unsafe"

	"github.com/orrery-ai/orrery/attention"
	"github.com/orrery-ai/orrery/attention/plane"
	"github.com/orrery-ai/orrery/metalkern/gpu"
	"github.com/orrery-ai/orrery/metalkern/kernels"
)

const (
	// coldBytes is how much memory the copies of an input take together, so that no cache holds them.
	coldBytes = 512 << 20
	// patternBytes is the size of what memory is filled with.
	patternBytes = 1 << 20
	// blockTokens is the size of a block of keys and values.
	blockTokens = 1024
)

// cases are what is measured after the limits.
func (b *bench) cases() []maker {
	var list []maker
	large, wide, hidden, tokens := 14336, 4096, 4096, 2048
	contexts, chunk := []int{16 << 10, 200 << 10}, []int{8 << 10, 32 << 10}
	grouped := []kernels.WeightFormat{kernels.Q4K, kernels.Q6K, kernels.Affine(4, 64, kernels.BF16), kernels.Affine(8, 64, kernels.BF16)}
	groupedLarge, groupedWide := large, wide
	if b.opts.Tiny {
		large, wide, hidden, tokens = 96, 64, 64, 48
		groupedLarge, groupedWide = 256, 512
		contexts, chunk = []int{200}, []int{64}
	}
	for _, f := range []kernels.WeightFormat{kernels.BF16, kernels.F16, kernels.Q8, kernels.Q4} {
		list = append(list, matvecCase(f, 1, large, wide), matvecCase(f, 1, wide, large), matvecCase(f, 1, wide, hidden))
	}
	for _, f := range []kernels.WeightFormat{kernels.BF16, kernels.Q8, kernels.Q4} {
		list = append(list, matvecCase(f, 2, large, wide), matvecCase(f, 8, large, wide))
	}
	for _, f := range grouped {
		list = append(list, matvecCase(f, 1, groupedLarge, groupedWide), matvecCase(f, 1, groupedWide, groupedLarge), matvecCase(f, 8, groupedLarge, groupedWide))
	}
	list = append(list, packCase(kernels.Q4, 1, wide), packCase(kernels.Q4, 8, wide))
	for _, f := range []kernels.WeightFormat{kernels.BF16, kernels.F16, kernels.Q8, kernels.Q4} {
		list = append(list, gemmCase("gemm "+f.String(), f, tokens, large, wide))
	}
	for _, f := range grouped {
		list = append(list, gemmCase("gemm "+f.String(), f, tokens, groupedLarge, groupedWide))
	}
	for _, keys := range contexts {
		for _, bits := range []int{16, 8, 4} {
			for _, group := range []int{4, 8} {
				list = append(list, decodeCase(bits, keys, attention.Shape{Heads: 8 * group, KVHeads: 8, HeadDim: 128, Scale: float32(1 / math.Sqrt(128))}))
			}
		}
	}
	for _, bits := range []int{16, 8, 4} {
		for _, s := range []attention.Shape{{Heads: 32, KVHeads: 8, HeadDim: 64}, {Heads: 16, KVHeads: 2, HeadDim: 128}, {Heads: 4, KVHeads: 2, HeadDim: 64}} {
			s.Scale = float32(1 / math.Sqrt(float64(s.HeadDim)))
			list = append(list, decodeCase(bits, contexts[len(contexts)-1], s))
		}
	}
	for _, n := range chunk {
		for _, bits := range []int{16, 8, 4} {
			list = append(list, prefillCase(bits, n, attention.Shape{Heads: 32, KVHeads: 8, HeadDim: 128, Scale: float32(1 / math.Sqrt(128))}))
		}
	}
	list = append(list, b.expertCases()...)
	list = append(list, b.tokenCases()...)
	list = append(list, rowCases(hidden, tokens)...)
	return append(list, b.stepCases()...)
}

func (b *bench) copyCase() maker {
	n := int64(2 << 30)
	if b.opts.Tiny {
		n = 1 << 16
	}
	return maker{"copy", size(n), func(b *bench) (measured, error) {
		src, err := b.filled(n, pattern())
		if err != nil {
			return measured{}, err
		}
		dst, err := b.alloc(n)
		return measured{bytes: 2 * n, launch: func(int) error { return b.set.Copy(b.queue, dst, src, n) }}, err
	}}
}

func (b *bench) matrixCase() maker {
	n := 8192
	if b.opts.Tiny {
		n = 64
	}
	return gemmCase("large product bf16", kernels.BF16, n, n, n)
}

// pattern is what weights and caches are filled with.
var pattern = sync.OnceValue(func() []byte { return halves(1, patternBytes/2) })

// halves is n random numbers as halves, or nearly so as bf16, little endian: about normal, and never large.
func halves(seed uint64, n int) []byte {
	random := rand.New(rand.NewPCG(seed, 3))
	data := make([]byte, 2*n)
	for i := range n {
		// sign and fraction are random, the exponent is near that of 1
		v := uint16(random.Uint32())&0x83ff | 0x3000 + uint16(random.Uint32()%3)<<10
		binary.LittleEndian.PutUint16(data[2*i:], v)
	}
	return data
}

// singles is n random float32.
func singles(seed uint64, n int) []byte {
	random := rand.New(rand.NewPCG(seed, 4))
	data := make([]byte, 4*n)
	for i := range n {
		binary.LittleEndian.PutUint32(data[4*i:], math.Float32bits(float32(random.NormFloat64())))
	}
	return data
}

// weights makes a matrix, and as many copies of it as no cache holds.
func (b *bench) weights(f kernels.WeightFormat, rows, cols int) ([]kernels.Weights, error) {
	w := kernels.Weights{Format: f, Rows: rows, Cols: cols}
	n := int64(rows) * int64(cols)
	data, scales := f.DataBytes(n), f.ScaleBytes(n)
	copies := int64(1)
	if !b.opts.Tiny {
		copies = max(1, coldBytes/data)
	}
	d, err := b.filled(copies*data, pattern())
	if err != nil {
		return nil, err
	}
	s, err := b.filled(max(16, copies*scales), pattern())
	if err != nil {
		return nil, err
	}
	all := make([]kernels.Weights, copies)
	for i := range all {
		all[i] = w
		all[i].Data = gpu.Range{Buffer: d.Buffer, Offset: int64(i) * data}
		all[i].Scales = gpu.Range{Buffer: s.Buffer, Offset: int64(i) * scales}
	}
	return all, nil
}

func matvecCase(f kernels.WeightFormat, tokens, rows, cols int) maker {
	return maker{"matvec " + f.String(), fmt.Sprintf("[%d][%d], %d tokens", rows, cols, tokens), func(b *bench) (measured, error) {
		w, err := b.weights(f, rows, cols)
		if err != nil {
			return measured{}, err
		}
		x, err := b.filled(int64(tokens*cols*4), singles(4, tokens*cols))
		if err != nil {
			return measured{}, err
		}
		out, err := b.alloc(int64(tokens * rows * 4))
		if err != nil {
			return measured{}, err
		}
		launch := func(i int) error { return b.set.Matvec(b.queue, out, x, w[i%len(w)], tokens, false) }
		if w[0].Packed(tokens) {
			packed, err := b.alloc(int64(4 * tokens * cols))
			if err != nil {
				return measured{}, err
			}
			if err := b.set.Pack(b.queue, packed, x, w[0], tokens); err != nil {
				return measured{}, err
			}
			launch = func(i int) error { return b.set.Skinny(b.queue, out, packed, w[i%len(w)], tokens, false) }
		}
		return measured{bytes: w[0].Bytes() + int64(4*tokens*(rows+cols)), operations: 2 * float64(tokens) * float64(rows) * float64(cols), launch: launch}, nil
	}}
}

// packCase is what a product of a few tokens needs once for each x.
func packCase(f kernels.WeightFormat, tokens, cols int) maker {
	return maker{"pack", fmt.Sprintf("%v, [%d][%d]", f, tokens, cols), func(b *bench) (measured, error) {
		x, err := b.filled(int64(tokens*cols*4), singles(4, tokens*cols))
		if err != nil {
			return measured{}, err
		}
		packed, err := b.alloc(int64(4 * tokens * cols))
		w := kernels.Weights{Format: f, Rows: 1, Cols: cols}
		return measured{bytes: int64(8 * tokens * cols), launch: func(int) error { return b.set.Pack(b.queue, packed, x, w, tokens) }}, err
	}}
}

func gemmCase(name string, f kernels.WeightFormat, tokens, rows, cols int) maker {
	return maker{name, fmt.Sprintf("[%d][%d], %d tokens", rows, cols, tokens), func(b *bench) (measured, error) {
		w, err := b.weights(f, rows, cols)
		if err != nil {
			return measured{}, err
		}
		x, err := b.filled(int64(tokens)*int64(cols)*4, singles(4, patternBytes/4))
		if err != nil {
			return measured{}, err
		}
		scratch, err := b.alloc(int64(tokens) * int64(cols) * 4)
		if err != nil {
			return measured{}, err
		}
		out, err := b.alloc(int64(tokens) * int64(rows) * 4)
		return measured{bytes: w[0].Bytes() + int64(4*tokens)*int64(rows+cols), operations: 2 * float64(tokens) * float64(rows) * float64(cols),
			launch: func(i int) error { return b.set.Gemm(b.queue, out, x, scratch, w[i%len(w)], tokens, false) }}, err
	}}
}

// keysAndValues makes a layer's blocks, in an order that is not that of memory, and their list.
func (b *bench) keysAndValues(bits, keys int, s attention.Shape) (kv, blocks gpu.Range, list []kernels.Block, tiles int, err error) {
	l := plane.Layout{Bits: bits, Dim: s.HeadDim}
	each := l.Bytes(blockTokens) * s.KVHeads
	random := rand.New(rand.NewPCG(5, 5))
	half := make([]byte, each) // of one block: keys, and values too
	x := make([]float32, s.HeadDim)
	for h := range s.KVHeads {
		for t := range blockTokens {
			for i := range x {
				x[i] = float32(random.NormFloat64())
			}
			l.Put(half[h*l.Bytes(blockTokens):], blockTokens, t, x)
		}
	}
	n := (keys + blockTokens - 1) / blockTokens
	if kv, err = b.filled(int64(n)*2*int64(each), half); err != nil {
		return
	}
	for i, place := range random.Perm(n) {
		length := min(blockTokens, keys-i*blockTokens)
		at := uint64(place) * 2 * uint64(each)
		list = append(list, kernels.Block{K: at, V: at + uint64(each), First: int32(i * blockTokens), Length: uint32(length), Capacity: blockTokens, Tile: uint32(tiles)})
		tiles += kernels.Tiles(length)
	}
	blocks, err = b.filled(int64(len(list))*int64(unsafe.Sizeof(list[0])), bytesOf(list))
	return
}

func kvName(bits int) string { return map[int]string{16: "f16", 8: "q8", 4: "q4"}[bits] }

func decodeCase(bits, keys int, s attention.Shape) maker {
	return maker{"decode attention " + kvName(bits), fmt.Sprintf("%d keys, %d/%d heads of %d", keys, s.Heads, s.KVHeads, s.HeadDim), func(b *bench) (measured, error) {
		kv, blocks, list, tiles, err := b.keysAndValues(bits, keys, s)
		if err != nil {
			return measured{}, err
		}
		query := []kernels.Query{{Count: uint32(len(list)), Tiles: uint32(tiles), Position: int32(keys)}}
		queries, err := b.filled(int64(unsafe.Sizeof(query[0])), bytesOf(query))
		if err != nil {
			return measured{}, err
		}
		decode, err := b.set.Decode(kernels.Layer{Shape: s, Bits: bits})
		if err != nil {
			return measured{}, err
		}
		merge, err := b.set.Merge()
		if err != nil {
			return measured{}, err
		}
		split := decode.Split(tiles, 1)
		wide := s.Heads * s.HeadDim
		q, err := b.filled(int64(4*wide), singles(6, wide))
		if err != nil {
			return measured{}, err
		}
		var parts kernels.Partial
		for _, p := range []struct {
			r *gpu.Range
			n int
		}{{&parts.O, wide}, {&parts.M, s.Heads}, {&parts.L, s.Heads}} {
			if *p.r, err = b.alloc(int64(4 * p.n * split.Parts)); err != nil {
				return measured{}, err
			}
		}
		out, err := b.alloc(int64(4 * wide))
		row := 2 * s.KVHeads * (s.HeadDim*bits/8 + 2*(plane.Layout{Bits: bits, Dim: s.HeadDim}).Scales())
		return measured{bytes: int64(keys) * int64(row), operations: 4 * float64(keys) * float64(wide), launch: func(int) error {
			decode.Launch(b.queue, q, kv, blocks, queries, 1, split, parts)
			return merge.Finish(b.queue, out, gpu.Range{}, parts, split.Parts, 1, s)
		}}, err
	}}
}

func prefillCase(bits, tokens int, s attention.Shape) maker {
	return maker{"prefill attention " + kvName(bits), fmt.Sprintf("%d tokens, %d/%d heads of %d", tokens, s.Heads, s.KVHeads, s.HeadDim), func(b *bench) (measured, error) {
		kv, blocks, list, tiles, err := b.keysAndValues(bits, tokens, s)
		if err != nil {
			return measured{}, err
		}
		prefill, err := b.set.Prefill(kernels.Layer{Shape: s, Bits: bits})
		if err != nil {
			return measured{}, err
		}
		wide := int64(tokens) * int64(s.Heads*s.HeadDim) * 4
		q, err := b.filled(wide, singles(7, patternBytes/4))
		if err != nil {
			return measured{}, err
		}
		out, err := b.alloc(wide)
		return measured{bytes: 2*wide + kv.Buffer.Len(), operations: 2 * float64(tokens) * float64(tokens) * float64(s.Heads*s.HeadDim), launch: func(int) error {
			prefill.Launch(b.queue, q, kv, blocks, len(list), tiles, 0, tokens, kernels.Partial{O: out}, true)
			return nil
		}}, err
	}}
}

// rowCases are operations on rows of activations: for one token, where the launch is what counts, and for many.
func rowCases(hidden, many int) []maker {
	var list []maker
	for _, tokens := range []int{1, many} {
		n := tokens * hidden
		title := fmt.Sprintf("[%d][%d]", tokens, hidden)
		on := func(kernel string, moved int, launch func(b *bench, x, y, z gpu.Range) error) {
			list = append(list, maker{kernel, title, func(b *bench) (measured, error) {
				var r [3]gpu.Range
				var err error
				for i := range r {
					if r[i], err = b.filled(int64(4*n), singles(uint64(i), min(n, patternBytes/4))); err != nil {
						return measured{}, err
					}
				}
				return measured{bytes: int64(4 * moved), launch: func(int) error { return launch(b, r[0], r[1], r[2]) }}, nil
			}})
		}
		on("norm", 2*n+hidden, func(b *bench, x, y, z gpu.Range) error { return b.set.Norm(b.queue, x, y, z, tokens, hidden, 1e-5, 0) })
		on("rope", 2*n, func(b *bench, x, y, z gpu.Range) error {
			return b.set.Rope(b.queue, x, y, z, tokens, hidden/64, 64, 32, false)
		})
		on("swiglu", 3*n, func(b *bench, x, y, z gpu.Range) error { return b.set.SwiGLU(b.queue, x, y, z, n) })
		on("add", 3*n, func(b *bench, x, y, _ gpu.Range) error { return b.set.Add(b.queue, x, y, n) })
	}
	return list
}

func bytesOf[T any](x []T) []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(&x[0])), len(x)*int(unsafe.Sizeof(x[0])))
}

func size(n int64) string {
	if n >= 1<<30 {
		return fmt.Sprintf("%d GiB", n>>30)
	}
	return fmt.Sprintf("%d KiB", n>>10)
}
