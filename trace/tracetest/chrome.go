package tracetest

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"slices"
	"testing"
)

// File is a trace that was written as Chrome trace events, as it is read back.
type File struct {
	Other  map[string]any // its metadata
	Events []Event
	Flows  int // arrows

	names map[int]string // of processes
}

// Event is one trace event.
type Event struct {
	Phase    string         `json:"ph"`
	Name     string         `json:"name"`
	Category string         `json:"cat"`
	Process  int            `json:"pid"`
	Thread   int            `json:"tid"`
	Time     float64        `json:"ts"`
	Duration float64        `json:"dur"`
	ID       string         `json:"id"`
	Args     map[string]any `json:"args"`
}

// Read reads a file.
func Read(t testing.TB, r io.Reader) *File {
	t.Helper()
	var file struct {
		Events []Event        `json:"traceEvents"`
		Other  map[string]any `json:"otherData"`
	}
	if err := json.NewDecoder(r).Decode(&file); err != nil {
		t.Fatalf("the trace is no JSON: %v", err)
	}
	f := &File{Other: file.Other, Events: file.Events, names: map[int]string{}}
	for _, e := range f.Events {
		switch {
		case e.Phase == "M" && e.Name == "process_name":
			f.names[e.Process] = fmt.Sprint(e.Args["name"])
		case e.Phase == "s":
			f.Flows++
		}
	}
	return f
}

// Processes are the names of the processes, in order.
func (f *File) Processes() []string {
	var names []string
	for _, name := range f.names {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// Check holds the file of a model of so many layers to its claims: every event belongs to a process and a thread with a
// name; what is asynchronous ends, and so do arrows, not before they begin; complete events of a thread nest, or do not overlap; and
// every layer of every step is there.
func (f *File) Check(t testing.TB, layers int) {
	t.Helper()
	type row struct{ process, thread int }
	named, rows, open := map[row]bool{}, map[row][][2]int64{}, map[string]float64{}
	for _, e := range f.Events {
		if e.Phase == "M" && e.Name == "thread_name" {
			named[row{e.Process, e.Thread}] = true
		}
	}
	for _, e := range f.Events {
		at := row{e.Process, e.Thread}
		if e.Phase != "M" && (!named[at] || f.names[e.Process] == "" || e.Time < 0 || e.Duration < 0) {
			t.Errorf("of no thread or time: %+v", e)
		}
		switch key := e.Phase + e.ID; e.Phase {
		case "X":
			begin := nanoseconds(e.Time)
			rows[at] = append(rows[at], [2]int64{begin, begin + nanoseconds(e.Duration)})
		case "b", "s":
			open[key] = e.Time
		case "e", "f":
			key = map[string]string{"e": "b", "f": "s"}[e.Phase] + e.ID
			if begin, known := open[key]; !known || e.Time < begin {
				t.Errorf("ends before it begins: %+v", e)
			}
			delete(open, key)
		}
	}
	if len(open) > 0 {
		t.Errorf("without an end: %v", open)
	}
	for at, spans := range rows {
		nested(t, fmt.Sprintf("%s, thread %d", f.names[at.process], at.thread), spans)
	}
	f.checkSteps(t, layers)
}

func nanoseconds(us float64) int64 { return int64(math.Round(us * 1e3)) }

func (f *File) checkSteps(t testing.TB, layers int) {
	t.Helper()
	type part struct {
		step, layer float64
		kind        string
	}
	done := map[part]int{}
	for _, e := range f.Events {
		step, _ := e.Args["step"].(float64)
		if layer, of := e.Args["layer"].(float64); of && e.Args["peer"] == nil {
			done[part{step, layer, e.Category}]++
		}
	}
	steps := 0
	for _, e := range f.Events {
		if e.Phase != "b" || e.Category != "step" {
			continue
		}
		steps++
		step, _ := e.Args["step"].(float64)
		for l := range layers {
			for _, kind := range []string{"project", "attend", "forward"} {
				if done[part{step, float64(l), kind}] == 0 {
					t.Errorf("step %v has no %s of layer %d", step, kind, l)
				}
			}
		}
	}
	if steps == 0 {
		t.Error("no step is there")
	}
}
