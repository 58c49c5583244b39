package placement

// role is what of a range of layers activations depend on.
type role int

const (
	holds  role = iota // no layers
	middle             // some, neither the first nor the last
	begins             // with the first
	ends               // with the last
	whole              // all of them
	roles
)

func roleOf(r Range, layers int) role {
	switch first, last := r.First == 0, r.End == layers; {
	case r.Len() == 0:
		return holds
	case first && last:
		return whole
	case first:
		return begins
	case last:
		return ends
	}
	return middle
}

// roleRanges is a range for each role, or one without layers where so few layers leave none.
func roleRanges(layers int) (of [roles]Range) {
	for _, r := range []Range{{0, layers}, {0, 1}, {layers - 1, layers}, {1, 2}} {
		if r.End <= layers {
			of[roleOf(r, layers)] = r
		}
	}
	return of
}
