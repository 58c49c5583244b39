package residence

import (
	"fmt"
	"slices"

	"github.com/orrery-ai/orrery/attention"
	"github.com/orrery-ai/orrery/placement"
)

// Policy says where blocks should be in each mode. It is fixed when a model is loaded.
type Policy struct {
	layers   int
	nodes    int
	block    int                     // tokens of a whole block
	round    int                     // tokens of one round of ring prefill, a multiple of block
	staged   [placement.Ring + 1]int // by mode: blocks that an owner may have which have not reached their holder
	pipeline []Owner
	ring     int   // the node that owns every layer in ring
	spread   []int // node of block i, repeating
}

// Layout is what a Policy is made from.
type Layout struct {
	Layers      int
	BlockTokens int       // tokens of a whole block
	Chunk       int       // tokens that one node computes at a time in prefill
	Pipeline    []Owner   // the layers of each node; tile the layers
	RingOwner   int       // the node with the fastest memory
	Weights     []float64 // each node's share of the tokens, summing to 1
	Blocks      []int     // how many blocks each node is to hold at the full context; nil: by weight, without end
	Staged      int       // blocks for which an owner has room, in pooled, until they reach their holder; at least what a chunk needs
}

// spreadRounds is how many rounds are laid out before the pattern repeats: enough that a node's share
// of the blocks is its share of the weights to about 1/(16·rounds) of a block.
const spreadRounds = 16

// NewPolicy checks the layout.
func NewPolicy(l Layout) (*Policy, error) {
	if l.Layers <= 0 || l.BlockTokens <= 0 || l.Chunk <= 0 || len(l.Weights) == 0 {
		return nil, fmt.Errorf("residence: layout needs layers, block tokens, chunk and nodes, has %d, %d, %d, %d",
			l.Layers, l.BlockTokens, l.Chunk, len(l.Weights))
	}
	if l.RingOwner < 0 || l.RingOwner >= len(l.Weights) {
		return nil, fmt.Errorf("residence: ring owner %d is not one of %d nodes", l.RingOwner, len(l.Weights))
	}
	if err := (&Epoch{Owners: l.Pipeline}).Validate(l.Layers, len(l.Weights)); err != nil {
		return nil, err
	}
	largest, sum := 0.0, 0.0
	for _, w := range l.Weights {
		if !(w >= 0 && w <= 1) { // NaN too
			return nil, fmt.Errorf("residence: a share of %v is not between 0 and 1", w)
		}
		largest, sum = max(largest, w), sum+w
	}
	if sum < 0.999 || sum > 1.001 {
		return nil, fmt.Errorf("residence: shares sum to %v, not 1", sum)
	}
	p := &Policy{layers: l.Layers, nodes: len(l.Weights), block: l.BlockTokens, pipeline: l.Pipeline, ring: l.RingOwner}
	p.staged[placement.Ring] = leastStaged(l.Chunk, l.BlockTokens)
	p.staged[placement.Pooled] = max(l.Staged, p.staged[placement.Ring])
	if err := l.checkBlocks(); err != nil {
		return nil, err
	}
	p.layOut(l, largest)
	return p, nil
}

// checkBlocks checks how many blocks each node is to hold, where that is given.
func (l *Layout) checkBlocks() error {
	if l.Blocks == nil {
		return nil
	}
	if len(l.Blocks) != len(l.Weights) {
		return fmt.Errorf("residence: blocks of %d nodes, shares of %d", len(l.Blocks), len(l.Weights))
	}
	total := 0
	for n, b := range l.Blocks {
		if b < 0 || b > 0 && l.Weights[n] == 0 {
			return fmt.Errorf("residence: %d blocks for node %d, of share %v", b, n, l.Weights[n])
		}
		total += b
	}
	if total == 0 {
		return fmt.Errorf("residence: nobody is to hold a block")
	}
	return nil
}

// layOut decides how large a round is, and who computes which of its blocks. The node with the largest share
// computes about a chunk; two blocks for each node balance the causal triangle. But no node computes more
// than its memory was counted for, see [placement.MaxPiece]: where whole pairs of blocks would come to more, rounds are
// smaller.
func (p *Policy) layOut(l Layout, largest float64) {
	wanted := max(int(float64(l.Chunk)/largest)/p.block, 2*p.nodes)
	for blocks := wanted; ; blocks -= max(1, blocks/16) {
		p.round = blocks * p.block
		if l.Blocks != nil {
			p.spreadExactly(blocks, l)
		} else {
			p.spreadByWeight(blocks, spreadRounds*wanted, l.Weights)
		}
		if blocks == 1 || p.nodes == 1 || p.MaxPiece() <= placement.MaxPiece(l.Chunk, p.block) {
			return
		}
	}
}

// spreadByWeight lays out whole rounds, until the pattern has that many blocks.
func (p *Policy) spreadByWeight(round, pattern int, weights []float64) {
	p.spread = p.spread[:0]
	credit := make([]float64, p.nodes)
	for len(p.spread) < pattern {
		p.spread = append(p.spread, attention.Balance(round, weights, nil, credit)...)
	}
}

// spreadExactly lays out the blocks of the full context, round by round, so that each node holds as many as
// it was given and at no time more.
func (p *Policy) spreadExactly(round int, l Layout) {
	p.spread = p.spread[:0]
	total := 0
	for _, b := range l.Blocks {
		total += b
	}
	left, credit := slices.Clone(l.Blocks), make([]float64, p.nodes)
	for total > 0 {
		n := min(round, total)
		p.spread = append(p.spread, attention.Balance(n, l.Weights, left, credit)...)
		total -= n
	}
}

// Owners is which node runs which layers in a mode.
func (p *Policy) Owners(m placement.Mode) []Owner {
	if m == placement.Ring {
		return []Owner{{Span{0, p.layers}, p.ring}}
	}
	return p.pipeline
}

// Round is the number of tokens that one round of ring prefill computes at the most.
func (p *Policy) Round() int { return p.round }

// MaxPiece bounds the number of tokens that one node computes in a round of this policy. A single node has no
// rounds.
func (p *Policy) MaxPiece() int {
	if p.nodes == 1 {
		return 0
	}
	most := 0
	for round := range slices.Chunk(p.spread, p.round/p.block) {
		count := map[int]int{}
		for _, n := range round {
			count[n]++
			most = max(most, count[n])
		}
	}
	return most * p.block
}

// Piece is a run of consecutive tokens that one node computes in a round of ring prefill.
type Piece struct {
	Tokens Span
	Node   int
}

// Pieces divides the round over tokens s, which ends with a block, among the nodes, block by block. Work is
// balanced over the causal triangle by pairing early blocks with late ones (see attention.Balance).
func (p *Policy) Pieces(s Span) []Piece {
	var ps []Piece
	for first := s.First; first < s.End; {
		end := min((first/p.block+1)*p.block, s.End)
		ps = append(ps, Piece{Tokens: Span{first, end}, Node: p.spreadNode(first)})
		first = end
	}
	return ps
}

func (p *Policy) spreadNode(token int) int { return p.spread[token/p.block%len(p.spread)] }

// moves lists what of hs, the residence of sealed tokens, is not where the mode wants it.
func (p *Policy) moves(m placement.Mode, hs []Holding) []Copy {
	byRoute := map[[2]int][]Holding{}
	add := func(r Rect, from, to int) {
		if from != to && r.Area() > 0 {
			key := [2]int{from, to}
			byRoute[key] = append(byRoute[key], Holding{r, to})
		}
	}
	for _, h := range hs {
		p.split(m, h.Rect, func(r Rect, to int) { add(r, h.Node, to) })
	}
	var copies []Copy
	for _, key := range sortedRoutes(byRoute) {
		for _, h := range coalesce(byRoute[key]) {
			copies = append(copies, Copy{ID: len(copies), Rect: h.Rect, From: key[0], To: key[1]})
		}
	}
	return copies
}

// target is where the mode wants everything before token end.
func (p *Policy) target(m placement.Mode, end int) []Holding {
	var hs []Holding
	p.split(m, Rect{Span{0, p.layers}, Span{0, end}}, func(r Rect, node int) { hs = append(hs, Holding{r, node}) })
	return coalesce(hs)
}

// split cuts r into parts that the mode wants on one node each.
func (p *Policy) split(m placement.Mode, r Rect, emit func(Rect, int)) {
	if r.Area() == 0 {
		return
	}
	if m == placement.Pipeline {
		for _, o := range p.pipeline {
			if part := r.intersect(Rect{o.Layers, r.Tokens}); part.Area() > 0 {
				emit(part, o.Node)
			}
		}
		return
	}
	for first := r.Tokens.First; first < r.Tokens.End; {
		end := min((first/p.block+1)*p.block, r.Tokens.End)
		emit(Rect{r.Layers, Span{first, end}}, p.spreadNode(first))
		first = end
	}
}
