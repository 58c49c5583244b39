package trace

import (
	"cmp"
	"slices"
	"sort"
	"time"

	"github.com/orrery-ai/orrery/transport"
)

// Share says where a node's time went. Where several goroutines of the node did different things at once, the time
// is that of the first in the order of the fields.
type Share struct {
	Compute time.Duration // the device was at work, but for merging
	Merge   time.Duration
	Send    time.Duration // of what a step waits for: not of KV blocks that move in the background
	Wait    time.Duration // the node's part of a step could not go on without a message
	Other   time.Duration // the rest of its part of a step, or of answering a query
	Idle    time.Duration // it had no part in a step
}

// class is a field of Share, in its order.
type class uint8

const (
	computing class = iota
	merging
	sending
	waiting
	active
	numClasses
)

// class is what the span's time counts as, if as anything.
func (s *Span) class() (class, bool) {
	switch {
	case s.Kind == Merge:
		return merging, true
	case s.Kind.Computes():
		return computing, true
	case s.Kind == Send && s.Lane != transport.KVRing:
		return sending, true
	case s.Kind == Wait && s.Track() == Compute:
		return waiting, true
	case s.Kind == Chunk || s.Kind == Answer:
		return active, true
	}
	return 0, false
}

// sharer tells where a node's time went.
type sharer struct {
	spans []Span  // those that count, in order
	ends  []int64 // ends[i] is the latest end of spans[:i+1]
	edges []edge
}

// edge is the beginning or the end of a span.
type edge struct {
	at    int64
	class class
	by    int
}

func newSharer(n *Node) *sharer {
	s := &sharer{}
	latest := int64(0)
	for i := range n.Spans {
		if _, counts := n.Spans[i].class(); counts {
			latest = max(latest, n.Spans[i].End)
			s.spans, s.ends = append(s.spans, n.Spans[i]), append(s.ends, latest)
		}
	}
	return s
}

// between is where the time from begin to end went.
func (s *sharer) between(begin, end int64) Share {
	s.edges = s.edges[:0]
	first := sort.Search(len(s.ends), func(i int) bool { return s.ends[i] > begin })
	for i := first; i < len(s.spans) && s.spans[i].Begin < end; i++ {
		c, _ := s.spans[i].class()
		if from, to := max(s.spans[i].Begin, begin), min(s.spans[i].End, end); from < to {
			s.edges = append(s.edges, edge{from, c, 1}, edge{to, c, -1})
		}
	}
	slices.SortFunc(s.edges, func(a, b edge) int { return cmp.Compare(a.at, b.at) })
	var spent [numClasses + 1]time.Duration
	var open [numClasses]int
	at := begin
	for _, e := range s.edges {
		spent[uppermost(&open)] += time.Duration(e.at - at)
		at = e.at
		open[e.class] += e.by
	}
	spent[numClasses] += time.Duration(end - at)
	return Share{Compute: spent[computing], Merge: spent[merging], Send: spent[sending], Wait: spent[waiting], Other: spent[active], Idle: spent[numClasses]}
}

// uppermost is the first class that something is open of, or numClasses.
func uppermost(open *[numClasses]int) class {
	for c, n := range open {
		if n > 0 {
			return class(c)
		}
	}
	return numClasses
}
