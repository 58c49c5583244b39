package placement

import (
	"cmp"
	"slices"
)

// orderHolders finds out in which order holders get the first blocks of a sequence: those with the largest shares
// come first.
func (c *Cost) orderHolders() {
	for i, s := range c.plan.Shares {
		if s.Blocks > 0 {
			c.order = append(c.order, i)
		}
	}
	slices.SortStableFunc(c.order, func(i, j int) int { return cmp.Compare(c.plan.Shares[j].TokenWeight, c.plan.Shares[i].TokenWeight) })
}

// held is how many tokens of a context each node holds of a layer with an owner, and the nodes that hold whole blocks: all
// holders by their shares or, while there are fewer blocks than holders, the first of them one each. What fills no block is then at the
// owner.
func (c *Cost) held(owner, context int, byWeight bool, tokens []float64) (holders []int) {
	blocks := context / c.block
	if byWeight || blocks >= len(c.order) {
		for i, s := range c.plan.Shares {
			tokens[i] = s.TokenWeight * float64(context)
		}
		return c.order
	}
	clear(tokens)
	holders = c.order[:blocks]
	for _, i := range holders {
		tokens[i] = float64(c.block)
	}
	tokens[owner] += float64(context % c.block)
	return holders
}
