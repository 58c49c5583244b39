package orrery

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/orrery-ai/orrery/actors"
	"github.com/orrery-ai/orrery/calibrate"
	"github.com/orrery-ai/orrery/cluster"
	"github.com/orrery-ai/orrery/placement"
	"github.com/orrery-ai/orrery/proto"
)

// MeasuredLink is what two nodes measured of the way between them.
type MeasuredLink struct {
	From, To string
	Busy     time.Duration // an exchange of a KiB each way, right after another
	Paused   time.Duration // the same when To had nothing to do for a while, as in decode
	Sending  time.Duration // of Paused, what From was kept busy with
	Rate     float64       // bytes/s of large messages from From to To
	Guessed  bool          // not measured: the medians of the pairs that were, see [Cluster.MeasureLinks]
}

// way is the link as predictions know it: what a message takes when the other end has to wake.
func (l MeasuredLink) way() placement.Link {
	latency := l.Paused.Seconds() / 2
	return placement.Link{Latency: latency, Bandwidth: l.Rate, Sending: min(l.Sending.Seconds(), latency)}
}

const (
	linksStayFor = 10 * time.Minute
	// pairTimeout bounds one measurement, with its queueing at the node that makes it.
	pairTimeout = 2 * calibrate.LinkTime
	// allPairs is up to how many nodes every pair is measured.
	allPairs = 8
	// sampledSteps is how many other nodes each is measured with, in a larger cluster.
	sampledSteps = 3
)

// linkBook keeps what was measured between nodes.
type linkBook struct {
	measuring chan struct{} // held by who measures
	mu        sync.Mutex
	links     map[[2]string]linkEntry // by the transport addresses of the two
}

func newLinkBook() *linkBook {
	return &linkBook{measuring: make(chan struct{}, 1), links: map[[2]string]linkEntry{}}
}

// begin waits until nobody else measures. end lets the next.
func (b *linkBook) begin(ctx context.Context) (end func(), err error) {
	end = func() { <-b.measuring }
	select {
	case b.measuring <- struct{}{}:
		return end, nil
	default:
	}
	select {
	case b.measuring <- struct{}{}:
		return end, nil
	case <-ctx.Done():
		return nil, fmt.Errorf("orrery: links are being measured: %w", context.Cause(ctx))
	}
}

type linkEntry struct {
	link MeasuredLink
	at   time.Time
}

func (b *linkBook) get(from, to cluster.Node) (MeasuredLink, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	e, ok := b.links[[2]string{from.Transport, to.Transport}]
	return e.link, ok && time.Since(e.at) < linksStayFor
}

func (b *linkBook) put(from, to cluster.Node, l MeasuredLink) {
	b.mu.Lock()
	defer b.mu.Unlock()
	maps.DeleteFunc(b.links, func(_ [2]string, e linkEntry) bool { return time.Since(e.at) >= linksStayFor })
	b.links[[2]string{from.Transport, to.Transport}] = linkEntry{l, time.Now()}
}

// Links is the way between each two of [Cluster.Nodes], in their order: links[i][j] leads from node i to
// node j. See [Cluster.MeasureLinks].
func (c *Cluster) Links(ctx context.Context) ([][]placement.Link, error) {
	nodes := c.Nodes()
	measured, err := c.measureLinks(ctx, nodes)
	if err != nil {
		return nil, err
	}
	return matrixOf(nodes, measured), nil
}

func matrixOf(nodes []cluster.Node, measured []MeasuredLink) [][]placement.Link {
	index := map[string]int{}
	links := make([][]placement.Link, len(nodes))
	for i, n := range nodes {
		index[n.Name] = i
		links[i] = make([]placement.Link, len(nodes))
	}
	for _, l := range measured {
		i, j := index[l.From], index[l.To]
		links[i][j], links[j][i] = l.way(), l.way()
	}
	return links
}

// MeasureLinks has the nodes measure the ways between them, each pair once. Pairs without a node in common
// are measured at the same time. What was measured here in the last ten minutes is not measured again.
// In a cluster of more than eight nodes each is measured with three others, and the pairs that are left get
// the medians of those. The error names the pair that could not be measured.
func (c *Cluster) MeasureLinks(ctx context.Context) ([]MeasuredLink, error) {
	return c.measureLinks(ctx, c.Nodes())
}

func (c *Cluster) measureLinks(ctx context.Context, nodes []cluster.Node) ([]MeasuredLink, error) {
	end, err := c.links.begin(ctx)
	if err != nil {
		return nil, err
	}
	defer end()
	for _, n := range nodes {
		c.endpoint.SetPeer(n.Name, n.Transport) // watch may not have come to it yet
	}
	rounds := rounds(len(nodes))
	for _, round := range rounds {
		g, ctx := errgroup.WithContext(ctx)
		for _, p := range round {
			a, b := nodes[p[0]], nodes[p[1]]
			if _, known := c.links.get(a, b); known {
				continue
			}
			g.Go(func() error {
				l, err := c.measureLink(ctx, a, b)
				if err != nil {
					return fmt.Errorf("orrery: the way from %s to %s: %w", a.Name, b.Name, err)
				}
				c.links.put(a, b, l)
				return nil
			})
		}
		if err := g.Wait(); err != nil {
			return nil, err
		}
	}
	var measured []MeasuredLink
	for _, round := range rounds {
		for _, p := range round {
			l, _ := c.links.get(nodes[p[0]], nodes[p[1]])
			l.From, l.To = nodes[p[0]].Name, nodes[p[1]].Name
			measured = append(measured, l)
		}
	}
	return withGuesses(nodes, measured), nil
}

// measureLink asks a for the way to b.
func (c *Cluster) measureLink(ctx context.Context, a, b cluster.Node) (MeasuredLink, error) {
	ctx, cancel := context.WithTimeout(ctx, pairTimeout)
	defer cancel()
	m, err := actors.Ask[*proto.LinkMeasured](ctx, c.system, actors.NodePID(a.Name), &proto.MeasureLink{Peer: b.Name, Address: b.Transport, Self: a.Transport, Asker: c.membership.Self().Transport})
	if err == nil && m.Error != "" {
		err = errors.New(m.Error)
	}
	if err != nil {
		return MeasuredLink{}, err
	}
	return linkOf(a.Name, b.Name, calibrate.Link{Busy: seconds(m.BusySeconds), Paused: seconds(m.PausedSeconds), Sending: seconds(m.SendingSeconds),
		Bandwidth: m.Bandwidth})
}

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }

// linkOf refuses what no link has: it may have come from another node.
func linkOf(from, to string, l calibrate.Link) (MeasuredLink, error) {
	if l.Busy <= 0 || l.Paused <= 0 || l.Sending < 0 || !(l.Bandwidth >= 1 && l.Bandwidth <= 1e18) {
		return MeasuredLink{}, fmt.Errorf("%+v cannot be", l)
	}
	return MeasuredLink{From: from, To: to, Busy: l.Busy, Paused: l.Paused, Sending: l.Sending, Rate: l.Bandwidth}, nil
}

// Ways is the way between this process, from where steps are driven, and each of [Cluster.Nodes]. They are
// measured one after another, and then known for ten minutes. The error names the node.
func (c *Cluster) Ways(ctx context.Context) ([]placement.Link, error) { return c.ways(ctx, c.Nodes()) }

func (c *Cluster) ways(ctx context.Context, nodes []cluster.Node) ([]placement.Link, error) {
	end, err := c.links.begin(ctx)
	if err != nil {
		return nil, err
	}
	defer end()
	self := c.membership.Self()
	ways := make([]placement.Link, len(nodes))
	for i, n := range nodes {
		l, known := c.links.get(self, n)
		if !known {
			c.endpoint.SetPeer(n.Name, n.Transport)
			measured, err := actors.MeasureLink(ctx, c.system, c.endpoint, n.Name, self.Transport)
			if err == nil {
				l, err = linkOf(self.Name, n.Name, measured)
			}
			if err != nil {
				return nil, fmt.Errorf("orrery: the way to %s: %w", n.Name, err)
			}
			c.links.put(self, n, l)
		}
		ways[i] = l.way()
	}
	return ways, nil
}

// rounds is which pairs of n nodes to measure, in rounds in which no node has two of them: with all others
// as in a tournament, or, if there are many nodes, with those at some distances from it.
func rounds(n int) [][][2]int {
	var all [][][2]int
	if n <= allPairs {
		seats := n + n%2
		for r := range max(seats-1, 0) {
			var round [][2]int
			for i := range seats / 2 {
				// The circle method: the last seat stays, the others move on by one each round.
				a, b := (r+i)%(seats-1), (r+seats-1-i)%(seats-1)
				if i == 0 {
					b = seats - 1
				}
				if a < n && b < n {
					round = append(round, [2]int{min(a, b), max(a, b)})
				}
			}
			all = append(all, round)
		}
		return all
	}
	distance := 1
	for range sampledSteps {
		// Pairs (i, i+distance) make cycles: neighbours in a cycle go to different rounds.
		left := make([][2]int, 0, n)
		for i := range n {
			j := (i + distance) % n
			left = append(left, [2]int{min(i, j), max(i, j)})
		}
		for len(left) > 0 {
			var round, later [][2]int
			taken := map[int]bool{}
			for _, p := range left {
				if taken[p[0]] || taken[p[1]] {
					later = append(later, p)
					continue
				}
				taken[p[0]], taken[p[1]] = true, true
				round = append(round, p)
			}
			all, left = append(all, round), later
		}
		distance *= 2
	}
	return all
}

// withGuesses adds the pairs that were not measured, and sorts all by the nodes' order.
func withGuesses(nodes []cluster.Node, measured []MeasuredLink) []MeasuredLink {
	known := map[[2]string]MeasuredLink{}
	var busy, paused, sending []time.Duration
	var rates []float64
	for _, l := range measured {
		known[[2]string{l.From, l.To}] = l
		busy, paused, sending, rates = append(busy, l.Busy), append(paused, l.Paused), append(sending, l.Sending), append(rates, l.Rate)
	}
	slices.Sort(busy)
	slices.Sort(paused)
	slices.Sort(sending)
	slices.Sort(rates)
	var all []MeasuredLink
	for i, a := range nodes {
		for _, b := range nodes[i+1:] {
			l, ok := known[[2]string{a.Name, b.Name}]
			if !ok {
				middle := len(measured) / 2
				l = MeasuredLink{From: a.Name, To: b.Name, Busy: busy[middle], Paused: paused[middle], Sending: sending[middle], Rate: rates[middle], Guessed: true}
			}
			all = append(all, l)
		}
	}
	return all
}
