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
	Ahead    time.Duration // an exchange that the devices of both were given ahead, of [placement.AheadBytes] each way; 0 if they make none
	Telling  time.Duration // what it takes To, while it computes, to tell From of a step and to take in the next; 0 between nodes
	Guessed  bool          // not measured: the medians of the pairs that were, see [Cluster.MeasureLinks]
}

// way is the link as predictions know it: what a message takes when the other end has to wake.
func (l MeasuredLink) way() placement.Link {
	latency := l.Paused.Seconds() / 2
	return placement.Link{Latency: latency, Bandwidth: l.Rate, Sending: min(l.Sending.Seconds(), latency), Ahead: l.Ahead.Seconds(), Telling: l.Telling.Seconds()}
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

// forgetWays has all that is known between some nodes, and from here to them, measured again.
func (c *Cluster) forgetWays(nodes []cluster.Node) {
	at := map[string]bool{c.membership.Self().Transport: true}
	for _, n := range nodes {
		at[n.Transport] = true
	}
	c.links.mu.Lock()
	defer c.links.mu.Unlock()
	maps.DeleteFunc(c.links.links, func(ends [2]string, _ linkEntry) bool { return at[ends[0]] && at[ends[1]] })
	c.machines.mu.Lock()
	defer c.machines.mu.Unlock()
	clear(c.machines.together)
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

// knownLinks is Links of some nodes, if that needs no measuring, else nil.
func (c *Cluster) knownLinks(nodes []cluster.Node) [][]placement.Link {
	if measured, all := c.known(nodes); all {
		return matrixOf(nodes, measured)
	}
	return nil
}

// known is what was measured lately between nodes, and whether that is all there is to measure.
func (c *Cluster) known(nodes []cluster.Node) (links []MeasuredLink, all bool) {
	all = true
	for _, p := range pairs(len(nodes)) {
		l, known := c.links.get(nodes[p[0]], nodes[p[1]])
		all = all && known
		l.From, l.To = nodes[p[0]].Name, nodes[p[1]].Name
		links = append(links, l)
	}
	return withGuesses(nodes, links), all
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

// MeasureLinks has the nodes measure the ways between them, each pair in a few sittings, of which it takes the
// medians. Pairs on different machines are measured at the same time. What was measured here in the last ten minutes is not measured again.
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
	chosen := pairs(len(nodes))
	var unknown [][2]int
	for _, p := range chosen {
		if _, known := c.links.get(nodes[p[0]], nodes[p[1]]); !known {
			unknown = append(unknown, p)
		}
	}
	sittings := make(map[[2]int][]calibrate.Link, len(unknown))
	for range sittingsOfALink {
		for _, round := range rounds(nodes, unknown) {
			links, err := c.measureRound(ctx, nodes, round)
			if err != nil {
				return nil, err
			}
			for i, p := range round {
				sittings[p] = append(sittings[p], links[i])
			}
		}
	}
	for p, links := range sittings {
		c.links.put(nodes[p[0]], nodes[p[1]], newLink(nodes[p[0]].Name, nodes[p[1]].Name, calibrate.Typical(links)))
	}
	measured, _ := c.known(nodes)
	return measured, nil
}

// sittingsOfALink is how often a link is measured, with other links in between: what disturbs a machine for a
// moment is then not taken for what the link is.
const sittingsOfALink = 3

// measureRound measures the links of some pairs at the same time.
func (c *Cluster) measureRound(ctx context.Context, nodes []cluster.Node, round [][2]int) ([]calibrate.Link, error) {
	links := make([]calibrate.Link, len(round))
	g, ctx := errgroup.WithContext(ctx)
	for i, p := range round {
		g.Go(func() (err error) {
			a, b := nodes[p[0]], nodes[p[1]]
			if links[i], err = c.measureLink(ctx, a, b); err != nil {
				return fmt.Errorf("orrery: the way from %s to %s: %w", a.Name, b.Name, err)
			}
			return nil
		})
	}
	return links, g.Wait()
}

// measureLink asks a for the way to b.
func (c *Cluster) measureLink(ctx context.Context, a, b cluster.Node) (calibrate.Link, error) {
	ctx, cancel := context.WithTimeout(ctx, pairTimeout)
	defer cancel()
	m, err := actors.Ask[*proto.LinkMeasured](ctx, c.system, actors.NodePID(a.Name), &proto.MeasureLink{Peer: b.Name, Address: b.Transport, Self: a.Transport, Asker: c.membership.Self().Transport})
	if err == nil && m.Error != "" {
		err = errors.New(m.Error)
	}
	if err != nil {
		return calibrate.Link{}, err
	}
	seconds := func(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }
	l := calibrate.Link{Busy: seconds(m.BusySeconds), Paused: seconds(m.PausedSeconds), Sending: seconds(m.SendingSeconds), Bandwidth: m.Bandwidth, Ahead: seconds(m.AheadSeconds)}
	return l, l.Check()
}

func newLink(from, to string, l calibrate.Link) MeasuredLink {
	return MeasuredLink{From: from, To: to, Busy: l.Busy, Paused: l.Paused, Sending: l.Sending, Rate: l.Bandwidth, Ahead: l.Ahead, Telling: l.Telling}
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
			var sittings []calibrate.Link
			for range sittingsOfALink {
				measured, err := actors.MeasureLink(ctx, c.system, c.endpoint, n.Name, self.Transport)
				if err == nil {
					err = measured.Check()
				}
				if err != nil {
					return nil, fmt.Errorf("orrery: the way to %s: %w", n.Name, err)
				}
				sittings = append(sittings, measured)
			}
			l = newLink(self.Name, n.Name, calibrate.Typical(sittings))
			c.links.put(self, n, l)
		}
		ways[i] = l.way()
	}
	return ways, nil
}

// pairs is which pairs of n nodes to measure, the lower node first: with all others, in the order of a
// tournament, or, if there are many nodes, with those at some distances from it.
func pairs(n int) [][2]int {
	var all [][2]int
	if n > allPairs {
		for distance := 1; len(all) < n*sampledSteps; distance *= 2 {
			for i := range n {
				j := (i + distance) % n
				all = append(all, [2]int{min(i, j), max(i, j)})
			}
		}
		return all
	}
	seats := n + n%2
	for round := range max(seats-1, 0) {
		for i := range seats / 2 {
			// The circle method: the last seat stays, the others move on by one each round.
			a, b := (round+i)%(seats-1), (round+seats-1-i)%(seats-1)
			if i == 0 {
				b = seats - 1
			}
			if a < n && b < n {
				all = append(all, [2]int{min(a, b), max(a, b)})
			}
		}
	}
	return all
}

// rounds divides pairs of nodes so that those of a round do not disturb each other: no machine is in two.
func rounds(nodes []cluster.Node, pairs [][2]int) [][][2]int {
	machine := func(i int) string {
		if nodes[i].Machine == "" {
			return "node " + nodes[i].Name
		}
		return nodes[i].Machine
	}
	var all [][][2]int
	var busy []map[string]bool // machines of each round
	for _, p := range pairs {
		a, b := machine(p[0]), machine(p[1])
		r := slices.IndexFunc(busy, func(round map[string]bool) bool { return !round[a] && !round[b] })
		if r < 0 {
			r = len(all)
			all, busy = append(all, nil), append(busy, map[string]bool{})
		}
		all[r] = append(all[r], p)
		busy[r][a], busy[r][b] = true, true
	}
	return all
}

// withGuesses adds the pairs that were not measured, and sorts all by the nodes' order.
func withGuesses(nodes []cluster.Node, measured []MeasuredLink) []MeasuredLink {
	known := map[[2]string]MeasuredLink{}
	var busy, paused, sending, ahead []time.Duration
	var rates []float64
	for _, l := range measured {
		known[[2]string{l.From, l.To}] = l
		busy, paused, sending, ahead, rates = append(busy, l.Busy), append(paused, l.Paused), append(sending, l.Sending), append(ahead, l.Ahead), append(rates, l.Rate)
	}
	slices.Sort(busy)
	slices.Sort(paused)
	slices.Sort(sending)
	slices.Sort(ahead)
	slices.Sort(rates)
	var all []MeasuredLink
	for i, a := range nodes {
		for _, b := range nodes[i+1:] {
			l, ok := known[[2]string{a.Name, b.Name}]
			if !ok {
				middle := len(measured) / 2
				l = MeasuredLink{From: a.Name, To: b.Name, Busy: busy[middle], Paused: paused[middle], Sending: sending[middle], Rate: rates[middle], Ahead: ahead[middle], Guessed: true}
			}
			all = append(all, l)
		}
	}
	return all
}
