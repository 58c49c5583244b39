package orrery

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/orrery-ai/orrery/calibrate"
	"github.com/orrery-ai/orrery/cluster"
	"github.com/orrery-ai/orrery/model"
	"github.com/orrery-ai/orrery/placement"
)

// Costs predicts, for each mode that the model is placed in, how long its steps take: from the rates that
// the nodes measured when they started, the ways between them, and what nodes of one machine are to each
// other, which are measured now if that was not done lately; and from how long this process took to hand out the last steps of the
// model, if there were any. A node that was started without calibration makes an error that names it.
func (m *Model) Costs(ctx context.Context) (map[Mode]*placement.Cost, error) {
	nodes, err := m.calibrated()
	if err != nil {
		return nil, err
	}
	return m.costs(ctx, nodes, m.turn(), false)
}

// CostsNow is Costs from what is measured now, one node after another, where those of Costs may be minutes old, or
// days: it takes about a second for each node and each way. No step may run meanwhile. How long this process takes to hand out
// steps is as it was at the CostsNow before, so that who holds steps that ran in between against both holds nothing of them
// against itself.
func (m *Model) CostsNow(ctx context.Context) (map[Mode]*placement.Cost, error) {
	nodes, err := m.calibrated()
	if err != nil {
		return nil, err
	}
	nodes = slices.Clone(nodes)
	for i := range nodes {
		if nodes[i].Rates, err = m.cluster.measureNode(ctx, nodes[i]); err != nil {
			return nil, err
		}
	}
	m.cluster.forgetWays(nodes)
	turn := m.turn()
	m.mu.Lock()
	before := m.turnBefore
	m.turnBefore = turn
	m.mu.Unlock()
	if before == 0 {
		before = turn
	}
	return m.costs(ctx, nodes, before, true)
}

// turn is how many seconds this process takes from a step's result to the next step: of this model, else as it was measured; 0 if there was none yet.
func (m *Model) turn() float64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.conductor != nil {
		if turn := m.conductor.Turn(); turn > 0 {
			return turn.Seconds()
		}
	}
	return math.Float64frombits(m.cluster.turn.Load())
}

// calibrated is the nodes that the model is on, if it is known of all what they can do.
func (m *Model) calibrated() ([]cluster.Node, error) {
	m.mu.Lock()
	nodes, plans := m.nodes, m.plans
	m.mu.Unlock()
	if plans == nil {
		return nil, errors.New("orrery: the model is not loaded")
	}
	for _, n := range nodes {
		if !n.Rates.Known() {
			return nil, fmt.Errorf("orrery: what node %s can do was not measured: nothing can be predicted", n.Name)
		}
	}
	return nodes, nil
}

// costs is Costs with nodes of such rates, such a turn, and what they are to the others of their machine, all of them if it is to be as well known as can be.
func (m *Model) costs(ctx context.Context, nodes []cluster.Node, turn float64, all bool) (map[Mode]*placement.Cost, error) {
	m.mu.Lock()
	asked, plans := m.asked, m.plans
	m.mu.Unlock()
	if plans == nil || len(asked.Nodes) != len(nodes) {
		return nil, errors.New("orrery: the model is not loaded any more as it was")
	}
	asked.Nodes = slices.Clone(asked.Nodes)
	for i := range nodes {
		asked.Nodes[i].Rates = nodes[i].Rates
	}
	measured, err := m.cluster.measureLinks(ctx, nodes)
	if err != nil {
		return nil, err
	}
	links := matrixOf(nodes, measured)
	ways, err := m.cluster.ways(ctx, nodes)
	if err != nil {
		return nil, err
	}
	beside, err := m.cluster.together(ctx, nodes, layoutOf(m.files), all)
	if err != nil {
		return nil, err
	}
	m.cluster.log.Debug("what predictions go by", "nodes", asked.Nodes, "links", links, "ways", ways, "turn", turn, "together", beside)
	costs := map[Mode]*placement.Cost{}
	shares := tokenShares(plans, nodes)
	for mode, plan := range plans.Plans {
		if mode == Pooled { // which keeps the shares of ring, where that fits
			pooled := *plan
			pooled.Shares = slices.Clone(plan.Shares)
			for i := range shares {
				pooled.Shares[i].TokenWeight = shares[i]
			}
			plan = &pooled
		}
		const efficiency = 1 // of nodes without rates
		cost, err := placement.NewCost(asked, plan, workOf(m.files, m.opts.KV), links, efficiency)
		if err == nil {
			err = cost.DriveFrom(ways, turn)
		}
		if err == nil {
			err = cost.ShareMemory(beside)
		}
		if err != nil {
			return nil, fmt.Errorf("orrery: %w", err)
		}
		costs[mode] = cost
	}
	return costs, nil
}

// layoutOf is what nodes read in a step of the model.
func layoutOf(f *model.Model) calibrate.Layout {
	c := &f.Config
	bytes := f.HeadBytes()
	for l := range c.Layers {
		bytes += f.ReadBytes(l)
	}
	return calibrate.Layout{Layers: c.Layers, KVHeads: c.KVHeads, HeadDim: c.HeadDim, LayerBytes: bytes / int64(c.Layers)}
}

// workOf is what computing with a model and a cache in a format takes: of experts, those that a token goes to.
func workOf(f *model.Model, kv KVFormat) placement.Work {
	c := &f.Config
	width, kvWidth := c.Heads*c.HeadDim, c.KVHeads*c.HeadDim
	w := placement.Work{HeadRead: f.HeadBytes(), HeadIn: f.HeadFormats(), HeadFLOPs: 2 * float64(c.Hidden) * float64(c.Vocab),
		HiddenBytes: 4 * int64(c.Hidden), KVBits: kv.Bits(), QueryBytes: 4 * int64(width), PartialBytes: 4 * int64(width+2*c.Heads)}
	w.ExpertShare = make([]float64, c.Layers)
	for l := range c.Layers {
		mlp := 3 * c.Intermediate
		if e := &c.Experts; c.Routed(l) {
			mlp = e.Count + 3*e.Active*e.Width
			w.ExpertShare[l] = float64(e.Active) / float64(e.Count)
		}
		w.ReadBytes, w.ReadIn = append(w.ReadBytes, f.ReadBytes(l)), append(w.ReadIn, f.ReadFormats(l))
		w.TokenFLOPs = append(w.TokenFLOPs, 2*float64(c.Hidden)*float64(2*width+2*kvWidth+mlp))
		w.PairFLOPs = append(w.PairFLOPs, 4*float64(width))
	}
	return w
}

// StepBytes is what one step of decoding reads with so many tokens in the cache, in bytes: the weights of all
// layers, of experts those in use, and of the head, and the keys and values.
func (m *Model) StepBytes(depth int) int64 {
	w := workOf(m.files, m.opts.KV)
	n := w.HeadRead + int64(depth)*int64(m.files.Config.Layers)*m.files.Config.KVBytesPerToken(m.opts.KV)
	for _, bytes := range w.ReadBytes {
		n += bytes
	}
	return n
}

// PrefillOperations is the multiplications and additions that reading so many tokens takes behind others in the cache: the
// products of all layers, that of the head once, and attention, in which a token sees those before it and itself.
func (m *Model) PrefillOperations(depth, tokens int) float64 {
	w := workOf(m.files, m.opts.KV)
	n := float64(tokens)
	pairs, sum := n*float64(depth)+n*(n+1)/2, w.HeadFLOPs
	for l := range w.TokenFLOPs {
		sum += n*w.TokenFLOPs[l] + pairs*w.PairFLOPs[l]
	}
	return sum
}
