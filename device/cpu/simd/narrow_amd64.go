//go:build amd64 && !noasm

package simd

// narrowWhole reports whether queries and weights become whole numbers without AVX-512: in 8 bits AVX2 alone gains nothing by it.
func narrowWhole(bits int) bool { return !haveAVX512 && (haveAVXVNNI || haveAVX2 && bits == 4) }

// What fixed8 and fixed4 are for AVX-512. Scores have the same bits.
var (
	narrowFixed8     = [...]fixedScores{scores1Q8AVXVNNI, scores2Q8AVXVNNI, scores4Q8AVXVNNI}
	narrowFixed4     = [...]fixedScores{scores1Q4AVXVNNI, scores2Q4AVXVNNI, scores4Q4AVXVNNI}
	narrowFixed4AVX2 = [...]fixedScores{scores1Q4FixedAVX2, scores2Q4FixedAVX2, scores4Q4FixedAVX2}
)

func narrowFixedFor(bits int) *[3]fixedScores {
	switch {
	case bits == 8:
		return &narrowFixed8
	case haveAVXVNNI:
		return &narrowFixed4
	}
	return &narrowFixed4AVX2
}

const (
	narrowHeader = 32            // bytes of what goes with a group's numbers
	narrowHead   = 2 * dealtKeys // bytes of a head's numbers
)

// addNarrow is add without AVX-512, for largest weights that are small beside the sum: for others float32 takes less time than three bytes of each.
func (w *Weights) addNarrow(bits int, o, p []float32, stride int, v []byte, scales []float32, next []byte, n, dim int) {
	x, heads, all, row := w.weighed, len(o)/dim, groups(dim), dim*bits/8
	weigh, turn, add := weighQ8AVX2, turnQ8AVX2, weighedQ8AVXVNNI
	switch {
	case bits == 4 && haveAVXVNNI:
		weigh, turn, add = weighQ4AVX2, turnQ4AVX2, weighedQ4AVXVNNI
	case bits == 4:
		weigh, turn, add = weighQ4AVX2, turnQ4AVX2, weighedQ4AVX2
	}
	weigh(x.numbers[:], p, stride, scales, x.most[:heads], x.mostScales[:all])
	whole, fours := n&^3, (n+3)/4
	perGroup, times := (len(next)+all-1)/all, heads*fours // bytes of next that are asked for in a group, and in how many pieces
	for g := range all {
		at := g * QuantizedGroup * bits / 8
		if whole > 0 {
			turn(x.turned[:], v[at:], row, whole)
		}
		if whole < n {
			turn(x.turned[whole*QuantizedGroup:], x.rest[at:], row, 4)
		}
		asked := min(len(next), perGroup)
		add(o[g*QuantizedGroup:], dim, x.numbers[g*(narrowHeader+heads*narrowHead):], x.turned[:], next[:asked], (asked+times-1)/times, heads, 4*fours)
		next = next[asked:]
	}
}
