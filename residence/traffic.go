package residence

import "github.com/orrery-ai/orrery/placement"

// Traffic is how many (layer, token) pairs go from each node to each other one in a switch, when so many
// tokens are where the mode from wants them: [from][to].
func (p *Policy) Traffic(from, to placement.Mode, tokens int) [][]int {
	pairs := make([][]int, p.nodes)
	for n := range pairs {
		pairs[n] = make([]int, p.nodes)
	}
	for _, c := range p.moves(to, p.target(from, tokens)) {
		pairs[c.From][c.To] += c.Rect.Area()
	}
	return pairs
}
