package orrery

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/orrery-ai/orrery/cluster"
	"github.com/orrery-ai/orrery/placement"
)

// measureMemory is how a node looks after what it has promised, where the system tells.
func measureMemory() func() (available, held int64, err error) {
	if _, err := cluster.HeldMemory(); errors.Is(err, errors.ErrUnsupported) {
		return nil
	}
	return func() (available, held int64, err error) {
		if held, err = cluster.HeldMemory(); err == nil {
			available, err = cluster.AvailableMemory()
		}
		return available, held, err
	}
}

// memoryNews is what a node has to tell the others of its memory. Telling takes a while; of several changes
// meanwhile the last counts.
type memoryNews struct {
	mu              sync.Mutex
	promised, short int64
	changed         chan struct{} // holds one word while there is something to tell
	done            chan struct{} // closed to end telling
	telling         sync.WaitGroup
}

func newMemoryNews() *memoryNews {
	return &memoryNews{changed: make(chan struct{}, 1), done: make(chan struct{})}
}

// set is called by the node, in bytes.
func (n *memoryNews) set(promised, short int64) {
	n.mu.Lock()
	n.promised, n.short = promised, short
	n.mu.Unlock()
	select {
	case n.changed <- struct{}{}:
	default:
	}
}

// tell gossips what changes, until stop.
func (c *Cluster) tellMemory() {
	n := c.memory
	n.telling.Go(func() {
		for {
			select {
			case <-n.changed:
			case <-n.done:
				return
			}
			n.mu.Lock()
			promised, short := n.promised, n.short
			n.mu.Unlock()
			if err := c.membership.Update(func(self *cluster.Node) { self.Promised, self.Short = promised, short }); err != nil {
				c.log.Debug("not everybody was told of our memory", "err", err)
			}
		}
	})
}

func (n *memoryNews) stop() {
	close(n.done)
	n.telling.Wait()
}

// warnShort says that a node which a model of this process uses has become short of memory, or is not any more.
func (c *Cluster) warnShort(n cluster.Node) {
	c.mu.Lock()
	was := c.short[n.Name]
	c.short[n.Name] = n.Short > 0
	used := false
	for m := range c.models {
		used = used || m.uses(n.Name)
	}
	c.mu.Unlock()
	switch {
	case !used || was == (n.Short > 0):
	case n.Short > 0:
		c.log.Warn("other programs took memory that a node has promised: it takes on nothing new", "peer", n.Name, "missing", placement.FormatBytes(n.Short))
	default:
		c.log.Warn("the memory that a node has promised is there again", "peer", n.Name)
	}
}

// holdersWithin bounds the wait for what nodes say of their memory; who says nothing is taken at its gossip.
const holdersWithin = 3 * time.Second

// askMemory puts into nodes what each has promised by now, which gossip tells only in a while. It returns for
// whom, or why none of it is to be had, for people, and how many bytes the processes take by themselves.
func (c *Cluster) askMemory(ctx context.Context, nodes []cluster.Node) (taken []string, runtimes []int64) {
	ctx, cancel := context.WithTimeout(ctx, holdersWithin)
	defer cancel()
	taken, runtimes = make([]string, len(nodes)), make([]int64, len(nodes))
	var g errgroup.Group
	for i := range nodes {
		n := &nodes[i]
		g.Go(func() error {
			s, err := c.stats(ctx, n.Name)
			if err != nil {
				c.log.Debug("a node does not say what it has promised", "peer", n.Name, "err", err)
				return nil
			}
			n.Promised, n.Short, runtimes[i] = s.PromisedBytes, s.ShortBytes, s.RuntimeBytes
			var to []string
			for _, p := range s.Promises {
				to = append(to, fmt.Sprintf("%s to %s of %s", placement.FormatBytes(p.Bytes), p.Ref, p.Client))
			}
			slices.Sort(to)
			if len(to) > 0 {
				taken[i] = "promised are " + strings.Join(to, ", ")
			}
			return nil
		})
	}
	_ = g.Wait() // nobody fails
	for i, n := range nodes {
		if n.Short > 0 {
			taken[i] = "other programs took " + placement.FormatBytes(n.Short) + " of what it has promised"
		}
	}
	return taken, runtimes
}
