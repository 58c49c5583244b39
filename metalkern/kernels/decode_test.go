package kernels

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/orrery-ai/orrery/attention"
	"github.com/orrery-ai/orrery/attention/plane"
	"github.com/orrery-ai/orrery/device/cpu/simd"
	"github.com/orrery-ai/orrery/metalkern/gpu"
)

// cache is a layer's keys and values in blocks, and what they stand for.
type cache struct {
	layer  Layer
	data   []byte
	blocks []Block
	tiles  int
	keys   [][]float32 // [token][kvHeads·dim], as stored
	values [][]float32
	first  []int // position of each token
}

// newCache fills blocks of the lengths given, from the first position on, in a buffer of NaN. Its keys and values stand for what kernels make halves of.
func newCache(l Layer, seed uint64, firstPosition int, lengths ...int) *cache {
	return cacheOf(l, roundToHalves, func(int, int, []float32) {}, seed, firstPosition, lengths...)
}

// cacheOf is newCache for keys and values that edit has changed, and of which kernels make something else. edit is given keys (0) or values (1) of a token, of
// all heads, before they are stored.
func cacheOf(l Layer, round func([]float32), edit func(which, token int, row []float32), seed uint64, firstPosition int, lengths ...int) *cache {
	random := rand.New(rand.NewPCG(seed, 1))
	c := &cache{layer: l}
	p := plane.Layout{Bits: l.Bits, Dim: l.Shape.HeadDim}
	position := firstPosition
	for _, n := range lengths {
		capacity := n + random.IntN(5)
		size := p.Bytes(capacity) * l.Shape.KVHeads
		b := Block{K: uint64(len(c.data)), V: uint64(len(c.data) + size), First: int32(position), Length: uint32(n), Capacity: uint32(capacity), Tile: uint32(c.tiles)}
		data := make([]byte, 2*size)
		for i := range data {
			data[i] = 0xff
		}
		for token := range n {
			rows := [2][]float32{}
			for which := range rows {
				row := make([]float32, l.Shape.KVHeads*l.Shape.HeadDim)
				for i := range row {
					row[i] = float32(random.NormFloat64())
				}
				edit(which, len(c.first), row)
				for h := range l.Shape.KVHeads {
					x := row[h*l.Shape.HeadDim : (h+1)*l.Shape.HeadDim]
					at := data[which*size+h*p.Bytes(capacity):]
					p.Put(at, capacity, token, x)
					p.Get(x, at, capacity, token)
					round(x)
				}
				rows[which] = row
			}
			c.keys, c.values, c.first = append(c.keys, rows[0]), append(c.values, rows[1]), append(c.first, position)
			position++
		}
		c.data = append(c.data, data...)
		c.blocks = append(c.blocks, b)
		c.tiles += Tiles(n)
	}
	return c
}

// attend is attention in float64: (o, m, l) of each query and head, o not divided.
func (c *cache) attend(q []float32, positions []int) (o, m, l []float64) {
	s, dim := c.layer.Shape, c.layer.Shape.HeadDim
	for row, position := range positions {
		for h := range s.Heads {
			x, kv := q[(row*s.Heads+h)*dim:][:dim], h/s.Group()*dim
			top := math.Inf(-1)
			scores := make([]float64, len(c.keys))
			for t, k := range c.keys {
				scores[t] = math.Inf(-1)
				if c.first[t] > position || c.layer.Window > 0 && c.first[t] <= position-c.layer.Window {
					continue
				}
				dot := 0.0
				for i, v := range x {
					dot += float64(v) * float64(k[kv+i])
				}
				dot *= float64(s.Scale)
				if cap := float64(c.layer.SoftCap); cap > 0 {
					dot = cap * math.Tanh(dot/cap)
				}
				scores[t] = dot
				top = max(top, dot)
			}
			sum, out := 0.0, make([]float64, dim)
			for t, v := range c.values {
				if math.IsInf(scores[t], -1) {
					continue
				}
				p := math.Exp(scores[t] - top)
				sum += p
				for i := range out {
					out[i] += p * float64(v[kv+i])
				}
			}
			o, m, l = append(o, out...), append(m, top), append(l, sum)
		}
	}
	return o, m, l
}

// roundToHalves is what kernels do to the products of bytes and scales.
func roundToHalves(x []float32) {
	b := make([]byte, 2*len(x))
	simd.ToF16(b, x)
	simd.FromF16(x, b)
}

func shapeOf(heads, kvHeads, dim int) attention.Shape {
	return attention.Shape{Heads: heads, KVHeads: kvHeads, HeadDim: dim, Scale: float32(1 / math.Sqrt(float64(dim)))}
}

func randoms(seed uint64, n int, scale float64) []float32 {
	random := rand.New(rand.NewPCG(seed, 2))
	x := make([]float32, n)
	for i := range x {
		x[i] = float32(random.NormFloat64() * scale)
	}
	return x
}

type decodeCase struct {
	name      string
	layer     Layer
	first     int
	lengths   []int
	positions []int
	parts     int
}

func decodeCases() []decodeCase {
	var cases []decodeCase
	for _, bits := range []int{16, 8, 4} {
		for _, dim := range []int{64, 80, 96, 128, 256} {
			group := map[int]int{64: 8, 80: 1, 96: 3, 128: 5, 256: 2}[dim]
			cases = append(cases, decodeCase{title("%d bits, heads of %d, groups of %d", bits, dim, group),
				Layer{Shape: shapeOf(2*group, 2, dim), Bits: bits}, 0, []int{33, 70, 0, 1, 130}, []int{233}, 3})
		}
	}
	f16 := func(heads, kvHeads int) Layer { return Layer{Shape: shapeOf(heads, kvHeads, 64), Bits: 16} }
	capped, windowed := f16(8, 2), f16(8, 2)
	capped.SoftCap, windowed.Window = 2, 50
	return append(cases,
		decodeCase{"groups of 16", f16(16, 1), 0, []int{100, 100}, []int{199}, 2},
		decodeCase{"groups of 9", f16(9, 1), 0, []int{100}, []int{99}, 1},
		decodeCase{"groups of 11, 4 bits", Layer{Shape: shapeOf(11, 1, 128), Bits: 4}, 0, []int{100}, []int{99}, 1},
		decodeCase{"one key", f16(4, 2), 0, []int{1}, []int{0}, 1},
		decodeCase{"no key", f16(4, 2), 10, []int{20}, []int{9}, 2},
		decodeCase{"only empty blocks", f16(4, 2), 0, []int{0, 0}, []int{5}, 1},
		decodeCase{"several queries, each with its causal limit", f16(4, 2), 5, []int{64, 64, 40}, []int{4, 5, 68, 69, 100, 172, 500}, 4},
		decodeCase{"more parts than tiles", f16(4, 2), 0, []int{65}, []int{64}, 5},
		decodeCase{"a soft cap", capped, 0, []int{90}, []int{89}, 1},
		decodeCase{"a window", windowed, 0, []int{64, 64, 64}, []int{20, 100, 191, 240, 300}, 2},
	)
}

func TestDecodeAttentionOverBlocksIsExact(t *testing.T) {
	list := []instance{mergeInstance}
	for _, c := range decodeCases() {
		list = append(list, c.layer.decode(c.layer.decodeForm()))
	}
	onHosts(t, list, func(t *testing.T, b *bench) {
		for _, c := range decodeCases() {
			t.Run(c.name, func(t *testing.T) {
				testDecode(b.sub(t), c, b.set.sharedDecode)
			})
		}
	})
}

// sharedDecode is the kernel that all hosts have.
func (s *Set) sharedDecode(l Layer) (*Decode, error) { return s.decode(l, l.decodeForm()) }

// roundOf is what a kernel makes of what bytes and scales stand for.
func roundOf(decode *Decode) func([]float32) {
	if decode.staged.depth > 0 { // scales are multiplied with sums
		return func([]float32) {}
	}
	return roundToHalves
}

// attended is what a kernel, and the merge of its parts, made of queries.
type attended struct{ o, m, l, attention []float32 }

// attend runs a kernel on queries q at the positions given, and merges the parts.
func (b *bench) attend(decode *Decode, kv *cache, q []float32, positions []int, parts int) attended {
	b.Helper()
	s, rows := decode.layer.Shape, len(positions)
	queries := make([]Query, rows)
	for i, p := range positions {
		queries[i] = Query{Begin: 0, Count: uint32(len(kv.blocks)), Tiles: uint32(kv.tiles), Position: int32(p)}
	}
	merge, err := b.set.Merge()
	if err != nil {
		b.Fatal(err)
	}
	split := Split{Parts: parts, Tiles: (kv.tiles + parts - 1) / parts}
	qs, data, blocks, list := buffer(b, q), buffer(b, kv.data), buffer(b, kv.blocks), buffer(b, queries)
	n, wide := rows*s.Heads, rows*s.Heads*s.HeadDim
	got := b.inOrders(func() []float32 {
		partial := Partial{room(b, parts*wide), room(b, parts*n), room(b, parts*n)}
		whole := Partial{room(b, wide), room(b, n), room(b, n)}
		out := room(b, wide)
		decode.Launch(b.queue, qs, data, blocks, list, rows, split, partial)
		if err := merge.Into(b.queue, whole, false, partial, parts, rows, s); err != nil {
			b.Fatal(err)
		}
		if err := merge.Finish(b.queue, out, gpu.Range{}, partial, parts, rows, s); err != nil {
			b.Fatal(err)
		}
		all := floats(b, whole.O, wide)
		all = append(all, floats(b, whole.M, n)...)
		all = append(all, floats(b, whole.L, n)...)
		return append(all, floats(b, out, wide)...)
	})
	return attended{got[:wide], got[wide : wide+n], got[wide+n : wide+2*n], got[wide+2*n:]}
}

func testDecode(b *bench, c decodeCase, kernel func(Layer) (*Decode, error)) {
	s := c.layer.Shape
	decode, err := kernel(c.layer)
	if err != nil {
		b.Fatal(err)
	}
	kv := cacheOf(c.layer, roundOf(decode), func(int, int, []float32) {}, 3, c.first, c.lengths...)
	q := randoms(4, len(c.positions)*s.Heads*s.HeadDim, 1.5)
	got := b.attend(decode, kv, q, c.positions, c.parts)
	o, m, l := kv.attend(q, c.positions)
	const tolerance = 2e-5
	attention := make([]float64, len(o))
	for i := range m {
		if math.IsInf(m[i], -1) {
			if !math.IsInf(float64(got.m[i]), -1) || got.l[i] != 0 {
				b.Errorf("row %d without keys has m = %v, l = %v", i, got.m[i], got.l[i])
			}
			continue
		}
		// m may be any number that is not far below the largest score; what counts is l·e^m and o·e^m.
		f := math.Exp(float64(got.m[i]) - m[i])
		if d := math.Abs(float64(got.l[i])*f/l[i] - 1); !(d <= tolerance*3) {
			b.Errorf("row %d: l is %v at m = %v, not %v at %v", i, got.l[i], got.m[i], l[i], m[i])
		}
		for j := range s.HeadDim {
			o[i*s.HeadDim+j] /= f
			attention[i*s.HeadDim+j] = o[i*s.HeadDim+j] * f / l[i]
		}
	}
	near(b, "o", got.o, o, tolerance*3)
	near(b, "attention", got.attention, attention, tolerance)
}

// TestWhatIsNotFiniteIsNotAttention plants NaN and infinities: what a query sees of them must show in its result, however good other parts are, and in no other head's.
func TestWhatIsNotFiniteIsNotAttention(t *testing.T) {
	var list []instance
	var layers []Layer
	for _, of := range stagedLayers() {
		l := Layer{Shape: shapeOf(4, 2, of.dim), Bits: of.bits}
		layers, list = append(layers, l), append(list, l.decode(l.decodeForm()))
	}
	const token, tokens, parts = 40, 200, 3
	onHosts(t, append(list, mergeInstance), func(t *testing.T, b *bench) {
		kernels := map[string]func(Layer) (*Decode, error){"shared": b.set.sharedDecode}
		if _, ok := b.set.stagedFor(layers[0]); ok {
			kernels["staged"] = b.set.Decode
		}
		for name, kernel := range kernels {
			for _, layer := range layers {
				for what, v := range map[string]float64{"NaN": math.NaN(), "+Inf": math.Inf(1), "-Inf": math.Inf(-1)} {
					for which, where := range []string{"a key", "a value", "a query"} {
						t.Run(title("%s, heads of %d, %d bits, %s in %s", name, layer.Shape.HeadDim, layer.Bits, what, where), func(t *testing.T) {
							b := b.sub(t)
							decode, err := kernel(layer)
							if err != nil {
								t.Fatal(err)
							}
							s := decode.layer.Shape
							const element = 45
							at := s.HeadDim + element // of the second key-value head
							kv := cacheOf(decode.layer, roundOf(decode), func(i, j int, row []float32) {
								if i == which && j == token {
									row[at] = float32(v)
								}
							}, 5, 0, tokens)
							q := randoms(6, s.Heads*s.HeadDim, 1.5)
							if which == 2 {
								for h := s.Group(); h < s.Heads; h++ {
									q[h*s.HeadDim+element] = float32(v)
								}
							}
							got := b.attend(decode, kv, q, []int{tokens - 1}, parts)
							o, _, l := kv.attend(q, []int{tokens - 1})
							for h := range s.Heads {
								want, have := o[h*s.HeadDim:(h+1)*s.HeadDim], got.attention[h*s.HeadDim:(h+1)*s.HeadDim]
								bad := have[element]-have[element] != 0
								if v := want[element] / l[h]; v-v == 0 {
									if h >= s.Group() && bad {
										continue // a score of -Inf may be NaN, as the two terms of a query may differ in sign
									}
									for i := range want {
										want[i] /= l[h]
									}
									near(b, title("head %d", h), have, want, 2e-5)
									continue
								}
								if h < s.Group() {
									t.Fatalf("head %d is not finite in float64", h)
								}
								if !bad {
									t.Errorf("head %d has %v", h, have[element])
								}
								if o, l := got.o[h*s.HeadDim+element], got.l[h]; o-o == 0 && l-l == 0 || got.m[h] == float32(math.Inf(-1)) {
									t.Errorf("the part of head %d is o = %v, m = %v, l = %v", h, o, got.m[h], l)
								}
							}
						})
					}
				}
			}
		}
	})
}
