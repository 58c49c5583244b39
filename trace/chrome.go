package trace

import (
	"bufio"
	"cmp"
	"encoding/json"
	"io"
	"slices"
	"strconv"
)

// event is a trace event, as Google's "Trace Event Format" has it, which Chrome and Perfetto read.
type event struct {
	Phase    string         `json:"ph"`
	Name     string         `json:"name"`
	Category string         `json:"cat,omitempty"`
	Process  int            `json:"pid"`
	Thread   int            `json:"tid"`
	Time     micros         `json:"ts"`
	Duration *micros        `json:"dur,omitempty"`
	ID       string         `json:"id,omitempty"`
	Binding  string         `json:"bp,omitempty"`
	Args     map[string]any `json:"args,omitempty"`
}

// micros is nanoseconds, written as microseconds without losing any.
type micros int64

// MarshalJSON writes the microseconds.
func (m micros) MarshalJSON() ([]byte, error) {
	return strconv.AppendFloat(nil, float64(m)/1e3, 'f', 3, 64), nil
}

// WriteChrome writes the trace as JSON that ui.perfetto.dev and chrome://tracing open. Every node is a process, named
// as the node, and every [Track] a thread of it; an arrow leads from each sending to the waiting that it ended. Jobs, steps,
// switches and the ways of KV blocks, which may overlap, are asynchronous events. about goes into the file's metadata.
func (t *Trace) WriteChrome(w io.Writer, about map[string]string) error {
	c := &chrome{w: bufio.NewWriter(w), t: t, tracks: map[threadKey]int{}}
	c.text(`{"displayTimeUnit":"ms","otherData":`)
	c.json(t.metadata(about))
	c.text(`,"traceEvents":[`)
	c.process(driverProcess, &t.Driver, t.Driver.Name+" (driver)")
	for i := range t.Nodes {
		c.process(i, &t.Nodes[i], "node "+t.Nodes[i].Name)
	}
	for m := range c.t.messages() {
		c.flow(m)
	}
	for m := range c.t.moves() {
		c.move(m)
	}
	c.text("\n]}\n")
	return cmp.Or(c.err, c.w.Flush())
}

// metadata is what has to be known of the trace to judge it.
func (t *Trace) metadata(about map[string]string) map[string]any {
	errors, dropped := map[string]float64{}, map[string]uint64{}
	for _, n := range t.processes() {
		if n != &t.Driver {
			errors[n.Name] = float64(n.ClockError) / 1e3
		}
		if n.Dropped > 0 {
			dropped[n.Name] = n.Dropped
		}
	}
	m := map[string]any{"clock_error_us": errors, "dropped_spans": dropped}
	for k, v := range about {
		m[k] = v
	}
	return m
}

// chrome writes a trace.
type chrome struct {
	w      *bufio.Writer
	t      *Trace
	tracks map[threadKey]int
	events int
	ids    int
	err    error
}

type threadKey struct {
	process int
	track   Track
}

func (c *chrome) text(s string) {
	if c.err == nil {
		_, c.err = c.w.WriteString(s)
	}
}

func (c *chrome) json(v any) {
	b, err := json.Marshal(v)
	c.err = cmp.Or(c.err, err)
	c.text(string(b))
}

func (c *chrome) event(e event) {
	if c.events++; c.events > 1 {
		c.text(",")
	}
	c.text("\n")
	c.json(e)
}

// pid is the number of a process. Chrome's own traces begin with 1, too.
func pid(process int) int { return process + 2 }

// tid is the number of a process's i-th thread. No process or other thread has it: a viewer would take one for the other.
func tid(process, i int) int { return pid(process)*10_000 + i }

// process writes the spans of a node.
func (c *chrome) process(process int, n *Node, name string) {
	c.meta(process, 0, "process_name", "name", name)
	c.meta(process, 0, "process_sort_index", "sort_index", process)
	tracks := map[Track]bool{}
	for i := range n.Spans {
		tracks[n.Spans[i].Track()] = true
	}
	var sorted []Track
	for tr := range tracks {
		sorted = append(sorted, tr)
	}
	slices.SortFunc(sorted, func(a, b Track) int {
		return cmp.Or(cmp.Compare(rank(a), rank(b)), cmp.Compare(a.Name, b.Name), cmp.Compare(a.Peer, b.Peer))
	})
	for i, tr := range sorted {
		thread := tid(process, i)
		c.tracks[threadKey{process, tr}] = thread
		name := tr.Name
		if tr.Peer != Nobody {
			name += " " + c.t.nameOf(tr.Peer)
		}
		c.meta(process, thread, "thread_name", "name", name)
		c.meta(process, thread, "thread_sort_index", "sort_index", i)
	}
	for i := range n.Spans {
		c.span(process, &n.Spans[i])
	}
}

// rank puts the track that computes first, and those that overlap last.
func rank(t Track) int {
	switch t {
	case Compute:
		return 0
	case Concurrent:
		return 2
	}
	return 1
}

func (c *chrome) meta(process, thread int, name, key string, value any) {
	c.event(event{Phase: "M", Name: name, Process: pid(process), Thread: thread, Args: map[string]any{key: value}})
}

// nameOf is the name of a peer.
func (t *Trace) nameOf(peer int16) string {
	switch {
	case peer == Client:
		return "driver"
	case int(peer) < len(t.Nodes) && peer >= 0:
		return t.Nodes[peer].Name
	}
	return "nobody"
}

func (c *chrome) span(process int, s *Span) {
	e := event{Phase: "X", Name: s.Kind.String(), Category: s.Kind.String(), Process: pid(process), Thread: c.tracks[threadKey{process, s.Track()}],
		Time: micros(s.Begin), Args: c.args(s)}
	switch s.Kind {
	case Send, Wait, Copy, Arrive:
		e.Name += " " + s.Lane.String()
	}
	if s.Track() != Concurrent {
		took := micros(s.End - s.Begin)
		e.Duration = &took
		c.event(e)
		return
	}
	c.ids++
	e.Phase, e.ID = "b", strconv.Itoa(c.ids)
	c.event(e)
	e.Phase, e.Time, e.Args = "e", micros(s.End), nil
	c.event(e)
}

func (c *chrome) args(s *Span) map[string]any {
	a := map[string]any{"sequence": s.Seq, "first": s.First, "tokens": s.Count}
	if s.Kind != Job && s.Kind != Switch {
		a["step"] = s.Step
	}
	if s.Layer != NoLayer {
		a["layer"] = s.Layer
	}
	if s.Peer != Nobody {
		a["peer"] = c.t.nameOf(s.Peer)
	}
	if s.Bytes > 0 {
		a["bytes"] = s.Bytes
	}
	return a
}

// flow writes one arrow, from the beginning of the sending to the end of the waiting, and just within both. Clocks that
// are off by a little must not make it lead back in time: it would not be shown.
func (c *chrome) flow(m message) {
	c.ids++
	at := func(process int, s *Span, phase string, t int64) {
		e := event{Phase: phase, Name: s.Lane.String(), Category: "message", Process: pid(process), Thread: c.tracks[threadKey{process, s.Track()}],
			Time: micros(t), ID: strconv.Itoa(c.ids)}
		if phase == "f" {
			e.Binding = "e"
		}
		c.event(e)
	}
	at(m.from, m.sent, "s", m.sent.Begin)
	at(m.to, m.came, "f", max(m.came.End-1, m.came.Begin, m.sent.Begin))
}

// move writes when KV blocks were on their way, in the row of what may overlap.
func (c *chrome) move(m message) {
	c.ids++
	way := m.interval()
	e := event{Phase: "b", Name: m.sent.Lane.String() + " to " + c.t.nameOf(int16(m.to)), Category: "transfer", Process: pid(m.from), ID: strconv.Itoa(c.ids),
		Thread: c.tracks[threadKey{m.from, m.sent.Track()}], Time: micros(way.begin), Args: c.args(m.sent)}
	c.event(e)
	e.Phase, e.Time, e.Args = "e", micros(way.end), nil
	c.event(e)
}
