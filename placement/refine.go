package placement

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"slices"
)

// Refine is r with other layers where predictions say that those are clearly faster, else r itself. predict gives the [Cost]
// of a plan with the nodes of r. What counts is the mode of or, for 0, where a sequence may be in any of them, whichever is fastest
// in each respect.
//
// A split gains the share by which a decode step is faster than in r, on the average of half of the context and all of it. It costs
//
//   - the share by which a step without a context is slower, or prefill, on the average of a short prompt and
//     one of the full context: nodes are not to be idle for the sake of decode while prompts want them;
//   - a quarter of what a layer takes on the average, for each layer that moves to another node: what one
//     measurement of a node differs by from the next moves none;
//   - a tenth of a step for each node that gives up all its layers.
//
// One is taken if it gains a fiftieth of a step more than it costs, is slower neither at half of the context nor at all of it, and
// fits where r does: in each of its modes, and in all those together that [Reservation.Promises] keeps. Layers that
// Request.Overrides gives stay.
//
// Of all splits it is the one that gains most or, where there are too many to try them, the one to which moving layers from node to node
// leads, each time those by which most is gained. In clusters so large that not even that can be done in some tenths of
// a second r stays as it is.
func (r *Reservation) Refine(of Mode, predict func(*Plan) (*Cost, error)) (*Reservation, error) {
	s, err := r.refinement(of, predict)
	if err != nil || s == nil {
		return r, err
	}
	layers, err := s.best()
	if err != nil || layers == nil {
		return r, err
	}
	faster := &Reservation{f: r.free.pin(rangesOf(layers), r.f.pinnedBy), free: r.free}
	wanted := map[Mode]bool{}
	for m := range r.Plans {
		wanted[m] = true
	}
	for m := range r.Refused {
		wanted[m] = true
	}
	faster.place(wanted)
	return faster, nil
}

const (
	leastGain = 0.02  // of a step, for which layers are moved at all
	moreGain  = 0.002 // and for which one split is preferred to another
	movePrice = 0.25  // of what a layer takes, for each layer that moves
	idlePrice = 0.1   // of a step, for a node that gives up all its layers

	fewChunks = 8      // of a short prompt
	maxTries  = 400000 // splits that are tried, times nodes and layers: some tenths of a second
)

// pace is what splits are compared by.
type pace int

const (
	fullStep    pace = iota // a decode step at the full context
	halfStep                // at half of it
	emptyStep               // and at none
	shortPrompt             // a chunk of prefill of a short prompt
	longPrompt              // and of one of the full context
	paces
)

// refinement looks for faster layers.
type refinement struct {
	*Reservation
	of      Mode // the one whose speed counts; 0: all of them
	predict func(*Plan) (*Cost, error)
	layers  []int              // [nodes] as they are
	modes   []Mode             // that nodes keep memory for then
	now     [paces]float64     // how fast they are, in seconds
	tries   int                // splits that may yet be tried
	gains   map[string]float64 // of splits that were
	found   []int              // of them, the layers that gain most
	most    float64            // which is so much
}

// refinement is what there is to refine, or nil if there is nothing.
func (r *Reservation) refinement(of Mode, predict func(*Plan) (*Cost, error)) (*refinement, error) {
	nodes := len(r.f.Nodes)
	s := &refinement{Reservation: r, of: of, predict: predict, tries: maxTries / (nodes * r.f.layers), gains: map[string]float64{}}
	for m, p := range r.Plans {
		if m != Ring {
			s.layers = layersOf(p)
			s.found = s.layers
		}
	}
	if s.layers == nil || of == Ring || nodes == 1 || s.tries < 2*nodes {
		return nil, nil
	}
	plans := s.kept(maps.Clone(r.Plans))
	if of != 0 && plans[of] == nil {
		return nil, nil
	}
	s.modes = slices.Collect(maps.Keys(plans))
	costs, err := s.costs(plans)
	if err != nil {
		return nil, err
	}
	for p := range s.now {
		s.now[p] = s.seconds(pace(p), costs)
	}
	return s, nil
}

// layersOf is how many layers each node has.
func layersOf(p *Plan) []int {
	layers := make([]int, len(p.Shares))
	for i, s := range p.Shares {
		layers[i] = s.Layers.Len()
	}
	return layers
}

// rangesOf is those layers, in the order of the nodes.
func rangesOf(layers []int) []Range {
	ranges := make([]Range, len(layers))
	end := 0
	for i, n := range layers {
		ranges[i] = Range{end, end + n}
		end += n
	}
	return ranges
}

// best is the layers that gain most, or nil where that is too little.
func (s *refinement) best() ([]int, error) {
	all := splits(len(s.layers), s.f.layers, s.tries)
	slices.SortStableFunc(all, func(a, b []int) int { return cmp.Compare(s.moved(a), s.moved(b)) })
	_, err := s.search(all)
	if all == nil {
		err = s.climb()
	}
	if err != nil || s.most < leastGain {
		return nil, err
	}
	return s.found, nil
}

// climb moves layers from one node to another, each time those by which most is gained, until none are.
func (s *refinement) climb() error {
	for {
		if better, err := s.search(moves(s.found)); err != nil || !better {
			return err
		}
	}
}

// search looks among some splits for one that gains more than what was found.
func (s *refinement) search(all [][]int) (better bool, err error) {
	for _, layers := range all {
		gain, err := s.gain(layers)
		if err != nil {
			return false, err
		}
		if gain > s.most+moreGain {
			s.found, s.most, better = layers, gain, true
		}
	}
	return better, nil
}

// moved is how many layers go to other nodes.
func (s *refinement) moved(layers []int) (n int) {
	for i := range layers {
		n += max(layers[i]-s.layers[i], 0)
	}
	return n
}

// splits is all ways to give layers to nodes, or nil if there are more than so many.
func splits(nodes, layers, most int) (all [][]int) {
	split := make([]int, nodes)
	var give func(node, left int) bool
	give = func(node, left int) bool {
		if node == nodes-1 {
			split[node] = left
			all = append(all, slices.Clone(split))
			return len(all) <= most
		}
		for n := range left + 1 {
			if split[node] = n; !give(node+1, left-n) {
				return false
			}
		}
		return true
	}
	if !give(0, layers) {
		return nil
	}
	return all
}

// moves is what becomes of layers by moving some from one node to another, the nearer first. Those between shift on.
func moves(layers []int) (all [][]int) {
	for distance := 1; distance < len(layers); distance++ {
		for i := range len(layers) - distance {
			for _, m := range [][2]int{{i, i + distance}, {i + distance, i}} {
				for n := 1; n <= layers[m[0]]; n = max(n+1, min(2*n, layers[m[0]])) {
					moved := slices.Clone(layers)
					moved[m[0]] -= n
					moved[m[1]] += n
					all = append(all, moved)
				}
			}
		}
	}
	return all
}

// gain is what layers gain over what they cost, as a share of a step: 0 where they are not to be taken.
func (s *refinement) gain(layers []int) (gain float64, err error) {
	key := fmt.Sprint(layers)
	if gain, tried := s.gains[key]; tried {
		return gain, nil
	}
	defer func() { s.gains[key] = gain }()
	plans := s.placed(rangesOf(layers))
	if plans == nil || s.tries == 0 {
		return 0, nil
	}
	s.tries--
	costs, err := s.costs(plans)
	if err != nil {
		return 0, err
	}
	takes := func(p pace) float64 { return s.seconds(p, costs) / s.now[p] }
	full := takes(fullStep)
	if full > 1 {
		return 0, nil
	}
	half := takes(halfStep)
	if half > 1 {
		return 0, nil
	}
	gain = 1 - (half+full)/2 + 1 - (takes(shortPrompt)+takes(longPrompt))/2 - max(takes(emptyStep)-1, 0)
	gain -= movePrice * float64(s.moved(layers)) / float64(s.f.layers)
	for i, n := range layers {
		if n == 0 && s.layers[i] > 0 {
			gain -= idlePrice
		}
	}
	return max(gain, 0), nil
}

// placed is the plans with such layers, of the modes that nodes keep memory for; nil where some do not fit that do now.
func (s *refinement) placed(ranges []Range) map[Mode]*Plan {
	for i, r := range ranges {
		if !s.free.allowed(i, r) {
			return nil
		}
	}
	plans := map[Mode]*Plan{}
	for m := range s.Plans {
		of := ranges
		if m == Ring {
			of = s.f.everywhere()
		}
		if !s.f.fits(m, of) {
			return nil
		}
		plans[m] = s.f.plan(m, of)
	}
	plans = s.kept(plans)
	for _, m := range s.modes {
		if plans[m] == nil {
			return nil
		}
	}
	return plans
}

// kept is those of plans that nodes keep memory for, as they are then.
func (s *refinement) kept(plans map[Mode]*Plan) map[Mode]*Plan {
	s.f.kept(plans, s.f.Mode, func(m Mode, _ []Mode) { delete(plans, m) })
	s.f.settle(plans)
	return plans
}

// costs is the predictions of those plans that count.
func (s *refinement) costs(plans map[Mode]*Plan) (costs []*Cost, err error) {
	for m, p := range plans {
		if s.of != 0 && m != s.of {
			continue
		}
		c, err := s.predict(p)
		if err != nil {
			return nil, err
		}
		costs = append(costs, c)
	}
	return costs, nil
}

// seconds is what the fastest of some modes takes.
func (s *refinement) seconds(p pace, costs []*Cost) float64 {
	least := math.Inf(1)
	for _, c := range costs {
		var t float64
		switch p {
		case fullStep:
			t = c.Step(s.f.Context).Seconds()
		case halfStep:
			t = c.Step(s.f.Context / 2).Seconds()
		case emptyStep:
			t = c.Step(0).Seconds()
		case shortPrompt:
			t = c.pace(min(fewChunks*s.f.Chunk, s.f.Context))
		case longPrompt:
			t = c.pace(s.f.Context)
		}
		least = min(least, t)
	}
	return least
}
