package attention

// Balance says which node computes which of consecutive equal blocks of a prompt in ring prefill, so that
// each gets its share of the causal triangle: a later block attends to more keys, so block b is paired with
// block blocks-1-b, every pair costs the same, and whole pairs go to nodes. (Ring attention with causal
// load balance: Llama 3, arXiv 2407.21783, section 3.3.2.)
//
// weights are the nodes' shares, summing to 1; a node of weight 0 gets nothing. credit, one number for each
// node, is what each is owed in blocks: it is read and updated, so that over several rounds the shares come
// out right even where one round is too coarse for them. The result is the node of each block.
func Balance(blocks int, weights, credit []float64) []int {
	nodes := make([]int, blocks)
	for i := 0; 2*i < blocks; i++ {
		pair := 2
		if i == blocks-1-i {
			pair = 1 // the middle block of an odd number
		}
		best := -1
		for n, w := range weights {
			credit[n] += w * float64(pair)
			if w > 0 && (best < 0 || credit[n] > credit[best]+1e-9) {
				best = n
			}
		}
		credit[best] -= float64(pair)
		nodes[i], nodes[blocks-1-i] = best, best
	}
	return nodes
}
