package kernels

import (
	"math"
	"slices"
	"testing"
)

// onStaged runs a test on each host that takes staged.cu.
func onStaged(t *testing.T, test func(t *testing.T, b *bench)) {
	onHosts(t, []instance{mergeInstance}, func(t *testing.T, b *bench) {
		if _, ok := b.set.stagedFor(Layer{Shape: shapeOf(1, 1, stagedDim), Bits: 16}); !ok {
			t.Skip("not for this host")
		}
		test(t, b)
	})
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
	for _, bits := range []int{16, 8, 4} {
		add := func(what string, heads, kvHeads, window, first int, lengths, positions []int, parts int) {
			l := Layer{Shape: shapeOf(heads, kvHeads, stagedDim), Bits: bits, Window: window}
			cases = append(cases, decodeCase{title("%d bits, %s", bits, what), l, first, lengths, positions, parts})
		}
		add("groups of 5", 10, 2, 0, 0, []int{33, 70, 0, 1, 130}, []int{233}, 3)
		add("groups of 8", 8, 1, 0, 0, []int{256, 64, 31}, []int{350}, 1)
		add("groups of 1, many blocks", 2, 2, 0, 3, slices.Repeat([]int{17}, 40), []int{600}, 2)
		add("one key", 4, 1, 0, 0, []int{1}, []int{0}, 1)
		add("no key", 4, 1, 0, 10, []int{20}, []int{9}, 2)
		add("only empty blocks", 4, 1, 0, 0, []int{0, 0}, []int{5}, 1)
		add("several queries, each with its causal limit", 4, 1, 0, 5, []int{64, 64, 40}, []int{4, 5, 68, 69, 100, 172, 500}, 4)
		add("more parts than steps", 4, 1, 0, 0, []int{65}, []int{64}, 3)
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
		for _, bits := range []int{16, 8, 4} {
			for _, c := range cases {
				t.Run(title("%d bits, %s", bits, c.name), func(t *testing.T) {
					b := b.sub(t)
					decode, err := b.set.Decode(Layer{Shape: shapeOf(10, 2, stagedDim), Bits: bits})
					if err != nil {
						t.Fatal(err)
					}
					s, end := decode.layer.Shape, largest[bits]
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
					for i := range len(o) / 32 { // what has a scale of its own may be small beside the rest
						group := o[i*32 : (i+1)*32]
						rms := 0.0
						for _, v := range group {
							rms += v * v / 32
						}
						if rms == 0 || math.IsNaN(rms) {
							t.Fatalf("nothing to compare: %v", group)
						}
						near(b, title("elements from %d on", i*32), got.attention[i*32:(i+1)*32], group, 4e-5)
					}
				})
			}
		}
	})
}
