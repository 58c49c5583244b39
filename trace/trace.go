package trace

import (
	"cmp"
	"iter"
	"slices"
	"time"
)

// Trace is what the nodes of a model did, on one clock.
type Trace struct {
	Nodes  []Node // by index, as peers are numbered
	Driver Node   // the process that drives the model
}

// Node is what one process did, in the order in which it began.
type Node struct {
	Name       string
	Spans      []Span
	Dropped    uint64        // spans that there was no room for
	ClockError time.Duration // times are wrong by no more than that against those of the Driver
}

// Recording is what one process recorded, on its own clock.
type Recording struct {
	Name    string
	Spans   []Span
	Dropped uint64
	Clock   [2]Offset // when recording began, and when it ended; zero for the driver
}

// New brings recordings to the driver's clock, whose zero becomes the beginning of the first span of all.
func New(driver Recording, nodes []Recording) *Trace {
	t := &Trace{Driver: driver.align()}
	for i := range nodes {
		t.Nodes = append(t.Nodes, nodes[i].align())
	}
	zero, some := int64(0), false
	for _, n := range t.processes() {
		if len(n.Spans) > 0 && (!some || n.Spans[0].Begin < zero) {
			zero, some = n.Spans[0].Begin, true
		}
	}
	for _, n := range t.processes() {
		for i := range n.Spans {
			n.Spans[i].Begin -= zero
			n.Spans[i].End -= zero
		}
	}
	return t
}

// align is the node's spans on the driver's clock, in order.
func (r *Recording) align() Node {
	n := Node{Name: r.Name, Spans: slices.Clone(r.Spans), Dropped: r.Dropped, ClockError: time.Duration(max(r.Clock[0].Error, r.Clock[1].Error))}
	for i := range n.Spans {
		s := &n.Spans[i]
		s.Begin += between(r.Clock[0], r.Clock[1], s.Begin)
		s.End += between(r.Clock[0], r.Clock[1], s.End)
	}
	slices.SortStableFunc(n.Spans, inOrder)
	return n
}

// inOrder puts what began first first, and of what began together what lasted longest: it encloses the rest.
func inOrder(a, b Span) int {
	return cmp.Or(cmp.Compare(a.Begin, b.Begin), cmp.Compare(b.End, a.End), cmp.Compare(a.Kind, b.Kind))
}

// processes yields the driver and the nodes, by process.
func (t *Trace) processes() iter.Seq2[int, *Node] {
	return func(yield func(int, *Node) bool) {
		if !yield(driverProcess, &t.Driver) {
			return
		}
		for i := range t.Nodes {
			if !yield(i, &t.Nodes[i]) {
				return
			}
		}
	}
}

// Dropped is how many spans are missing, of all nodes.
func (t *Trace) Dropped() (n uint64) {
	for _, node := range t.processes() {
		n += node.Dropped
	}
	return n
}
