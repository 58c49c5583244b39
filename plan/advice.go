package plan

import (
	"fmt"
	"slices"
	"sort"

	"github.com/orrery-ai/orrery/placement"
)

// advise lists what would make a refused mode fit, each by itself: layers other than those of the mode that
// it would switch from, more memory where it lacks, a shorter context, fewer sequences, smaller formats,
// another node. Each has been tried.
func advise(a *Arch, nodes []placement.Node, o Options, r *placement.Refusal) []string {
	o.Mode = r.Mode
	fits := func(nodes []placement.Node, o Options) bool { return fits(a, nodes, o, r.Beside) }
	var ways []string
	switch {
	case len(r.Beside) > 0:
		ways = append(ways, fmt.Sprintf("none of the others beside it: loaded with --mode %v", r.Mode))
	case fits(nodes, o):
		ways = append(ways, fmt.Sprintf("layers of its own, instead of those given by %s: --mode %v", r.LayersBy, r.Mode))
	}
	if len(r.Beside) == 0 {
		ways = append(ways, placement.FormatBytes(r.Missing)+" more memory on the nodes that lack it")
	}
	if r.MaxContext > 0 {
		ways = append(ways, fmt.Sprintf("a context of %d tokens", r.MaxContext))
	}
	if r.MaxSeqs > 0 {
		ways = append(ways, fmt.Sprintf("%d sequences", r.MaxSeqs))
	}
	for f := o.KV + 1; f <= KVQ4; f++ {
		smaller := o
		smaller.KV = f
		if fits(nodes, smaller) {
			ways = append(ways, fmt.Sprintf("a KV cache in %v", f))
			break
		}
	}
	for f := o.Weights + 1; f <= WeightsQ4; f++ {
		smaller := o
		smaller.Weights = f
		if fits(nodes, smaller) {
			ways = append(ways, fmt.Sprintf("weights in %v", f))
			break
		}
	}
	if n, ok := another(nodes, func(nodes []placement.Node) bool { return fits(nodes, o) }); ok {
		ways = append(ways, "another node with "+placement.FormatBytes(n)+" to offer")
	}
	return ways
}

// another is how much a further node must offer, as fast as the fastest, to the next MiB. In ring mode
// it helps with tokens only. Large clusters are not searched: that would take long.
func another(nodes []placement.Node, fits func([]placement.Node) bool) (int64, bool) {
	const mib, most, large = 1 << 20, 1 << 24, 64 // 16 TiB
	if len(nodes) > large {
		return 0, false
	}
	fastest := slices.MaxFunc(nodes, func(a, b placement.Node) int {
		if a.Bandwidth < b.Bandwidth {
			return -1
		}
		return 1
	})
	with := func(n int) bool {
		further := fastest
		further.Name, further.Memory = "", int64(n)*mib
		for further.Name = "another"; slices.ContainsFunc(nodes, func(n placement.Node) bool { return n.Name == further.Name }); {
			further.Name += "'"
		}
		return fits(append(slices.Clone(nodes), further))
	}
	n := sort.Search(most, with)
	return int64(n) * mib, n < most
}

// fits reports whether a mode can be placed or, if it is beside others, is kept by a model that is loaded in the first of
// those. What placement rejects, say overrides that leave layers to nobody, does not fit.
func fits(a *Arch, nodes []placement.Node, o Options, beside []placement.Mode) bool {
	r, _ := request(a, nodes, o, len(nodes))
	if len(beside) == 0 {
		ok, err := placement.Fits(r)
		return ok && err == nil
	}
	r.Mode = beside[0]
	res, err := placement.PlaceAll(r, allModes)
	if err != nil {
		return false
	}
	res.Promises(r.Mode)
	return res.Plans[o.Mode] != nil
}
