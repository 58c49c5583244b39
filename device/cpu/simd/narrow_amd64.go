//go:build amd64 && !noasm

package simd

// narrowWhole reports whether queries and weights become whole numbers without AVX-512: in 8 bits AVX2 alone gains nothing by it.
func narrowWhole(bits int) bool { return !haveAVX512 && (haveAVXVNNI || haveAVX2 && bits == 4) }

const (
	narrowHeader = 32            // bytes of what goes with a group's numbers
	narrowHead   = 2 * dealtKeys // bytes of a head's numbers
)

// addNarrow is add without AVX-512, for largest weights that are small beside the sum: in float32 others take less time than three bytes of each.
func (w *Weights) addNarrow(bits int, o, p []float32, stride int, v []byte, scales []float32, next []byte, n, dim int) {
	x, heads, all, row := w.weighed, len(o)/dim, groups(dim), dim*bits/8
	weigh, turn, add := weighQ8AVX2, turnQ8AVX2, weighedQ8AVXVNNI
	if bits == 4 {
		weigh, turn, add = weighQ4AVX2, turnQ4AVX2, weighedQ4AVX2
		if haveAVXVNNI {
			add = weighedQ4AVXVNNI
		}
	}
	weigh(x.numbers[:], p, stride, scales, x.most[:heads], x.mostScales[:all])
	fours, whole := (n+3)/4, n&^3
	perGroup := (len(next) + all - 1) / all
	for g := range all {
		at := g * QuantizedGroup * bits / 8
		if whole > 0 {
			turn(x.turned[:], v[at:], row, whole)
		}
		if whole < n {
			turn(x.turned[whole*QuantizedGroup:], x.rest[at:], row, 4)
		}
		asked := min(len(next), perGroup)
		add(o[g*QuantizedGroup:], dim, x.numbers[g*(narrowHeader+heads*narrowHead):], x.turned[:], next[:asked], (asked+heads*fours-1)/(heads*fours), heads, 4*fours)
		next = next[asked:]
	}
}
