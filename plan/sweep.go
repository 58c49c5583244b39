package plan

import (
	"context"
	"runtime"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/orrery-ai/orrery/placement"
	"github.com/orrery-ai/orrery/simulate"
)

// sweep simulates all modes on all numbers of nodes.
type sweep struct {
	arch    *Arch
	net     *network
	options ScalingOptions
	noise   simulate.Noise
	modes   []placement.Mode
}

// what is one thing that is simulated on each number of nodes.
type what struct {
	context  int
	mode     placement.Mode
	exchange string
}

// The kinds of exchange.
const (
	star = "star"
	tree = "tree"
)

// exchanges are the kinds that a mode has.
func exchanges(m placement.Mode) []string {
	if m == placement.Pipeline {
		return []string{""}
	}
	return []string{star, tree}
}

// all is everything that is simulated, in the order of a report.
func (s *sweep) all() []what {
	var all []what
	for _, at := range s.options.Contexts {
		for _, m := range s.modes {
			for _, exchange := range exchanges(m) {
				all = append(all, what{at, m, exchange})
			}
		}
	}
	return all
}

// job is one thing on one number of nodes. It has no point if it does not fit.
type job struct {
	what
	count int
	point *Point
}

// run simulates on all cores, and gives all jobs, those of fewest nodes first.
func (s *sweep) run(ctx context.Context) ([]*job, error) {
	placed, err := s.place(ctx)
	if err != nil {
		return nil, err
	}
	var jobs []*job
	total := 0
	for i, count := range s.options.Counts {
		for _, w := range s.all() {
			jobs = append(jobs, &job{what: w, count: count})
			if placed[i][w.mode] != nil {
				total += count
			}
		}
	}
	var mu sync.Mutex
	done := 0
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(runtime.GOMAXPROCS(0))
	for _, j := range slices.Backward(jobs) { // the longest first
		cost := placed[slices.Index(s.options.Counts, j.count)][j.mode]
		if cost == nil {
			continue
		}
		g.Go(func() error {
			p, err := s.point(ctx, cost, j.what)
			if err != nil {
				return err
			}
			j.point = p
			mu.Lock()
			defer mu.Unlock()
			done += j.count // that is about how long it takes
			if s.options.Progress != nil {
				s.options.Progress(done, total)
			}
			return nil
		})
	}
	return jobs, g.Wait()
}

// place places the model on each number of nodes, in every mode that fits.
func (s *sweep) place(ctx context.Context) ([]map[placement.Mode]*placement.Cost, error) {
	placed := make([]map[placement.Mode]*placement.Cost, len(s.options.Counts))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(runtime.GOMAXPROCS(0))
	for i, count := range s.options.Counts {
		g.Go(func() error {
			if err := ctx.Err(); err != nil {
				return err
			}
			r, work := s.request(count, min(count, laneMembers))
			links := s.net.matrix(count)
			predict := func(p *placement.Plan) (*placement.Cost, error) {
				return placement.NewCost(r, p, work, links, s.options.Efficiency)
			}
			_, modes, err := placeAll(r, s.options.Mode, predict)
			if err != nil {
				return err
			}
			placed[i] = map[placement.Mode]*placement.Cost{}
			for mode, p := range modes.Plans {
				if placed[i][mode], err = predict(p); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return placed, g.Wait()
}

// request is what placement is asked for some nodes, with lanes for so many.
func (s *sweep) request(count, members int) (placement.Request, placement.Work) {
	return request(s.arch, s.net.nodes(count), s.options.Options, members)
}

// point simulates one thing.
func (s *sweep) point(ctx context.Context, cost *placement.Cost, w what) (*Point, error) {
	const trials = 3 // steps by which a tree's arity is chosen
	c := simulate.Config{Cost: cost, Links: s.net.links, Between: s.net.between, Noise: s.noise, Seed: s.options.Seed}
	if w.exchange == tree {
		var err error
		if c.Arity, err = simulate.BestArity(ctx, c, w.context, trials); err != nil {
			return nil, err
		}
	}
	sim, err := simulate.New(c)
	if err != nil {
		return nil, err
	}
	decode, err := sim.Decode(ctx, w.context, s.options.Steps)
	if err != nil {
		return nil, err
	}
	prefill, err := sim.Prefill(ctx, w.context)
	if err != nil {
		return nil, err
	}
	p := &Point{Nodes: len(cost.Plan().Shares), Arity: c.Arity, Median: decode.Median, P99: decode.P99, Formula: cost.Step(w.context).Seconds(), Decode: 1 / decode.Median,
		Waits: map[string]float64{}, Prefill: prefill.Rate, Busiest: prefill.Load.What, BusyTime: prefill.Load.Share, parts: decode.Parts}
	for _, share := range cost.Plan().Shares {
		if share.Blocks > 0 || w.mode == placement.Pipeline && share.Layers.Len() > 0 {
			p.Holders++
		}
	}
	for part, seconds := range decode.Parts {
		if seconds > 0 {
			p.Waits[simulate.Part(part).String()] = seconds
		}
	}
	return p, nil
}

// lanes is what is assumed of lanes, and what the present engine would need.
func (s *sweep) lanes() Lanes {
	o := &s.options
	most := slices.Max(o.Counts)
	all := placement.Steps{Layers: placement.Range{End: len(s.arch.Layers)}, Fastest: true, Tokens: o.Context, Chunk: o.Chunk, Context: o.Context, Sequences: 1}
	l := Lanes{Members: laneMembers, Nodes: most, Bytes: s.arch.buffers(o.Weights, o.KV, o.Block, min(most, laneMembers)).Bytes(all), Present: s.arch.buffers(o.Weights, o.KV, o.Block, most).Bytes(all)}
	for _, count := range slices.Backward(o.Counts) {
		r, _ := s.request(count, count)
		for _, r.Mode = range s.modes {
			if ok, err := placement.Fits(r); err == nil && ok {
				l.MostFits = count
				return l
			}
		}
	}
	return l
}
