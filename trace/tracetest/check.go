package tracetest

import (
	"slices"
	"testing"

	"github.com/orrery-ai/orrery/trace"
)

// Check holds a trace of a model of so many layers to its claims: all nodes are there, and lost nothing; no span ends
// before it begins; those of a track nest, or do not overlap; and every layer of every step was computed, once if it is
// a step of a single token, from its projections to its feed-forward network on the node that took the step over.
func Check(t testing.TB, tr *trace.Trace, layers int) {
	t.Helper()
	nodes := append([]trace.Node{tr.Driver}, tr.Nodes...)
	for _, n := range nodes {
		if n.Name == "" || len(n.Spans) == 0 || n.Dropped > 0 {
			t.Errorf("node %q has %d spans, and lost %d", n.Name, len(n.Spans), n.Dropped)
		}
		tracks := map[trace.Track][][2]int64{}
		for _, s := range n.Spans {
			if s.End < s.Begin || s.Begin < 0 {
				t.Errorf("on %s: %+v", n.Name, s)
			}
			if s.Track() != trace.Concurrent {
				tracks[s.Track()] = append(tracks[s.Track()], [2]int64{s.Begin, s.End})
			}
		}
		for track, spans := range tracks {
			nested(t, n.Name+", "+track.Name, spans)
		}
	}
	steps := 0
	for _, s := range tr.Driver.Spans {
		if s.Kind == trace.Step {
			steps++
			checkStep(t, tr, s, layers)
		}
	}
	if steps == 0 {
		t.Error("no step was traced")
	}
}

// nested holds intervals, in the order of their beginnings, to nesting or not overlapping.
func nested(t testing.TB, where string, spans [][2]int64) {
	t.Helper()
	var open [][2]int64
	for _, s := range spans {
		open = slices.DeleteFunc(open, func(o [2]int64) bool { return o[1] <= s[0] })
		if n := len(open); n > 0 && s[1] > open[n-1][1] {
			t.Errorf("%s: %v overlaps with %v", where, s, open[n-1])
		}
		open = append(open, s)
	}
}

func checkStep(t testing.TB, tr *trace.Trace, step trace.Span, layers int) {
	t.Helper()
	type place struct {
		kind  trace.Kind
		layer int32
	}
	on := map[place][]string{}
	for _, n := range tr.Nodes {
		for _, s := range n.Spans {
			if s.Seq == step.Seq && s.Step == step.Step && (s.Peer == trace.Nobody) {
				on[place{s.Kind, s.Layer}] = append(on[place{s.Kind, s.Layer}], n.Name)
			}
		}
	}
	for l := range int32(layers) {
		project, attend, forward := on[place{trace.Project, l}], on[place{trace.Attend, l}], on[place{trace.Forward, l}]
		if len(project) == 0 || len(attend) == 0 || !slices.Equal(project, forward) || step.Count == 1 && (len(project) > 1 || !slices.Equal(project, attend)) {
			t.Errorf("step %d of %d tokens: layer %d was projected on %v, attended on %v, and taken on on %v", step.Step, step.Count, l, project, attend, forward)
		}
	}
}
