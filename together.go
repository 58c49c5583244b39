package orrery

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/orrery-ai/orrery/actors"
	"github.com/orrery-ai/orrery/calibrate"
	"github.com/orrery-ai/orrery/cluster"
	"github.com/orrery-ai/orrery/proto"
)

// machineBook keeps how much the nodes of a machine slow each other down, by their transport addresses.
type machineBook struct {
	mu     sync.Mutex
	slower map[string]slowerEntry
}

type slowerEntry struct {
	slower []float64
	at     time.Time
}

func newMachineBook() *machineBook { return &machineBook{slower: map[string]slowerEntry{}} }

func (b *machineBook) get(key string) ([]float64, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	e, ok := b.slower[key]
	return e.slower, ok && time.Since(e.at) < linksStayFor
}

func (b *machineBook) put(key string, slower []float64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	maps.DeleteFunc(b.slower, func(_ string, e slowerEntry) bool { return time.Since(e.at) >= linksStayFor })
	b.slower[key] = slowerEntry{slower, time.Now()}
}

// neighbours is the nodes, by their index, of each machine that has several on processors of their own: they
// share its memory. A GPU has memory of its own.
func neighbours(nodes []cluster.Node) [][]int {
	byMachine := map[string][]int{}
	for i, n := range nodes {
		if n.Machine != "" && !n.OnGPU() {
			byMachine[n.Machine] = append(byMachine[n.Machine], i)
		}
	}
	var all [][]int
	for _, machine := range slices.Sorted(maps.Keys(byMachine)) {
		group := byMachine[machine]
		apart := slices.ContainsFunc(group, func(i int) bool { return nodes[i].CPUs != nodes[group[0]].CPUs })
		if apart && len(group) <= calibrate.MaxTogether {
			all = append(all, group)
		}
	}
	return all
}

// Slower is how many times longer each of [Cluster.Nodes] takes to attend while the others of its machine do so too, on
// processors of their own: 1 where there are none, or where the machine has no memory left to measure it with. It is
// measured, and then known for ten minutes.
func (c *Cluster) Slower(ctx context.Context) ([]float64, error) { return c.slower(ctx, c.Nodes()) }

func (c *Cluster) slower(ctx context.Context, nodes []cluster.Node) ([]float64, error) {
	end, err := c.links.begin(ctx)
	if err != nil {
		return nil, err
	}
	defer end()
	slower := make([]float64, len(nodes))
	for i := range slower {
		slower[i] = 1
	}
	for _, group := range neighbours(nodes) {
		var names []string
		for _, i := range group {
			names = append(names, nodes[i].Transport)
		}
		key := strings.Join(names, " ")
		measured, known := c.machines.get(key)
		if !known {
			if measured, err = c.measureTogether(ctx, nodes, group); err != nil {
				c.log.Warn("how nodes of a machine slow each other down is not known", "err", err)
				continue
			}
			c.machines.put(key, measured)
		}
		for j, i := range group {
			slower[i] = measured[j]
		}
	}
	return slower, ctx.Err()
}

func (c *Cluster) measureTogether(ctx context.Context, nodes []cluster.Node, group []int) ([]float64, error) {
	ctx, cancel := context.WithTimeout(ctx, calibrate.Sitting{Nodes: len(group)}.Time()+pairTimeout)
	defer cancel()
	slower := make([]float64, len(group))
	g, ctx := errgroup.WithContext(ctx)
	for turn, i := range group {
		c.endpoint.SetPeer(nodes[i].Name, nodes[i].Transport)
		g.Go(func() error {
			m, err := actors.Ask[*proto.TogetherMeasured](ctx, c.system, actors.NodePID(nodes[i].Name),
				&proto.MeasureTogether{Nodes: uint32(len(group)), Turn: uint32(turn), Asker: c.membership.Self().Transport})
			if err == nil && m.Error != "" {
				err = errors.New(m.Error)
			}
			if err != nil {
				return fmt.Errorf("orrery: node %s: %w", nodes[i].Name, err)
			}
			slower[turn] = m.Slower
			return nil
		})
	}
	return slower, g.Wait()
}
