package trace

import (
	"cmp"
	"slices"
	"time"

	"github.com/orrery-ai/orrery/transport"
)

// Transfer is how KV blocks went from one node to another, over the lane kv-ring or kv-move.
type Transfer struct {
	From, To int // nodes
	Lane     transport.Purpose
	Bytes    int64
	Took     time.Duration // some of them were on their way: from when their sending began until they had arrived
	Sender   time.Duration // of that, the node that sent them was computing
	Receiver time.Duration // of that, the node that they went to was computing
	Exposed  time.Duration // of that, neither was
}

// Transfers is what went from each node to each other, by lane and node, if anything did.
func (t *Trace) Transfers() []Transfer {
	type way struct {
		from, to int
		lane     transport.Purpose
	}
	flying, bytes := map[way][]interval{}, map[way]int64{}
	for m := range t.moves() {
		w := way{m.from, m.to, m.sent.Lane}
		flying[w] = append(flying[w], m.interval())
		bytes[w] += m.sent.Bytes
	}
	var all []Transfer
	for w, moves := range flying {
		moves := union(moves)
		sender, receiver := intersection(moves, t.Nodes[w.from].computed()), intersection(moves, t.Nodes[w.to].computed())
		tr := Transfer{From: w.from, To: w.to, Lane: w.lane, Bytes: bytes[w], Took: length(moves), Sender: length(sender), Receiver: length(receiver)}
		tr.Exposed = tr.Took - length(union(append(sender, receiver...)))
		all = append(all, tr)
	}
	slices.SortFunc(all, func(a, b Transfer) int {
		return cmp.Or(-cmp.Compare(a.Lane, b.Lane), cmp.Compare(a.From, b.From), cmp.Compare(a.To, b.To))
	})
	return all
}

// computed is when the node was computing.
func (n *Node) computed() []interval {
	var in []interval
	for i := range n.Spans {
		if s := &n.Spans[i]; s.Kind.Computes() {
			in = append(in, interval{s.Begin, s.End})
		}
	}
	return union(in)
}

// interval is a time from begin to end.
type interval struct{ begin, end int64 }

// union is intervals in order that do not touch, with the same points in them.
func union(in []interval) (out []interval) {
	slices.SortFunc(in, func(a, b interval) int { return cmp.Compare(a.begin, b.begin) })
	for _, v := range in {
		if last := len(out) - 1; last >= 0 && v.begin <= out[last].end {
			out[last].end = max(out[last].end, v.end)
		} else {
			out = append(out, v)
		}
	}
	return out
}

// intersection is what two unions have in common.
func intersection(a, b []interval) (out []interval) {
	for len(a) > 0 && len(b) > 0 {
		if v := (interval{max(a[0].begin, b[0].begin), min(a[0].end, b[0].end)}); v.begin < v.end {
			out = append(out, v)
		}
		if a[0].end < b[0].end {
			a = a[1:]
		} else {
			b = b[1:]
		}
	}
	return out
}

func length(in []interval) (n time.Duration) {
	for _, v := range in {
		n += time.Duration(v.end - v.begin)
	}
	return n
}
