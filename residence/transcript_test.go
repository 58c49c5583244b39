package residence

import (
	"fmt"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"

	"github.com/orrery-ai/orrery/placement"
)

// TestTranscripts plays the stories in testdata: each line is an event, and what follows is what the
// machine asks for. Run with -rewrite after a change that is meant.
func TestTranscripts(t *testing.T) {
	datadriven.Walk(t, "testdata", func(t *testing.T, path string) {
		var s stage
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			return s.play(t, d)
		})
	})
}

// stage is the world that a transcript describes.
type stage struct {
	m      *Machine
	policy *Policy
	nodes  int
	layers int
	open   []uint64 // epochs of the steps in flight, oldest first
	ends   []int
	pieces []Piece
	begun  int // length that the steps in flight lead to
	last   uint64
	batch  uint64
	copies []Copy
}

func (s *stage) play(t *testing.T, d *datadriven.TestData) string {
	arg := func(name string, v any) { d.MaybeScanArgs(t, name, v) }
	n, node, times := 1, -1, 1
	mode, reason := "pipeline", "no reason"
	arg("tokens", &n)
	arg("node", &node)
	arg("times", &times)
	arg("mode", &mode)
	arg("reason", &reason)
	m, err := placement.ParseMode(mode)
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	switch d.Cmd {
	case "new":
		s.start(t, d, m)
	case "step":
		if !s.m.CanStep() {
			return "must wait"
		}
		s.begun += n
		s.open, s.ends = append(s.open, s.m.Step(s.begun)), append(s.ends, s.begun)
		fmt.Fprintf(&out, "step in epoch %d, tokens %d-%d\n", s.open[len(s.open)-1], s.begun-n, s.begun)
	case "done":
		for range times {
			s.m.Done(s.open[0], s.ends[0])
			s.open, s.ends = s.open[1:], s.ends[1:]
		}
	case "decode":
		for range times {
			if !s.m.CanStep() {
				return "must wait"
			}
			s.begun++
			e := s.m.Step(s.begun)
			s.m.Done(e, s.begun)
		}
	case "round":
		if !s.m.CanRound() {
			fmt.Fprintln(&out, "must wait")
			break
		}
		e, pieces := s.m.Round(n)
		s.begun += n
		s.open, s.pieces = append(s.open, e), pieces
		for _, p := range pieces {
			fmt.Fprintf(&out, "tokens %v on %d\n", p.Tokens, p.Node)
		}
	case "round-done":
		s.m.RoundDone(s.open[0], s.pieces)
		s.open = s.open[1:]
	case "fill":
		if !s.m.CanFill() {
			fmt.Fprintln(&out, "must wait")
			break
		}
		s.m.Fill(n)
		s.begun += n
	case "switch":
		if err := s.m.Switch(m); err != nil {
			fmt.Fprintln(&out, err)
		}
	case "weights-ready":
		s.m.WeightsReady(node)
	case "weights-failed":
		s.m.WeightsFailed(node, reason)
	case "copied":
		for _, c := range s.copies {
			s.m.Copied(s.batch, c.ID, int64(c.Rect.Area()))
		}
	case "copy-failed":
		s.m.CopyFailed(s.batch, reason)
	case "taken":
		for i := range s.nodes {
			if node < 0 || i == node {
				s.m.Taken(s.last, i)
			}
		}
	case "refused":
		s.m.Refused(s.last, node, reason)
		if s.m.Stuck() {
			fmt.Fprintln(&out, "stuck")
		}
	case "abandon":
		s.m.Abandon(reason)
	case "epoch":
		return describe(s.m.Epoch())
	default:
		t.Fatalf("%s: unknown event", d.Cmd)
	}
	if s.m == nil {
		return out.String()
	}
	for _, a := range s.m.Ready() {
		s.show(t, &out, a)
	}
	if out.Len() == 0 {
		return "nothing to do"
	}
	return out.String()
}

func (s *stage) start(t *testing.T, d *datadriven.TestData, mode placement.Mode) {
	*s = stage{nodes: 3, layers: 6}
	block, chunk := 4, 8
	d.MaybeScanArgs(t, "nodes", &s.nodes)
	d.MaybeScanArgs(t, "layers", &s.layers)
	d.MaybeScanArgs(t, "block", &block)
	d.MaybeScanArgs(t, "chunk", &chunk)
	l := Layout{Layers: s.layers, BlockTokens: block, Chunk: chunk}
	loaded := make([]bool, s.nodes)
	for i := range s.nodes {
		l.Pipeline = append(l.Pipeline, Owner{Span{i * s.layers / s.nodes, (i + 1) * s.layers / s.nodes}, i})
		l.Weights = append(l.Weights, 1/float64(s.nodes))
		loaded[i] = d.HasArg("loaded")
	}
	p, err := NewPolicy(l)
	if err != nil {
		t.Fatal(err)
	}
	s.policy = p
	s.m = NewMachine(p, s.nodes, mode, loaded)
}

func (s *stage) show(t *testing.T, out *strings.Builder, a Action) {
	switch a := a.(type) {
	case LoadLayers:
		fmt.Fprintf(out, "load layers %v on node %d\n", a.Layers, a.Node)
	case CopyBlocks:
		s.batch, s.copies = a.Batch, a.Copies
		for _, c := range a.Copies {
			fmt.Fprintf(out, "copy %v\n", c)
		}
	case FillBlocks:
		s.batch, s.copies = a.Batch, nil
		for i, h := range a.Parts {
			s.copies = append(s.copies, Copy{ID: i, Rect: h.Rect})
			fmt.Fprintf(out, "make up %v\n", h)
		}
	case Announce:
		s.last = a.Epoch.Number
		if err := a.Epoch.Validate(s.layers, s.nodes); err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(out, "announce %s", describe(a.Epoch))
	case Retire:
		fmt.Fprintf(out, "retire epochs before %d\n", a.Epoch)
	case Discard:
		fmt.Fprintln(out, "discard the copies")
	case Switched:
		fmt.Fprintf(out, "switched to %v at %d tokens, %d (layer, token) pairs copied\n", a.Mode, a.Tokens, a.Bytes)
	case Filled:
		fmt.Fprintf(out, "filled to %d tokens\n", a.Tokens)
	case Failed:
		what := fmt.Sprintf("switch: %v", a.Switch)
		if a.Fill {
			what = "fill"
			s.begun = s.m.Length()
		}
		fmt.Fprintf(out, "failed (%s), %v stays: %s\n", what, a.Mode, a.Reason)
	}
}

func describe(e *Epoch) string {
	var b strings.Builder
	fmt.Fprintf(&b, "epoch %d, %v, owners", e.Number, e.Mode)
	for _, o := range e.Owners {
		fmt.Fprintf(&b, " %d:%v", o.Node, o.Layers)
	}
	fmt.Fprintf(&b, ", explicit before %d\n", e.Covered)
	for _, h := range e.Held {
		fmt.Fprintf(&b, "  %v\n", h)
	}
	return b.String()
}
