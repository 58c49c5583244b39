package placement

// The pieces of which Step and Prefill are made, for whoever schedules them otherwise than they do.

// Stage is a node that computes layers in decode, and the head after the last of them.
type Stage struct {
	Node   int // its index in Request.Nodes
	Layers Range
	Head   bool // it computes the head
}

// Stages are the owners of the layers, in the order in which a token goes through them.
func (c *Cost) Stages() []Stage {
	var stages []Stage
	for _, o := range c.owners {
		stages = append(stages, Stage{o.node, o.layers, o.layers.End == c.Layers()})
	}
	return stages
}

// Plan is what the predictions are of.
func (c *Cost) Plan() *Plan { return c.plan }

// Work is what computing with the model takes.
func (c *Cost) Work() Work { return c.work }

// Layers is the number of layers of the model.
func (c *Cost) Layers() int { return len(c.model.LayerBytes) }

// Window is how many tokens a layer attends to; 0 is all.
func (c *Cost) Window(layer int) int { return c.model.window(layer) }

// Chunk is the tokens of a prefill step.
func (c *Cost) Chunk() int { return c.chunk }

// Round is the tokens of a round of ring prefill: the node with the largest share computes about a chunk,
// and there are two blocks for each node at least.
func (c *Cost) Round() int {
	largest := 0.0
	for _, s := range c.plan.Shares {
		largest = max(largest, s.TokenWeight)
	}
	return max(int(float64(c.chunk)/largest), 2*len(c.plan.Shares)*c.block)
}

// Products is the time in which a node does the matrix products of so many tokens in a layer, in seconds.
func (c *Cost) Products(node, layer, tokens int) float64 {
	return c.matrices(node, Range{layer, layer + 1}, tokens)
}

// Head is the time in which a node computes the logits of a token, in seconds.
func (c *Cost) Head(node int) float64 {
	return c.speeds[node].product(fromMemory, c.head, c.work.HeadFLOPs, 1)
}

// Attention is the time in which a node attends to so many keys of a layer, in that many pairs of query
// and key, in seconds.
func (c *Cost) Attention(node, layer int, keys, pairs float64) float64 {
	return c.attends(node, layer, keys, pairs)
}

// Merge is the time in which a node merges a partial result of so many tokens into its own, in seconds: it
// reads (o, m, l) of every head once, at its bandwidth. What it merges into stays in its caches.
func (c *Cost) Merge(node, tokens int) float64 {
	return c.speeds[node].product(fromMemory, stored{bytes: float64(tokens) * float64(c.work.PartialBytes)}, 0, 1)
}

// KVBytes is the size of a token's keys and values in a layer, in bytes, as they are stored.
func (c *Cost) KVBytes(layer int) float64 { return float64(c.model.KVBytesPerToken[layer]) }

// Pairs is how many pairs of query and key a causal layer has for n tokens after so many earlier ones, of which each
// attends to window keys at the most; 0 is no window.
func Pairs(n, earlier, window int) float64 { return pairs(n, earlier, window) }
