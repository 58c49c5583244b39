package simulate

// resource serves one thing after another, in the order in which they are asked for.
type resource struct {
	free float64 // when all that it was asked for is done
	last int32   // activity that ends then
}

// take gives a resource work from now on, and says when it begins and which activity ends then: the cause,
// or the one that the resource is busy with.
func (r *resource) take(now, takes float64, cause int32) (begin float64, why int32) {
	begin, why = now, cause
	if r.free > now {
		begin, why = r.free, r.last
	}
	r.free = begin + takes
	return begin, why
}

// node is what a machine does one after another. A message occupies the out port of its sender and the in
// port of its receiver for as long as its bytes take; the first byte arrives a latency after it was sent.
type node struct {
	compute, in, out resource
	slow             float64 // what computing takes, in multiples of what it should
	asked            spent   // since it was reset, what is still to come included
}

// use is what a node is busy with.
type use uint8

const (
	products use = iota
	attention
	merging
	receiving
	sending
	numUses
)

// spent is seconds of a node, by use.
type spent [numUses]float64

func (w *spent) computing() float64 { return w[products] + w[attention] + w[merging] }

func (n *node) reset() {
	n.compute, n.in, n.out = resource{}, resource{}, resource{}
	n.asked = spent{}
}
