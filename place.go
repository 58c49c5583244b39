package orrery

import (
	"slices"

	"github.com/orrery-ai/orrery/actors"
	"github.com/orrery-ai/orrery/cluster"
	"github.com/orrery-ai/orrery/engine"
	"github.com/orrery-ai/orrery/placement"
	"github.com/orrery-ai/orrery/residence"
)

// place decides what goes where, in every mode that fits, and in which mode to load: of Auto in the first that
// fits. If none does the error is that of the first. Layers are where predictions say that they are fastest, if links are known, see
// [placement.Reservation.Refine].
func (m *Model) place(nodes []cluster.Node, runtimes []int64, links [][]placement.Link) (load Mode, plans *placement.Reservation, err error) {
	modes := []Mode{Pipeline, Pooled, Ring}
	if m.opts.Mode != Auto {
		modes = []Mode{m.opts.Mode}
	}
	r := m.request(nodes)
	for i, n := range runtimes {
		if n > 0 && m.files.Mapped() {
			n += mappedGrowth
		}
		r.Nodes[i].Runtime = n
	}
	m.mu.Lock()
	m.asked = r
	m.mu.Unlock()
	for _, r.Mode = range modes {
		res, failed := placement.PlaceAll(r, []Mode{Pipeline, Pooled, Ring})
		if failed == nil {
			return r.Mode, m.refine(r, res, links), nil
		}
		if err == nil {
			err = failed
		}
	}
	return 0, nil, err
}

// refine is a reservation of r with the layers that are fastest in the model's mode.
func (m *Model) refine(r placement.Request, res *placement.Reservation, links [][]placement.Link) *placement.Reservation {
	if links == nil || slices.ContainsFunc(r.Nodes, func(n placement.Node) bool { return !n.Rates.Known() }) {
		return res
	}
	of := m.opts.Mode
	if of == Auto {
		of = 0
	}
	work := workOf(m.files, m.opts.KV)
	faster, err := res.Refine(of, func(p *placement.Plan) (*placement.Cost, error) {
		const efficiency = 1 // of nodes without rates
		return placement.NewCost(r, p, work, links, efficiency)
	})
	if err != nil {
		m.cluster.log.Warn("layers are placed by bandwidth: nothing could be predicted", "model", m.ref, "err", err)
		return res
	}
	return faster
}

// mappedGrowth is what a node takes more, in bytes, where weights lie in files: the code that reads those, and pages that the system
// maps together with the ones that are used.
const mappedGrowth = 2 << 20

// slotTokens is for how many tokens the nodes' GPUs have slots to exchange by: most where two are on one machine, since they may share memory there.
func slotTokens(nodes []cluster.Node) int {
	on := map[string]int{} // GPUs of each machine
	gpus := 0
	for _, n := range nodes {
		if n.OnGPU() {
			gpus++
			on[n.Machine]++
		}
	}
	delete(on, "")
	for _, n := range on {
		if n > 1 {
			return engine.SlotTokens(true)
		}
	}
	if gpus > 1 {
		return engine.SlotTokens(false)
	}
	return 0
}

// request is what placement is asked.
func (m *Model) request(nodes []cluster.Node) placement.Request {
	c, o := &m.files.Config, m.opts
	buffers := engine.Footprint(m.files, o.KV, o.BlockTokens, len(nodes), m.cluster.cfg.Identity != nil)
	buffers.Slots = slotTokens(nodes)
	r := placement.Request{Mode: m.opts.Mode, Context: m.opts.Context, Sequences: m.opts.Sequences, Chunk: m.opts.Chunk, BlockTokens: m.opts.BlockTokens,
		Model: placement.Model{Name: m.ref, EmbedBytes: m.files.EmbedBytes(), HeadBytes: m.files.HeadBytes(), Tied: c.Tied, BlockOverhead: placement.BlockOverhead,
			ScratchBytes: buffers.Bytes}}
	for l := range c.Layers {
		r.Model.LayerBytes = append(r.Model.LayerBytes, m.files.LayerBytes(l))
		r.Model.KVBytesPerToken = append(r.Model.KVBytesPerToken, c.KVBytesPerToken(m.opts.KV))
	}
	for _, n := range nodes {
		r.Nodes = append(r.Nodes, n.Placement())
	}
	return r
}

// spec turns the plans into what the actors need.
func (m *Model) spec(nodes []cluster.Node, load Mode, plans *placement.Reservation) actors.Spec {
	o := m.opts
	s := actors.Spec{Model: m.files, Ref: m.ref, Mode: load, Refused: map[Mode]string{}, Chunk: o.Chunk, BlockTokens: o.BlockTokens, KV: o.KV, Context: o.Context,
		MaxWaiting: o.Waiting, WaitTimeout: o.WaitTimeout, Address: m.cluster.membership.Self().Transport, StepTimeout: o.StepTimeout, LoadTimeout: o.LoadTimeout, OnLoading: o.Progress, Logger: m.cluster.log}
	s.Memory, s.Staged = plans.Promises(load)
	for mode, why := range plans.Refused {
		s.Refused[mode] = why.Error()
	}
	for _, n := range nodes {
		s.Nodes, s.Addresses = append(s.Nodes, n.Name), append(s.Addresses, n.Transport)
	}
	s.Layers = layersOf(plans, len(nodes), m.files.Config.Layers)
	s.Weights, s.Blocks = tokenShares(plans, nodes), tokenBlocks(plans)
	s.RingOwner = fastest(nodes)
	return s
}

// layersOf is each node's layers in pipeline and pooled. If only ring fits, the first node stands for all:
// no sequence can be in another mode.
func layersOf(plans *placement.Reservation, nodes, layers int) []residence.Span {
	spans := make([]residence.Span, nodes)
	spans[0].End = layers
	for _, mode := range []Mode{Pooled, Pipeline} {
		if p := plans.Plans[mode]; p != nil {
			for i := range spans {
				spans[i] = residence.Span(p.Shares[i].Layers)
			}
		}
	}
	return spans
}

// tokenShares is each node's share of the tokens in pooled and ring. Ring leaves the least room for the
// cache, so its shares fit in pooled too, and a switch between them moves no block.
func tokenShares(plans *placement.Reservation, nodes []cluster.Node) []float64 {
	shares := make([]float64, len(nodes))
	for _, mode := range []Mode{Ring, Pooled} {
		if p := plans.Plans[mode]; p != nil {
			for i := range shares {
				shares[i] = p.Shares[i].TokenWeight
			}
			return shares
		}
	}
	sum := 0.0
	for _, n := range nodes {
		sum += n.Bandwidth
	}
	for i, n := range nodes {
		shares[i] = n.Bandwidth / sum
	}
	return shares
}

// tokenBlocks is how many blocks of a whole context each node holds in pooled and ring, or nil if neither fits.
func tokenBlocks(plans *placement.Reservation) (blocks []int) {
	for _, mode := range []Mode{Ring, Pooled} {
		if p := plans.Plans[mode]; p != nil {
			for _, s := range p.Shares {
				blocks = append(blocks, s.Blocks)
			}
			return blocks
		}
	}
	return nil
}

// fastest is the node with the fastest memory, the first of equals.
func fastest(nodes []cluster.Node) int {
	best := 0
	for i, n := range nodes {
		if n.Bandwidth > nodes[best].Bandwidth {
			best = i
		}
	}
	return best
}

// Plans is where the model's layers and tokens are, for each mode that fits, and why the others do not.
func (m *Model) Plans() *placement.Reservation {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.plans
}
