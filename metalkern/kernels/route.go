package kernels

import (
	"fmt"

	"github.com/orrery-ai/orrery/metalkern/gpu"
)

type (
	routeParams  struct{ tokens, experts, active, normalized int32 }
	assignParams struct{ pairs, experts int32 }
	tilesParams  struct{ experts, each, most int32 }
)

func routeKernel(name string) instance { return instance{file: "route.metal", name: name} }

func routeKernels() []instance {
	return []instance{routeKernel("route"), routeKernel("assign"), routeKernel("tiles"), {file: "experts.metal", name: "gather"}}
}

// Routes is which experts tokens go to: chosen [tokens][Active] int32, and what their outputs are multiplied with.
type Routes struct {
	Chosen, Weights gpu.Range
	Active          int
}

// Route chooses the experts of each row of logits [tokens][experts], those of the largest, of equal ones the first. Weights are shares of the softmax
// over all experts or, normalized, over those chosen. A row with a logit that is not finite goes to the first experts, with weights that are NaN.
func (s *Set) Route(queue gpu.Queue, to Routes, logits gpu.Range, tokens, experts int, normalized bool) error {
	if to.Active < 1 || to.Active > experts {
		return fmt.Errorf("kernels: %d of %d experts", to.Active, experts)
	}
	k, err := s.get(routeKernel("route"))
	if err != nil {
		return err
	}
	p := routeParams{int32(tokens), int32(experts), int32(to.Active), flag(normalized)}
	gpu.Launch(queue, k, groups((tokens+7)/8, elementThreads), gpu.Buffers(logits, to.Chosen, to.Weights), p)
	return nil
}

// listed is where the pairs of tokens and experts are in order, and how many tiles of them there may be.
type listed struct {
	order, tiles gpu.Range
	most         int
}

// tileBytes is the size of a Tile.
const tileBytes = 16

// mostTiles is how many tiles there can be.
func mostTiles(pairs, experts, each int) int { return pairs/each + min(pairs, experts) }

// ListBytes is the scratch in which Experts orders the pairs of so many tokens.
func ListBytes(tokens, active, experts int) int64 {
	pairs := tokens * active
	return int64(rounded(4*pairs) + rounded(4*(experts+1)) + tileBytes*mostTiles(pairs, experts, 1))
}

// rounded is the next multiple of what kernels read at once.
func rounded(n int) int { return (n + 15) &^ 15 }

// list orders the pairs by their experts, in tiles of at most each.
func (s *Set) list(queue gpu.Queue, scratch gpu.Range, r Routes, tokens, experts, each int) (listed, error) {
	assign, err := s.get(routeKernel("assign"))
	if err != nil {
		return listed{}, err
	}
	tiles, err := s.get(routeKernel("tiles"))
	if err != nil {
		return listed{}, err
	}
	pairs := tokens * r.Active
	at := func(offset int) gpu.Range {
		return gpu.Range{Buffer: scratch.Buffer, Offset: scratch.Offset + int64(offset)}
	}
	begins := at(rounded(4 * pairs))
	l := listed{order: scratch, tiles: at(rounded(4*pairs) + rounded(4*(experts+1))), most: mostTiles(pairs, experts, each)}
	p := assignParams{int32(pairs), int32(experts)}
	gpu.Launch(queue, assign, groups(experts, elementThreads), gpu.Buffers(r.Chosen, l.order, begins), p)
	cut := tilesParams{int32(experts), int32(each), int32(l.most)}
	gpu.Launch(queue, tiles, groups(1, elementThreads), gpu.Buffers(begins, l.tiles), cut)
	return l, nil
}
