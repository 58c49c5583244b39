package kernels

import (
	"maps"
	"math"
	"slices"
	"testing"
)

// onStaged runs a test on each host that takes staged.cu.
func onStaged(t *testing.T, test func(t *testing.T, b *bench)) {
	onHosts(t, []instance{mergeInstance}, func(t *testing.T, b *bench) {
		if _, ok := b.set.stagedFor(Layer{Shape: shapeOf(1, 1, 128), Bits: 16}); !ok {
			t.Skip("not for this host")
		}
		test(t, b)
	})
}

// stagedLayer is what a form of staged.cu is for.
type stagedLayer struct{ dim, bits int }

func stagedLayers() []stagedLayer {
	var all []stagedLayer
	for _, dim := range slices.Sorted(maps.Keys(stagedForms)) {
		for _, bits := range []int{16, 8, 4} {
			all = append(all, stagedLayer{dim, bits})
		}
	}
	return all
}

func TestStagedDecodeAttentionIsExact(t *testing.T) {
	onStaged(t, func(t *testing.T, b *bench) {
		for _, c := range stagedCases() {
			t.Run(c.name, func(t *testing.T) {
				testDecode(b.sub(t), c, b.set.Decode)
			})
		}
	})
}

func stagedCases() []decodeCase {
	var cases []decodeCase
	for _, of := range stagedLayers() {
		add := func(what string, heads, kvHeads, window, first int, lengths, positions []int, parts int) {
			l := Layer{Shape: shapeOf(heads, kvHeads, of.dim), Bits: of.bits, Window: window}
			cases = append(cases, decodeCase{title("heads of %d, %d bits, %s", of.dim, of.bits, what), l, first, lengths, positions, parts})
		}
		add("groups of 5", 10, 2, 0, 0, []int{33, 70, 0, 1, 130}, []int{233}, 3)
		add("groups of 8", 8, 1, 0, 0, []int{256, 64, 31}, []int{350}, 1)
		add("groups of 1, many blocks", 2, 2, 0, 3, slices.Repeat([]int{17}, 40), []int{600}, 2)
		add("one key", 4, 1, 0, 0, []int{1}, []int{0}, 1)
		add("no key", 4, 1, 0, 10, []int{20}, []int{9}, 2)
		add("only empty blocks", 4, 1, 0, 0, []int{0, 0}, []int{5}, 1)
		add("several queries, each with its causal limit", 4, 1, 0, 5, []int{64, 64, 40}, []int{4, 5, 68, 69, 100, 172, 500}, 4)
		add("more parts than steps", 4, 1, 0, 0, []int{65}, []int{64}, 3)
		add("blocks of odd lengths", 4, 2, 0, 0, []int{65, 66, 67, 5, 6, 7}, []int{250}, 2)
		add("a window", 4, 1, 50, 0, []int{64, 64, 64}, []int{20, 100, 191, 240, 300}, 2)
	}
	return cases
}

// TestStagedDecodeAttentionIsExactAtAnyMagnitude holds staged.cu to float64 for whatever queries float32 has, and keys and values that a cache can hold:
// where scores are alike, where one key is all that counts, and where queries, or the keys, are of all magnitudes at once.
func TestStagedDecodeAttentionIsExactAtAnyMagnitude(t *testing.T) {
	all := []float64{1e-20, 1e-6, 1e-3, 1, 30, 1e5, 1e12, 1e20}
	largest := map[int]float64{16: 65504, 8: 65504 * 127, 4: 65504 * 8} // that planes hold
	cases := []struct {
		name                 string
		queries, keys        []float64 // factors, of one query, or key, after the other
		values, loud, louder float64   // of all values; of those with elements 32 to 63 of a few; of those few
	}{
		{"ordinary", []float64{1}, []float64{1}, 1, 1, 1},
		{"large queries, small keys", []float64{3e4}, []float64{3e-5}, 1, 1, 1},
		{"larger queries, smaller keys", []float64{1e7}, []float64{1e-7}, 1, 1, 1},
		{"small queries, large keys", []float64{1e-5}, []float64{1e4}, 1, 1, 1},
		{"large queries", []float64{2e4}, []float64{1}, 1, 1, 1},
		{"large queries and keys", []float64{1e15}, []float64{1e4}, 1, 1, 1},
		{"queries of all magnitudes", all, []float64{1}, 1, 1, 1},
		{"keys of all magnitudes", []float64{1e-4}, []float64{1, 1e3, 1e-3, 1e4}, 1, 1, 1},
		{"large values", []float64{1}, []float64{1}, 1e5, 1e5, 1e5},
		{"the largest values", []float64{1}, []float64{1}, 1e9, 1e9, 1e9},
		{"a few large values", []float64{1}, []float64{1}, 1, 1, 3e4},
		{"large values in a part of each", []float64{1}, []float64{1}, 1, 3e4, 3e4},
		{"small values", []float64{1}, []float64{1}, 1e-3, 1e-3, 1e-3},
		{"everything large", []float64{1e10}, []float64{1e4}, 1e5, 1e5, 1e5},
	}
	onStaged(t, func(t *testing.T, b *bench) {
		for _, of := range stagedLayers() {
			for _, c := range cases {
				t.Run(title("heads of %d, %d bits, %s", of.dim, of.bits, c.name), func(t *testing.T) {
					b := b.sub(t)
					decode, err := b.set.Decode(Layer{Shape: shapeOf(10, 2, of.dim), Bits: of.bits})
					if err != nil {
						t.Fatal(err)
					}
					s, end := decode.layer.Shape, largest[of.bits]
					kv := cacheOf(decode.layer, roundOf(decode), func(which, token int, row []float32) {
						for i := range row {
							by := c.keys[token%len(c.keys)]
							if which == 1 {
								by = c.values
								if i%s.HeadDim/32 == 1 {
									by = c.loud
									if token%29 == 5 {
										by = c.louder
									}
								}
							}
							row[i] = float32(min(max(float64(row[i])*by, -end), end))
						}
					}, 7, 0, 250, 60)
					var positions []int
					q := randoms(8, len(c.queries)*s.Heads*s.HeadDim, 1)
					for i := range q {
						q[i] *= float32(c.queries[i/(s.Heads*s.HeadDim)])
					}
					for range c.queries {
						positions = append(positions, 309)
					}
					got := b.attend(decode, kv, q, positions, 2)
					o, _, l := kv.attend(q, positions)
					for i := range o {
						o[i] /= l[i/s.HeadDim]
					}
					rounds := kv.roundingOfScores(q, o)
					for i := range len(o) / 32 { // what has a scale of its own may be small beside the rest
						group := o[i*32 : (i+1)*32]
						rms := 0.0
						for _, v := range group {
							rms += v * v / 32
						}
						if rms == 0 || math.IsNaN(rms) {
							t.Fatalf("nothing to compare: %v", group)
						}
						bound := 4e-5 + slices.Max(rounds[i*32:(i+1)*32])/math.Sqrt(rms)
						near(b, title("elements from %d on", i*32), got.attention[i*32:(i+1)*32], group, bound)
					}
				})
			}
		}
	})
}

// roundingOfScores is how much further each element of the attention o may be off where sums of single precision are scores of hundreds: a score has an error of
// 2^-22 of its products' magnitudes, as matrix units cut off what they add up, and so has its key's weight. Where one key is all that counts that changes nothing.
// In q8 and q4 products are of elements without a sign, larger than a key's by the largest of its scale. All tokens are attended to.
func (c *cache) roundingOfScores(q []float32, o []float64) []float64 {
	s, dim := c.layer.Shape, c.layer.Shape.HeadDim
	rounds := make([]float64, len(o))
	for head := range len(q) / dim {
		x, kv := q[head*dim:][:dim], head%s.Heads/s.Group()*dim
		scores, magnitudes := make([]float64, len(c.keys)), make([]float64, len(c.keys))
		for t, k := range c.keys {
			for from := 0; from < dim; from += 32 {
				zero := 0.0
				if c.layer.Bits < 16 {
					for _, v := range k[kv+from:][:32] {
						zero = max(zero, math.Abs(float64(v)))
					}
				}
				for i := from; i < from+32; i++ {
					product := float64(x[i]) * float64(k[kv+i]) * float64(s.Scale)
					scores[t] += product
					magnitudes[t] += math.Abs(product) + math.Abs(float64(x[i]))*zero*float64(s.Scale)
				}
			}
		}
		top, sum := slices.Max(scores), 0.0
		for _, score := range scores {
			sum += math.Exp(score - top)
		}
		for t, v := range c.values {
			weight := math.Exp(scores[t]-top) / sum
			for i := range dim {
				rounds[head*dim+i] += 0x1p-22 * magnitudes[t] * weight * math.Abs(float64(v[kv+i])-o[head*dim+i])
			}
		}
	}
	return rounds
}
