package orrery

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/orrery-ai/orrery/actors"
	"github.com/orrery-ai/orrery/calibrate"
	"github.com/orrery-ai/orrery/cluster"
	"github.com/orrery-ai/orrery/placement"
)

// machineBook keeps what nodes of a machine measured together, by how what they attended to lay, and their transport addresses.
type machineBook struct {
	mu       sync.Mutex
	together map[string]togetherEntry
}

type togetherEntry struct {
	together []placement.Together
	at       time.Time
}

func newMachineBook() *machineBook { return &machineBook{together: map[string]togetherEntry{}} }

func (b *machineBook) get(key string) ([]placement.Together, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	e, ok := b.together[key]
	return e.together, ok && time.Since(e.at) < linksStayFor
}

func (b *machineBook) put(key string, together []placement.Together) {
	b.mu.Lock()
	defer b.mu.Unlock()
	maps.DeleteFunc(b.together, func(_ string, e togetherEntry) bool { return time.Since(e.at) >= linksStayFor })
	b.together[key] = togetherEntry{together, time.Now()}
}

// neighbours is the nodes, by their index, of each machine, who share its memory, and whether each of them has processors of its own. A GPU has memory of its own.
type neighbours struct {
	nodes []int
	apart bool
}

// neighbourhoods is all machines on which nodes compute with processors.
func neighbourhoods(nodes []cluster.Node) (all []neighbours) {
	byMachine := map[string][]int{}
	for i, n := range nodes {
		switch {
		case n.OnGPU():
		case n.Machine == "": // not known
			all = append(all, neighbours{nodes: []int{i}})
		default:
			byMachine[n.Machine] = append(byMachine[n.Machine], i)
		}
	}
	for _, machine := range slices.Sorted(maps.Keys(byMachine)) {
		group := byMachine[machine]
		if len(group) > calibrate.MaxTogether {
			continue
		}
		apart := slices.ContainsFunc(group, func(i int) bool { return nodes[i].CPUs != nodes[group[0]].CPUs })
		all = append(all, neighbours{group, apart})
	}
	return all
}

// Together is what was measured of each of [Cluster.Nodes] beside the others of its machine, with keys and values that lie as rates are measured: nothing of a node that shares its processors or has the machine
// to itself, of GPUs, and where there is no memory left for it. It is measured, and then known for ten minutes.
func (c *Cluster) Together(ctx context.Context) ([]placement.Together, error) {
	return c.together(ctx, c.Nodes(), calibrate.Layout{Layers: 1, KVHeads: calibrate.KVHeads, HeadDim: calibrate.HeadDim}, false)
}

// together is Together with what a model's steps read. All nodes with processors may sit, and for longer, those too of whom it is known from their start what the caches hold, though less well.
func (c *Cluster) together(ctx context.Context, nodes []cluster.Node, l calibrate.Layout, all bool) ([]placement.Together, error) {
	end, err := c.links.begin(ctx)
	if err != nil {
		return nil, err
	}
	defer end()
	within := calibrate.SittingBriefly
	if all {
		within = calibrate.SittingFor
	}
	known := make([]placement.Together, len(nodes))
	for _, group := range neighbourhoods(nodes) {
		if !all && !group.apart {
			continue
		}
		var addresses, names []string
		for _, i := range group.nodes {
			c.endpoint.SetPeer(nodes[i].Name, nodes[i].Transport)
			addresses, names = append(addresses, nodes[i].Transport), append(names, nodes[i].Name)
		}
		key := fmt.Sprint(l, addresses)
		measured, ok := c.machines.get(key)
		if !ok {
			measured, err = actors.Sit(ctx, c.system, c.endpoint, names, c.membership.Self().Transport, l, group.apart, within)
			if err == nil {
				err = checkTogether(measured)
			}
			if err != nil {
				c.log.Warn("what nodes of a machine are to each other is not known", "nodes", names, "err", err)
				continue
			}
			c.machines.put(key, measured)
		}
		for j, i := range group.nodes {
			known[i] = measured[j]
		}
	}
	return known, ctx.Err()
}

// checkTogether finds what no node measures: it may have come from another one.
func checkTogether(all []placement.Together) error {
	for i := range all {
		if err := all[i].Check(); err != nil {
			return fmt.Errorf("orrery: %w", err)
		}
	}
	return nil
}
