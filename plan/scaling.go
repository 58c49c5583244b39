package plan

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/orrery-ai/orrery/placement"
	"github.com/orrery-ai/orrery/simulate"
)

// laneMembers is for how many nodes lanes are counted in a simulation, at the most. The engine has lanes
// between all pairs, each with room for a chunk's queries and results: with 1,024 nodes some 100 GiB on each,
// which would decide what fits. A simulation assumes lanes that do not grow.
const laneMembers = 8

// ScalingOptions say what is simulated. A zero in a field means its default, where one is named; of Options,
// Layers and At are not used.
type ScalingOptions struct {
	Options
	Counts   []int                 // of nodes; default 1 to 1,024 in steps that double, and some between
	Contexts []int                 // default the full one
	Steps    int                   // decode steps of which median and 99th percentile are taken; default 100
	Seed     uint64                // of what is drawn
	Calm     bool                  // no jitter and no Noise
	Progress func(done, total int) // is called now and then, by one goroutine at a time; nil is none
}

const maxSimulated = 100000 // steps

// counts are the default numbers of nodes.
var counts = []int{1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 512, 1024}

func (o *ScalingOptions) complete() error {
	o.Options = o.Options.withDefaults()
	if o.Counts == nil {
		o.Counts = counts
	}
	if o.Contexts == nil {
		o.Contexts = []int{o.Context}
	}
	o.Steps = cmp.Or(o.Steps, 100)
	for _, n := range o.Counts {
		if n < 1 || n > maxNodes {
			return fmt.Errorf("%d nodes to simulate are not between 1 and %d", n, maxNodes)
		}
	}
	for _, at := range o.Contexts {
		if at < 1 || at > o.Context {
			return fmt.Errorf("a context of %d to simulate is not between 1 and the %d that are placed", at, o.Context)
		}
	}
	switch {
	case o.Steps < 1 || o.Steps > maxSimulated:
		return fmt.Errorf("%d steps to simulate are not between 1 and %d", o.Steps, maxSimulated)
	case len(o.Layers) > 0:
		return errors.New("layers of single nodes cannot be given to a simulation of any number of them")
	}
	o.Counts, o.Contexts = slices.Clone(o.Counts), slices.Clone(o.Contexts)
	slices.Sort(o.Counts)
	slices.Sort(o.Contexts)
	o.Counts, o.Contexts = slices.Compact(o.Counts), slices.Compact(o.Contexts)
	return nil
}

// Scaling is how a model's speed grows with the number of nodes.
type Scaling struct {
	Model      string         `json:"model"`
	Weights    Weights        `json:"weights"`
	KV         KV             `json:"kv"`
	Positions  int            `json:"max_position_embeddings,omitempty"`
	Context    int            `json:"context"`
	Blocks     int            `json:"blocks_of_the_cache"`
	Efficiency float64        `json:"efficiency"`
	Link       string         `json:"link"`
	Wire       Wire           `json:"link_has"`
	Noise      simulate.Noise `json:"noise"`
	Steps      int            `json:"steps"`
	Seed       uint64         `json:"seed"`
	Lanes      Lanes          `json:"lanes"`
	Series     []Series       `json:"series"`
}

// Wire is the link that joins nodes unless the cluster says otherwise, without what is left out.
type Wire struct {
	Latency    float64 `json:"latency_seconds"`
	Jitter     float64 `json:"jitter_seconds"`
	PerMessage float64 `json:"per_message_seconds"`
	Bandwidth  float64 `json:"bandwidth_bytes_per_second"`
}

// Lanes is what the simulation assumes of the buffers of lanes, and what the engine as it is needs.
type Lanes struct {
	Members  int   `json:"counted_for_nodes_at_most"`
	Bytes    int64 `json:"activations_and_lanes_bytes"`            // of each node, as counted
	Present  int64 `json:"present_activations_and_lanes_bytes"`    // of each node, in the engine, with Nodes
	Nodes    int   `json:"nodes"`                                  // the most that are simulated
	MostFits int   `json:"most_nodes_that_fit_with_present_lanes"` // of those simulated, in any mode
}

// Series is a mode with a kind of exchange, at a context, over the number of nodes.
type Series struct {
	Context  int     `json:"context"`
	Mode     string  `json:"mode"`
	Exchange string  `json:"exchange,omitempty"` // "star" or "tree"; pipeline has none
	Points   []Point `json:"points"`             // of the numbers of nodes that the mode fits
	Short    []int   `json:"does_not_fit"`       // the others
	Verdict  Verdict `json:"verdict"`
}

// Point is what some nodes do.
type Point struct {
	Nodes    int                `json:"nodes"`
	Holders  int                `json:"holders"` // nodes that hold tokens
	Arity    int                `json:"arity,omitempty"`
	Median   float64            `json:"decode_step_seconds"`
	P99      float64            `json:"decode_step_p99_seconds"`
	Formula  float64            `json:"decode_step_formula_seconds"` // of placement.Cost.Step
	Decode   float64            `json:"decode_tokens_per_second"`    // of the median step
	Linear   float64            `json:"share_of_linear"`             // its speed for each node, by that of the fewest nodes that fit
	Waits    map[string]float64 `json:"waits_seconds"`               // of the mean step
	Prefill  float64            `json:"prefill_tokens_per_second"`
	Busiest  string             `json:"prefill_busiest"`
	BusyTime float64            `json:"prefill_busiest_share"`
	parts    simulate.Parts
}

// Scale simulates a model on growing numbers of a cluster's nodes, in every mode or the one of
// Options.Mode. That nothing fits is no error: the series have no points then. An option that does not go with them
// is an *OptionsError. It ends early, with its error, when ctx does.
func Scale(ctx context.Context, a *Arch, c *Cluster, o ScalingOptions) (*Scaling, error) {
	if err := cmp.Or(o.complete(), o.check(a, c)); err != nil {
		return nil, &OptionsError{err}
	}
	net, err := c.network(o.Link, o.Calm)
	if err != nil {
		return nil, err
	}
	r := &Scaling{Model: o.Name, Weights: o.Weights, KV: o.KV, Positions: a.Positions, Context: o.Context, Blocks: (o.Context + o.Block - 1) / o.Block,
		Efficiency: o.Efficiency, Link: cmp.Or(o.Link, c.regular), Noise: c.Noise, Steps: o.Steps, Seed: o.Seed}
	regular := &net.links[net.regular]
	r.Wire = Wire{regular.Latency, regular.Jitter, regular.PerMessage, regular.Bandwidth}
	if o.Calm {
		r.Noise = simulate.Noise{}
	}
	s := sweep{arch: a, net: net, options: o, noise: r.Noise, modes: allModes}
	if o.Mode != 0 {
		s.modes = []placement.Mode{o.Mode}
	}
	jobs, err := s.run(ctx)
	if err != nil {
		return nil, err
	}
	for _, w := range s.all() {
		r.Series = append(r.Series, newSeries(w, jobs))
	}
	r.Lanes = s.lanes()
	return r, nil
}

// newSeries is what jobs found out about one thing.
func newSeries(w what, jobs []*job) Series {
	s := Series{Context: w.context, Mode: w.mode.String(), Exchange: w.exchange}
	for _, j := range jobs {
		switch {
		case j.what != w:
		case j.point == nil:
			s.Short = append(s.Short, j.count)
		default:
			s.Points = append(s.Points, *j.point)
		}
	}
	for i := range s.Points {
		p, base := &s.Points[i], &s.Points[0]
		p.Linear = p.Decode / base.Decode * float64(base.Nodes) / float64(p.Nodes)
	}
	s.Verdict = judge(&s)
	return s
}

// Fits reports whether any mode fits on any number of nodes.
func (r *Scaling) Fits() bool {
	return slices.ContainsFunc(r.Series, func(s Series) bool { return len(s.Points) > 0 })
}

// Largest is the part of a step that it waits for most, and its share.
func (p *Point) Largest() (part string, share float64) {
	most := p.parts.Largest()
	return most.String(), p.parts[most] / p.parts.Seconds()
}

// StepParts are the names of all parts of a step.
func StepParts() []string {
	var names []string
	for p := range (simulate.Parts{}) {
		names = append(names, simulate.Part(p).String())
	}
	return names
}
