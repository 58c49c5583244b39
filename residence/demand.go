package residence

import "github.com/orrery-ai/orrery/placement"

// Memory is counted here in (layer, token) pairs: a node stores a pair in as many bytes as the model has
// for the keys and values of a token in one layer. An open block counts with all of its room.

// leastStaged is how many blocks the owner of a layer must have room for besides those that are its to hold:
// a chunk, which may begin within a block and end within another.
func leastStaged(chunk, block int) int { return (chunk+block-1)/block + 1 }

// Demand is how many pairs each node stores at the most, in a mode, of a sequence of up to so many tokens:
// the whole blocks that are its to hold and, in pooled and ring, the staged ones of the layers that it owns,
// which have not reached their holder. A machine that keeps to that much never comes to a halt, see
// [Machine.Keep].
func (p *Policy) Demand(m placement.Mode, tokens int) []int {
	blocks := p.blocks(tokens)
	pairs := p.reserve(m, blocks)
	if m == placement.Pipeline {
		return pairs
	}
	held := make([]int, p.nodes)
	for b := range blocks {
		held[p.spread[b%len(p.spread)]]++
	}
	for _, o := range p.Owners(m) {
		pairs[o.Node] += o.Layers.Len() * p.block * min(p.staged[m], blocks-held[o.Node])
	}
	return pairs
}

// Most is the largest Demand of several modes, on each node.
func (p *Policy) Most(modes []placement.Mode, tokens int) []int {
	most := make([]int, p.nodes)
	for _, m := range modes {
		for n, pairs := range p.Demand(m, tokens) {
			most[n] = max(most[n], pairs)
		}
	}
	return most
}

// blocks is the number of blocks that so many tokens reach into.
func (p *Policy) blocks(tokens int) int { return (tokens + p.block - 1) / p.block }

// reserve is the pairs of whole blocks that each node is to hold.
func (p *Policy) reserve(m placement.Mode, blocks int) []int {
	pairs := make([]int, p.nodes)
	if m == placement.Pipeline {
		for _, o := range p.pipeline {
			pairs[o.Node] += o.Layers.Len() * p.block * blocks
		}
		return pairs
	}
	for b := range blocks {
		pairs[p.spread[b%len(p.spread)]] += p.layers * p.block
	}
	return pairs
}
