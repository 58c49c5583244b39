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
	Waited time.Duration // the node's part of a step waited for blocks of others on their way, or for its own to leave
}

// Share is what of the transfer was hidden behind computing, from 0 to 1.
func (t *Transfer) Share() float64 { return float64(t.Hidden) / float64(max(t.Took, 1)) }

// Transfers is what each node sent over each of the lanes, if anything.
func (t *Trace) Transfers() []Transfer {
	var all []Transfer
	for n := range t.Nodes {
		var computed []interval
		for _, s := range t.Nodes[n].Spans {
			if s.Kind.Computes() {
				computed = append(computed, interval{s.Begin, s.End})
			}
		}
		computed = union(computed)
		for _, lane := range []transport.Purpose{transport.KVRing, transport.KVMove} {
			tr := Transfer{Node: n, Lane: lane}
			var sent []interval
			for _, s := range t.Nodes[n].Spans {
				switch {
				case s.Lane != lane:
				case s.Kind == Send || s.Kind == Copy:
					sent = append(sent, interval{s.Begin, s.End})
					tr.Bytes += s.Bytes
				case s.Kind == Wait && s.Track() == Compute:
					tr.Waited += s.Duration()
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
