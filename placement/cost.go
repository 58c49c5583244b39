package placement

import (
	"fmt"
	"slices"
)

// Cost predicts how long steps of a plan take. It is a pure function of what it was made from.
//
// Of a node with [Rates] it takes those. Another one reads at B = Bandwidth x efficiency bytes/s and
// computes at F = FLOPS x efficiency operations/s; each piece of work takes the longer of its reading and
// its computing. That matters for attention over MLA's latent, which does much with each byte; otherwise
// decode is reading.
type Cost struct {
	model   Model
	work    Work
	reading []stored // [layers] weights that a token reads
	head    stored   // and of the head
	plan    *Plan
	links   [][]Link
	speeds  []speed // [nodes]
	owners  []owner
	driver  []Link  // [nodes] the way to each node from who drives the steps; nil if that is not known
	turn    float64 // seconds that he takes from a step's result to the next step
	shared  [][]int // the nodes on the same processors, of each node, itself included
	cache   [][]int // the nodes that share caches, likewise
	order   []int   // the holders, those first that get the first blocks
	chunk   int
	block   int
}

// owner is a node that computes layers in decode.
type owner struct {
	node   int
	layers Range
}

// NewCost prepares the predictions for a plan that Place or PlaceAll made of r, in whichever mode. links[i][j] is the way
// from node i to node j, [nodes][nodes]; what it says of a node to itself is not used. Efficiency is the share of
// bandwidth and FLOPS that kernels reach on nodes without Rates, in (0, 1]. Every node needs Rates or FLOPS. The error
// names what is missing or cannot be.
func NewCost(r Request, p *Plan, w Work, links [][]Link, efficiency float64) (*Cost, error) {
	r.Mode = p.Mode
	if err := r.check(); err != nil {
		return nil, err
	}
	if err := w.check(&r.Model); err != nil {
		return nil, err
	}
	if !(efficiency > 0 && efficiency <= 1) {
		return nil, fmt.Errorf("placement: efficiency %v is not in (0, 1]", efficiency)
	}
	n := len(r.Nodes)
	if len(p.Shares) != n || len(links) != n {
		return nil, fmt.Errorf("placement: %d nodes, but a plan for %d and links from %d", n, len(p.Shares), len(links))
	}
	c := &Cost{model: r.Model, work: w, plan: p, links: links, chunk: r.Chunk, block: r.BlockTokens, head: storedIn(w.HeadRead, w.HeadIn)}
	for l, bytes := range w.ReadBytes {
		var formats map[string]int64
		if w.ReadIn != nil {
			formats = w.ReadIn[l]
		}
		c.reading = append(c.reading, storedIn(bytes, formats))
	}
	for i, node := range r.Nodes {
		if len(links[i]) != n {
			return nil, fmt.Errorf("placement: node %s: links to %d of %d nodes", node.Name, len(links[i]), n)
		}
		for j, l := range links[i] {
			if err := l.check(); i != j && err != nil {
				return nil, fmt.Errorf("placement: link from %s to %s: %w", node.Name, r.Nodes[j].Name, err)
			}
		}
		s, err := newSpeed(node, efficiency)
		if err != nil {
			return nil, err
		}
		c.speeds = append(c.speeds, s)
		c.shared = append(c.shared, alike(r.Nodes, i, func(a, b Node) bool { return a.Machine == b.Machine && a.CPUs == b.CPUs }))
		c.cache = append(c.cache, alike(r.Nodes, i, func(a, b Node) bool { return a.Machine == b.Machine }))
		if s := p.Shares[i]; p.Mode != Ring && s.Layers.Len() > 0 {
			c.owners = append(c.owners, owner{i, s.Layers})
		}
	}
	if p.Mode == Ring {
		c.owners = []owner{{p.Owner, Range{0, len(r.Model.LayerBytes)}}}
	}
	c.orderHolders()
	return c, nil
}

// Step is the parts of one decode step, in seconds. They follow one another.
type Step struct {
	Weights  float64 // the layers but for attention, and the head: mostly reading their weights, on one owner after another
	KV       float64 // attending to the context, at the slowest holder of each layer
	Exchange float64 // what queries to the holders and their partial results back add to that
	HandOver float64 // the hidden state from owner to owner, and the token back to the first, with the owners' turns
}

// Seconds is the whole step.
func (s Step) Seconds() float64 { return s.Weights + s.KV + s.Exchange + s.HandOver }

// Step predicts one decode step of one sequence at a context of that many tokens. With w_i the weight
// bytes that owner i reads, k the KV bytes of a token, s_j the share of tokens that node j holds, f_i
// the share of KV bytes in i's layers, L layers, t an exchange and a a hand-over, it is
//
//	pipeline   sum w_i/B_i + k S sum f_i/B_i   + N a
//	pooled     sum w_i/B_i + k S max s_j/B_j   + L t + N a
//	ring       W / max B_i + k S max s_j/B_j   + L t
//
// where max s_j/B_j is 1/sum B_j when memory does not keep tokens from following bandwidth. An
// exchange is a round trip to the farthest holder, and the bytes of all holders one after another
// through the owner's port, there and back:
//
//	t = 2 max latency + (query + partial bytes) sum 1/bandwidth
//	a = latency + hidden bytes / bandwidth
//
// Where one holder has more to attend to than another, an exchange is hidden behind that. While there are fewer whole
// blocks than holders, those without one are not asked.
// Layers with a window read no more than that, at their owner, and exchange nothing.
//
// Of nodes with [Rates], w_i/B_i and the like are the times measured for operations of that size: from the caches as far as
// what the machine's nodes read in a step stays in them until the next one. Holders on the same processors are slower by as
// much as was measured. A hand-over includes the owner's turn, and an exchange what both devices take, see [Rates].
func (c *Cost) Step(context int) Step { return c.stepOf(context, false) }

// stepOf is Step, or what it would be if every holder had its share of the tokens at any context.
func (c *Cost) stepOf(context int, byWeight bool) Step {
	return c.batch(crewOf([]int{context}, 1), byWeight).Step
}

// step is one of a crew, if each node reads like that. It adds to busy, unless that is nil, what each node has to do for it.
func (c *Cost) step(w *crew, byWeight bool, reads []readings, busy []float64) (s Step) {
	last := len(c.model.LayerBytes)
	times, memory, tokens := make([]float64, len(c.speeds)), make([]float64, len(c.speeds)), make([]float64, len(c.speeds))
	asked := make([]float64, len(c.speeds)) // sequences with tokens there
	works := func(node int, seconds float64) {
		if busy != nil {
			busy[node] += seconds
		}
	}
	for i, o := range c.owners {
		s.HandOver += c.handOver(o.node, c.owners[(i+1)%len(c.owners)].node, i == len(c.owners)-1, w)
		for l := o.layers.First; l < o.layers.End; l++ {
			weights, rows := c.weightsOf(l, w.rows)
			took := c.speeds[o.node].layer(reads[o.node].weights, weights, c.work.TokenFLOPs[l], rows)
			s.Weights += took
			works(o.node, took)
			clear(times)
			clear(memory)
			if window := c.model.window(l); window > 0 || c.plan.Mode == Pipeline {
				own := 0.0
				for _, at := range w.at {
					keys := float64(max(at.context, 1)) // a token attends to itself
					if window > 0 {
						keys = min(keys, float64(window))
					}
					took, _ := c.attend(o.node, l, reads[o.node].own, keys)
					own += at.share * took
				}
				s.KV += own
				works(o.node, own)
				continue
			}
			clear(asked)
			var holders []int
			for _, at := range w.at { // from the shortest on, so that all that hold any hold of the last
				holders = c.held(o.node, at.context, byWeight, tokens)
				for _, j := range holders {
					asked[j] += at.share
				}
				for j := range c.plan.Shares {
					took, fromMemory := c.attend(j, l, reads[j].held, tokens[j])
					times[j] += at.share * took
					memory[j] += at.share * fromMemory
				}
			}
			c.crowd(times, memory)
			slowest := slices.Max(times)
			s.KV += slowest
			s.Exchange += max(c.answered(o.node, times, holders, asked)-slowest, 0)
			for j, took := range times {
				works(j, took)
			}
		}
		if o.layers.End == last {
			took := c.speeds[o.node].product(reads[o.node].weights, c.head, c.work.HeadFLOPs, w.rows)
			s.Weights += took
			works(o.node, took)
		}
	}
	s.HandOver += c.turns(s, w)
	return s
}

// turns is what a step takes besides its operations and the ways between nodes. One that a single node computes is recorded while the one before runs, where that can
// be, and then recording it, with telling of one and taking in the next, only counts as far as that takes longer. No more than two steps are under way then: who drives hands out one when he has the token of the one before the one that runs.
// So each takes half at the least of all that lies between its being handed out and its token.
//
// A step of several sequences is recorded when the tokens of the one before are known. Its device begins meanwhile.
func (c *Cost) turns(s Step, w *crew) (all float64) {
	if o := c.owners[0]; w.many() && len(c.owners) == 1 && c.speeds[o.node].records() {
		r := c.speeds[o.node].rates
		return max(r.Begin+r.Record*float64(o.layers.Len())-s.Weights-s.KV, 0) + r.Turn
	}
	if o := c.owners[0]; len(c.owners) == 1 && c.speeds[o.node].records() && !c.exchanges() {
		r, device := c.speeds[o.node].rates, s.Weights+s.KV
		recording := r.Begin + r.Record*float64(o.layers.Len())
		if c.driver != nil {
			recording += c.driver[o.node].Telling
		}
		round := recording + r.Turn + device
		if c.driver != nil {
			round += 2*c.driver[o.node].Latency + c.turn
		}
		return max(recording-device, round/2-device, 0)
	}
	for _, o := range c.owners {
		all += c.speeds[o.node].turn()
	}
	return all
}

// exchanges reports whether another node than the owner holds tokens of a layer.
func (c *Cost) exchanges() bool {
	for j, s := range c.plan.Shares {
		if c.plan.Mode != Pipeline && j != c.owners[0].node && s.Blocks > 0 {
			return true
		}
	}
	return false
}

// handOver is the time from one owner to the next, or from the last one to the first of the next step: by
// way of who drives the steps, if that is known. If they are the same the next step of one sequence is there when the token is, and what counts is that the node tells of the one and takes in the
// other, unless its device computes meanwhile.
func (c *Cost) handOver(from, to int, last bool, w *crew) float64 {
	switch {
	case last && c.driver != nil && (from != to || w.many()):
		return c.driver[from].Latency + w.rows*c.turn + c.driver[to].Latency
	case from == to && c.driver != nil && !c.speeds[from].records():
		return c.driver[from].Telling
	case from == to:
		return 0
	}
	return c.links[from][to].transfer(w.rows * float64(c.work.HiddenBytes))
}

// attend is the time in which a node attends to so many keys of a layer, for one query, and of it what reading from memory takes.
func (c *Cost) attend(node, layer int, r reading, keys float64) (took, memory float64) {
	return c.speeds[node].attend(r, keys*float64(c.model.KVBytesPerToken[layer]), keys*c.work.PairFLOPs[layer], c.work.KVBits)
}

// answered is when the last answer to a layer's queries is there, if holders attend for such times, each asked for so many sequences.
func (c *Cost) answered(owner int, times []float64, holders []int, asked []float64) float64 {
	done, sending := 0.0, 0.0
	wire := c.wire(owner, holders, asked)
	for _, j := range holders {
		if j == owner {
			continue
		}
		there, back := c.links[owner][j], c.links[j][owner]
		if there.Ahead > 0 {
			more := func(bytes int64) float64 { return max(asked[j]*float64(bytes)-AheadBytes, 0) }
			done = max(done, times[j]+there.Ahead+more(c.work.QueryBytes)/there.Bandwidth+more(c.work.PartialBytes)/back.Bandwidth)
			continue
		}
		done = max(done, sending+there.Latency+times[j]+back.Latency+wire+devices(c.speeds[owner], c.speeds[j]))
		sending += there.Sending
	}
	return done
}

// wire is the time in which queries and partial results, of so many tokens with each of some holders, pass an owner's port.
func (c *Cost) wire(owner int, holders []int, asked []float64) float64 {
	wire := 0.0
	for _, j := range holders {
		if j != owner {
			wire += asked[j] * (float64(c.work.QueryBytes)/c.links[owner][j].Bandwidth + float64(c.work.PartialBytes)/c.links[j][owner].Bandwidth)
		}
	}
	return wire
}

// Exchange is the time of one exchange, in seconds: of the owner for which it is longest. Pipeline has
// none.
func (c *Cost) Exchange() float64 {
	if c.plan.Mode == Pipeline {
		return 0
	}
	most, nothing, one := 0.0, make([]float64, len(c.speeds)), slices.Repeat([]float64{1}, len(c.speeds))
	for _, o := range c.owners {
		most = max(most, c.answered(o.node, nothing, c.order, one))
	}
	return most
}

// Crossover is the first context, in tokens, at which so many sequences decode no slower in b than in a, or false when there
// is none below the longest that can be asked for. That modes are alike before there is a block for each holder does not
// count. Between the model's windows both grow linearly, so it is where two straight lines cross:
//
//	pipeline to pooled    S* = L t / (k (sum f_i/B_i - max s_j/B_j))
func Crossover(a, b *Cost, sequences int) (context int, ok bool) {
	slower := func(context int) float64 {
		contexts := slices.Repeat([]int{context}, sequences)
		return b.batch(crewOf(contexts, len(b.owners)), true).Seconds() - a.batch(crewOf(contexts, len(a.owners)), true).Seconds()
	}
	ends := []int{0}
	for _, c := range []*Cost{a, b} {
		ends = append(ends, c.model.Windows...)
	}
	for context := 1; context <= maxTokens; context *= 2 {
		ends = append(ends, context)
	}
	slices.Sort(ends)
	ends = slices.Compact(ends)
	for i, end := range ends {
		if slower(end) > 0 {
			continue
		}
		if i == 0 {
			return 0, true
		}
		below, at := ends[i-1], end
		for at-below > 1 {
			if mid := below + (at-below)/2; slower(mid) > 0 {
				below = mid
			} else {
				at = mid
			}
		}
		return at, true
	}
	return 0, false
}
