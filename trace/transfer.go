package trace

import (
	"cmp"
	"slices"
	"time"

	"github.com/orrery-ai/orrery/transport"
)

// Transfer is how a node sent KV blocks over one of the lanes for them, kv-ring or kv-move.
type Transfer struct {
	Node   int
	Lane   transport.Purpose
	Bytes  int64
	Took   time.Duration // at least one message was being sent
	Hidden time.Duration // of that, the node was computing
	// Waited is how long the steps of nodes could not go on because of these messages: the next node's, while one was on
	// its way, and this one's own, before it had left. Only steps wait for blocks, and only on the lane kv-ring.
	Waited time.Duration
}

// Share is what of the transfer was hidden behind computing, from 0 to 1.
func (t *Transfer) Share() float64 { return float64(t.Hidden) / float64(max(t.Took, 1)) }

// Transfers is what each node sent over each of the lanes, if anything.
func (t *Trace) Transfers() []Transfer {
	var all []Transfer
	stalled := t.stalled()
	for n := range t.Nodes {
		var computed []interval
		for _, s := range t.Nodes[n].Spans {
			if s.Kind.Computes() {
				computed = append(computed, interval{s.Begin, s.End})
			}
		}
		computed = union(computed)
		for _, lane := range []transport.Purpose{transport.KVRing, transport.KVMove} {
			tr := Transfer{Node: n, Lane: lane, Waited: stalled[n]}
			if lane != transport.KVRing {
				tr.Waited = 0
			}
			var sent []interval
			for _, s := range t.Nodes[n].Spans {
				if s.Lane == lane && (s.Kind == Send || s.Kind == Copy) {
					sent = append(sent, interval{s.Begin, s.End})
					tr.Bytes += s.Bytes
				}
			}
			sent = union(sent)
			tr.Took, tr.Hidden = length(sent), length(intersection(sent, computed))
			if tr.Bytes > 0 {
				all = append(all, tr)
			}
		}
	}
	return all
}

// stalled is how long steps waited for what each node sent round the ring. That its neighbour waits before it begins to
// send is not because of the message: it is late with computing.
func (t *Trace) stalled() map[int]time.Duration {
	by := map[int]time.Duration{}
	for m := range t.messages() {
		if m.sent.Lane == transport.KVRing {
			by[m.from] += time.Duration(max(0, m.waited.End-max(m.waited.Begin, m.sent.Begin)))
		}
	}
	for n := range t.Nodes {
		for _, s := range t.Nodes[n].Spans {
			if s.Kind == Wait && s.Lane == transport.KVRing && s.Bytes == 0 { // for its own to leave
				by[n] += s.Duration()
			}
		}
	}
	return by
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
