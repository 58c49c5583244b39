package placement

import "slices"

// Prefill is the time in which a prompt is read, in seconds.
type Prefill struct {
	Seconds float64
	Waiting float64 // of it, for other nodes: transfers that no computing hides, and slower holders
}

// Rate is the speed at which a prompt of so many tokens is read, in tokens/s.
func (p Prefill) Rate(tokens int) float64 { return float64(tokens) / p.Seconds }

// Prefill predicts the reading of a prompt of that many tokens, of one sequence. Attention is a causal
// triangle: the n tokens after p earlier ones make n p + n(n+1)/2 pairs of query and key in each layer.
//
// pipeline, pooled: chunks follow one another through the owners, so that all of them work at once;
// a chunk begins at an owner when the one before it has left and it has itself arrived. In pooled
// mode an owner sends a chunk's queries to the holders of earlier blocks (pass-Q) and attends to its
// own meanwhile; it waits for the slowest of them, transfer included. Since nodes answer while they
// have chunks of their own, chunks also follow no faster than the busiest node can work.
//
// ring: rounds in which every node computes its share of the tokens, through all layers, while the
// KV blocks of earlier ones and of the round go round (pass-KV). A transfer is hidden while attention
// takes longer. For equal nodes that is so when
//
//	T >= (N-1) F n_kv e / (2 n_h BW)
//
// with T the round's tokens, e the bytes of an element and BW the link's: the condition of "Context
// Parallelism for Scalable Million-Token Inference" (arXiv 2411.01783), which has N for N-1.
func (c *Cost) Prefill(tokens int) Prefill {
	if c.plan.Mode == Ring && len(c.plan.Shares) > 1 {
		return c.rounds(tokens)
	}
	return c.chunks(tokens)
}

// pairs is how many pairs of query and key a layer has for n tokens after p earlier ones. Window 0
// is none.
func pairs(n, p, window int) float64 {
	triangle := func(end int) float64 { // of tokens 1..end, the i-th of which sees min(i, window)
		full := end
		if window > 0 {
			full = min(end, window)
		}
		return float64(full)*(float64(full)+1)/2 + float64(end-full)*float64(window)
	}
	return triangle(p+n) - triangle(p)
}

// weights is what n tokens read of a layer's weights: with few of them not all experts.
func (c *Cost) weights(layer, n int) float64 {
	return min(float64(c.model.LayerBytes[layer]), float64(n)*float64(c.work.ReadBytes[layer]))
}

// matrices is the time that n tokens' matrix products in some layers take on a node.
func (c *Cost) matrices(node int, r Range, n int) float64 {
	t := 0.0
	for l := r.First; l < r.End; l++ {
		t += c.speeds[node].matrices(c.weights(l, n), float64(n)*c.work.TokenFLOPs[l], c.reading[l].share())
	}
	return t
}

// attends is the time in which a node attends to so many keys of a layer, in that many pairs.
func (c *Cost) attends(node, layer int, keys, pairs float64) float64 {
	return c.speeds[node].attendChunk(keys*float64(c.model.KVBytesPerToken[layer]), pairs*c.work.PairFLOPs[layer])
}

func (c *Cost) chunks(tokens int) Prefill {
	left := make([]float64, len(c.owners)) // when the chunk before left each owner
	var total Prefill
	for p := 0; p < tokens; p += c.chunk {
		n := min(c.chunk, tokens-p)
		at := 0.0 // when the chunk arrives
		var slowest, waiting float64
		busy := make([]float64, len(c.plan.Shares))
		out := left[len(left)-1]
		for i, o := range c.owners {
			if i > 0 {
				at += c.links[c.owners[i-1].node][o.node].transfer(float64(n) * float64(c.work.HiddenBytes))
			}
			took, waited := c.stage(o, n, p, busy)
			if took > slowest {
				slowest, waiting = took, waited
			}
			at = max(at, left[i]) + took
			left[i] = at
		}
		total.Waiting += waiting // of the owner that sets the pace
		c.crowd(busy, busy)
		most := slices.Max(busy)
		last := &left[len(left)-1]
		*last = max(*last, out+most)
	}
	total.Seconds = left[len(left)-1]
	return total
}

// stage is the time of one chunk at one owner, and what of it is waiting for holders. It adds to busy
// what each node has to do for it.
func (c *Cost) stage(o owner, n, p int, busy []float64) (took, waited float64) {
	matrices := c.matrices(o.node, o.layers, n)
	took = matrices
	busy[o.node] += matrices
	for l := o.layers.First; l < o.layers.End; l++ {
		window := c.model.window(l)
		if window > 0 || c.plan.Mode == Pipeline {
			keys := p + n
			if window > 0 {
				keys = min(keys, window+n)
			}
			attends := c.attends(o.node, l, float64(keys), pairs(n, p, window))
			took += attends
			busy[o.node] += attends
			continue
		}
		held := func(node int) (keys, pairs float64) {
			keys = float64(p) * c.plan.Shares[node].TokenWeight
			return keys, keys * float64(n)
		}
		keys, earlier := held(o.node)
		own := c.attends(o.node, l, keys+float64(n), earlier+pairs(n, 0, 0))
		busy[o.node] += own
		slowest, wire := own, 0.0
		for j, s := range c.plan.Shares {
			if j == o.node || s.Blocks == 0 || p == 0 {
				continue
			}
			there, back := c.links[o.node][j], c.links[j][o.node]
			keys, pairs := held(j)
			attends := c.attends(j, l, keys, pairs)
			busy[j] += attends
			wire += float64(n) * (float64(c.work.QueryBytes)/there.Bandwidth + float64(c.work.PartialBytes)/back.Bandwidth)
			slowest = max(slowest, there.Latency+back.Latency+wire+attends)
		}
		took += slowest
		waited += slowest - own
	}
	return took, waited
}

func (c *Cost) rounds(tokens int) Prefill {
	round := c.Round()
	all := Range{0, len(c.model.LayerBytes)}
	times := make([]float64, len(c.plan.Shares))
	var total Prefill
	for p := 0; p < tokens; p += round {
		n := min(round, tokens-p)
		for j, s := range c.plan.Shares {
			times[j] = c.matrices(j, all, int(float64(n)*s.TokenWeight+0.5))
		}
		c.crowd(times, times)
		total.Seconds += slices.Max(times)
		for l := range c.model.LayerBytes {
			for j, s := range c.plan.Shares {
				times[j] = c.attends(j, l, float64(p+n), s.TokenWeight*pairs(n, p, c.model.window(l)))
			}
			c.crowd(times, times)
			computing := slices.Max(times)
			transfer := c.circulates(l, p+n)
			total.Seconds += max(computing, transfer)
			total.Waiting += max(transfer-computing, 0)
		}
	}
	return total
}

// circulates is the time in which so many tokens' keys and values of a layer go round the ring: each
// link carries all of them but those that end their trip before it.
func (c *Cost) circulates(layer, tokens int) float64 {
	if w := c.model.window(layer); w > 0 {
		tokens = min(tokens, w+c.chunk)
	}
	nodes := len(c.plan.Shares)
	slowest := 0.0
	for i := range nodes {
		next := (i + 1) % nodes
		carried := float64(tokens) * (1 - c.plan.Shares[next].TokenWeight)
		hops := carried / float64(c.block)
		l := c.links[i][next]
		slowest = max(slowest, hops*l.Latency+carried*float64(c.model.KVBytesPerToken[layer])/l.Bandwidth)
	}
	return slowest
}

// pace is about what each chunk of a prompt of that many tokens takes, in seconds: as much as the one in its middle, and a
// part of what the first takes until it is through.
func (c *Cost) pace(tokens int) float64 {
	n := min(c.chunk, tokens)
	if c.plan.Mode == Ring && len(c.plan.Shares) > 1 {
		return c.rounds(tokens).Seconds * float64(n) / float64(tokens)
	}
	chunks := float64((tokens + n - 1) / n)
	through, slowest := 0.0, 0.0
	busy := make([]float64, len(c.plan.Shares))
	for i, o := range c.owners {
		if i > 0 {
			through += c.links[c.owners[i-1].node][o.node].transfer(float64(n) * float64(c.work.HiddenBytes))
		}
		took, _ := c.stage(o, n, (tokens-n)/2, busy)
		through, slowest = through+took, max(slowest, took)
	}
	c.crowd(busy, busy)
	return (through + (chunks-1)*max(slowest, slices.Max(busy))) / chunks
}
