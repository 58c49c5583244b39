package simulate

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"

	"github.com/orrery-ai/orrery/placement"
)

// Config says what is simulated.
type Config struct {
	Cost    *placement.Cost        // of a plan: how long each piece of work takes on each node
	Links   []Link                 // the kinds of link; those of the Cost are not used
	Between func(from, to int) int // the index in Links of the way between two nodes of the plan
	Arity   int                    // children of a node in the tree of an exchange, or Star
	Noise   Noise                  //
	Seed    uint64                 // of all that is drawn; with the same one the results are the same
}

// Simulation simulates steps of one sequence. It is not safe for use by several goroutines.
type Simulation struct {
	cost    *placement.Cost
	work    placement.Work
	shares  []placement.Share
	links   []Link
	between func(from, to int) int
	uneven  float64
	seed    uint64
	rng     *rand.Rand
	nodes   []node
	stages  []stage
	queue   queue
	trace   trace
}

// stage is an owner, and the exchange of its layers.
type stage struct {
	placement.Stage
	tree    tree
	members []int32 // nodes; the owner first, then all other holders: in a tree each owner has others near its root
	state   []member
	waiting int // steps that have arrived and not begun
	busy    bool
	layer   int
}

// member is how far a member of an exchange is.
type member struct {
	next     int32 // child whose partial result is merged next
	attended bool  // to what it holds itself
	answered bool  // its partial result has arrived at its parent
}

// New prepares a simulation.
func New(c Config) (*Simulation, error) {
	if c.Cost == nil || c.Between == nil {
		return nil, errors.New("simulate: a Config needs a Cost and a Between")
	}
	for i := range c.Links {
		if err := c.Links[i].check(); err != nil {
			return nil, err
		}
	}
	if err := c.Noise.check(); err != nil {
		return nil, err
	}
	shares := c.Cost.Plan().Shares
	if len(shares) > 1 && len(c.Links) == 0 {
		return nil, errors.New("simulate: several nodes need a link")
	}
	if c.Arity < 0 {
		return nil, fmt.Errorf("simulate: an arity of %d is neither Star nor positive", c.Arity)
	}
	s := &Simulation{cost: c.Cost, work: c.Cost.Work(), shares: shares, links: c.Links, between: c.Between,
		uneven: c.Noise.Uneven, seed: c.Seed, nodes: make([]node, len(shares))}
	for i, slow := range c.Noise.slowdowns(len(shares), c.Seed) {
		s.nodes[i].slow = slow
	}
	for i, st := range c.Cost.Stages() {
		members := s.members(st.Node)
		tree := shape(c.Arity, len(members))
		if others := members[1:]; tree.arity < len(others) {
			at := i * len(others) / len(c.Cost.Stages())
			copy(others, append(slices.Clone(others[at:]), others[:at]...))
		}
		s.stages = append(s.stages, stage{Stage: st, tree: tree, members: members, state: make([]member, len(members))})
	}
	return s, nil
}

// members are an owner and all other holders, in node order.
func (s *Simulation) members(owner int) []int32 {
	members := []int32{int32(owner)}
	for j, share := range s.shares {
		if j != owner && share.Blocks > 0 {
			members = append(members, int32(j))
		}
	}
	return members
}

// begin forgets what was drawn and done before.
func (s *Simulation) begin() {
	s.rng = rand.New(rand.NewPCG(s.seed, streamSteps))
}

// link is the way between two nodes.
func (s *Simulation) link(from, to int32) *Link { return &s.links[s.between(int(from), int(to))] }

// drawn is an exponentially distributed number of that mean.
func (s *Simulation) drawn(mean float64) float64 {
	if mean == 0 {
		return 0
	}
	return mean * s.rng.ExpFloat64()
}

// compute gives a node work that should take so many seconds, and says when it is done.
func (s *Simulation) compute(now float64, at int32, seconds float64, u use, p Part, cause int32) (done float64, act int32) {
	n := &s.nodes[at]
	straggled := seconds * (n.slow - 1)
	jitter := s.drawn(s.uneven) * seconds * n.slow
	takes := seconds + straggled + jitter
	begin, why := n.compute.take(now, takes, cause)
	n.asked[u] += takes
	act = s.trace.add(activity{why, p, seconds, straggled, jitter})
	n.compute.last = act
	return begin + takes, act
}

// send gives a message to the out port of a node, and schedules e for when its first byte arrives.
func (s *Simulation) send(now float64, from, to int32, bytes float64, port, latency Part, e event) {
	l := s.link(from, to)
	n := &s.nodes[from]
	e.takes = l.occupies(bytes)
	begin, why := n.out.take(now, e.takes, e.cause)
	n.asked[sending] += e.takes
	n.out.last = s.trace.add(activity{cause: why, part: port, seconds: e.takes})
	jitter := s.drawn(l.Jitter)
	e.cause = s.trace.add(activity{why, latency, l.Latency, 0, jitter})
	e.at = begin + l.Latency + jitter
	s.queue.push(e)
}

// receive takes a message, whose first byte has arrived, through the in port of a node, and schedules e for
// when its last byte is there.
func (s *Simulation) receive(to int32, port Part, e event) {
	n := &s.nodes[to]
	begin, why := n.in.take(e.at, e.takes, e.cause)
	n.asked[receiving] += e.takes
	e.cause = s.trace.add(activity{cause: why, part: port, seconds: e.takes})
	n.in.last = e.cause
	e.at, e.takes = begin+e.takes, 0
	s.queue.push(e)
}
