package placement

// cost orders splits: by the first number, then by the second. Costs of nodes add up.
type cost [2]int64

func (c cost) plus(d cost) cost { return cost{c[0] + d[0], c[1] + d[1]} }

func (c cost) less(d cost) bool { return c[0] < d[0] || c[0] == d[0] && c[1] < d[1] }

// split finds, of all ways to cut layers into one contiguous range for each node, in order and some
// of them empty, one of least cost. of gives the cost of a range on a node, or false where it must
// not be. It takes O(nodes · layers²) calls. It reports false when there is no way at all.
func split(nodes, layers int, of func(node int, r Range) (cost, bool)) ([]Range, bool) {
	type best struct {
		cost cost
		from int // layers placed before this node
		ok   bool
	}
	// at[i][j] is the best way to place the first j layers on the first i nodes.
	at := make([][]best, nodes+1)
	for i := range at {
		at[i] = make([]best, layers+1)
	}
	at[0][0].ok = true
	for i := range nodes {
		for from, b := range at[i] {
			if !b.ok {
				continue
			}
			for to := from; to <= layers; to++ {
				c, ok := of(i, Range{from, to})
				if !ok {
					continue
				}
				c = c.plus(b.cost)
				if next := &at[i+1][to]; !next.ok || c.less(next.cost) {
					*next = best{c, from, true}
				}
			}
		}
	}
	if !at[nodes][layers].ok {
		return nil, false
	}
	ranges := make([]Range, nodes)
	for i, to := nodes, layers; i > 0; i-- {
		from := at[i][to].from
		ranges[i-1] = Range{from, to}
		to = from
	}
	return ranges, true
}

// off is how far a range is from the number of layers that a node should have.
func (f *footprint) off(node int, r Range) int64 {
	d := int64(r.Len()) - f.aim[node]
	return d * d
}

// layout is the split nearest to the aim that fits in every one of the given modes; ring mode, which
// has no split, must not be among them. It reports false when there is none.
func (f *footprint) layout(modes ...Mode) ([]Range, bool) {
	pooled := false
	fits := func(node int, r Range) bool {
		if !f.allowed(node, r) {
			return false
		}
		for _, m := range modes {
			if s := f.share(m, node, r, 0); s.Needs() > s.Has {
				return false
			}
		}
		return true
	}
	for _, m := range modes {
		pooled = pooled || m == Pooled
	}
	ranges, ok := split(len(f.Nodes), f.layers, func(i int, r Range) (cost, bool) {
		return cost{f.off(i, r)}, fits(i, r)
	})
	if !ok || !pooled || f.roomFor(Pooled, ranges) {
		return ranges, ok
	}
	// Weigh a block of room against distance from the aim, ever higher; alone, it decides.
	for weight := int64(1 << 20); ; weight /= 2 {
		ranges, _ = split(len(f.Nodes), f.layers, func(i int, r Range) (cost, bool) {
			return cost{weight*f.off(i, r) - f.room(Pooled, i, r), f.off(i, r)}, fits(i, r)
		})
		if ok = f.roomFor(Pooled, ranges); ok || weight == 0 {
			return ranges, ok
		}
	}
}

// roomFor reports whether all tokens fit beside the layers in pooled or ring mode.
func (f *footprint) roomFor(mode Mode, ranges []Range) bool {
	total := int64(0)
	for i, r := range ranges {
		total += f.room(mode, i, r)
	}
	return total >= f.blocks
}

// nearest is the split that lacks least memory for a mode, to show in a refusal.
func (f *footprint) nearest(mode Mode) []Range {
	ranges, _ := split(len(f.Nodes), f.layers, func(i int, r Range) (cost, bool) {
		s := f.share(mode, i, r, 0)
		return cost{max(s.Needs()-s.Has, 0), f.off(i, r)}, f.allowed(i, r)
	})
	return ranges
}
