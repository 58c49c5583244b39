package attention

// Balance says which node computes which of consecutive equal blocks of a prompt in ring prefill, so that
// each gets its share of the causal triangle: a later block attends to more keys, so block b is paired with
// block blocks-1-b, every pair costs the same, and whole pairs go to nodes. (Ring attention with causal
// load balance: Llama 3, arXiv 2407.21783, section 3.3.2.)
//
// weights are the nodes' shares, summing to 1; a node of weight 0 gets nothing. credit, one number for each
// node, is what each is owed in blocks: it is read and updated, so that over several rounds the shares come
// out right even where one round is too coarse for them. left, if it is not nil, is how many blocks each
// node may still be given, which must be as many as there are blocks in all; it is updated. A pair is
// divided where nobody may have both. The result is the node of each block.
func Balance(blocks int, weights []float64, left []int, credit []float64) []int {
	nodes := make([]int, blocks)
	// most is who is owed most of those that may have so many blocks, or -1.
	most := func(blocks int) int {
		best := -1
		for n, w := range weights {
			if w > 0 && (left == nil || left[n] >= blocks) && (best < 0 || credit[n] > credit[best]+1e-9) {
				best = n
			}
		}
		return best
	}
	give := func(n int, blocks ...int) {
		for _, b := range blocks {
			nodes[b] = n
			credit[n]--
			if left != nil {
				left[n]--
			}
		}
	}
	for i := 0; 2*i < blocks; i++ {
		early, late := i, blocks-1-i
		for n, w := range weights {
			credit[n] += w
			if early < late {
				credit[n] += w
			}
		}
		both := most(2)
		switch {
		case early == late: // the middle block of an odd number
			give(most(1), early)
		case both >= 0:
			give(both, early, late)
		default:
			give(most(1), early)
			give(most(1), late)
		}
	}
	return nodes
}
