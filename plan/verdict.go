package plan

import (
	"fmt"
	"strings"

	"github.com/orrery-ai/orrery/simulate"
)

// Verdict says where a series stops scaling, and why.
type Verdict struct {
	Stops int    `json:"stops_at_nodes,omitempty"` // more are not worthwhile; 0: it does not stop
	Why   string `json:"why,omitempty"`            // the part of a step
	Text  string `json:"text"`
}

// worthwhile is what further nodes must give at least, of what they would if speed grew with their number.
const worthwhile = 0.1

// judge looks for the fewest nodes after which none of the larger numbers is worthwhile.
func judge(s *Series) Verdict {
	name := s.Mode
	if s.Exchange != "" {
		name += " with a " + s.Exchange
	}
	if len(s.Points) == 0 {
		return Verdict{Text: name + " fits on none of these numbers of nodes."}
	}
	last := len(s.Points) - 1
	stop := last
	for stop > 0 && !gains(s.Points[stop-1], s.Points[stop:]) {
		stop--
	}
	p := &s.Points[stop]
	at := fmt.Sprintf("%s, %.1f tokens/s", counted(p.Nodes), p.Decode)
	if stop == last {
		if last == 0 {
			return Verdict{Text: fmt.Sprintf("%s fits on one of these numbers of nodes: %s.", name, at)}
		}
		part, share := p.Largest()
		return Verdict{Text: fmt.Sprintf("%s still gains at %s; of the step %.0f%% is %s.", name, at, 100*share, part)}
	}
	why, text := reason(s, p, &s.Points[stop+1])
	return Verdict{Stops: p.Nodes, Why: why, Text: fmt.Sprintf("%s stops at %s. %s", name, at, text)}
}

// gains reports whether any of the larger numbers of nodes is worthwhile.
func gains(from Point, larger []Point) bool {
	for _, to := range larger {
		linear := float64(to.Nodes)/float64(from.Nodes) - 1
		if to.Decode/from.Decode-1 >= worthwhile*linear {
			return true
		}
	}
	return false
}

// reason says what keeps the next number of nodes from being worthwhile: what they add, if that is a good part
// of what they save, and what none shortens.
func reason(s *Series, p, next *Point) (string, string) {
	const goodPart, visible = 0.4, 0.005
	before, then := s.grouped(p), s.grouped(next)
	step := before.Seconds()
	grown, most, saved, lost := simulate.Weights, 0.0, 0.0, 0.0
	for part := range simulate.Part(len(before)) {
		more := then[part] - before[part]
		if more > most {
			grown, most = part, more
		}
		saved += max(0, -more)
		lost += max(0, more)
	}
	floor := s.unshared(&before)
	limit, text := floor, "More save nothing. "
	grows := lost > goodPart*saved && lost > visible*step
	switch {
	case grows:
		limit = grown
		text = fmt.Sprintf("%s would save %s of %s and lose %s, most of it to %s, %.0f%% of the step then: %s. ", counted(next.Nodes), milliseconds(saved),
			milliseconds(step), milliseconds(lost), s.named(grown), 100*then[grown]/then.Seconds(), s.because(grown))
	case saved > visible*step:
		text = fmt.Sprintf("%s would save %s of %s. ", counted(next.Nodes), milliseconds(saved-lost), milliseconds(step))
	}
	if !grows || floor != grown {
		text += fmt.Sprintf("Of the step %.0f%% is %s: %s.", 100*before[floor]/step, s.named(floor), s.because(floor))
	}
	if next.Holders == p.Holders && s.Exchange != "" {
		text += fmt.Sprintf(" Only %d nodes get a block of the cache.", p.Holders)
	}
	return s.named(limit), strings.TrimSpace(text)
}

// grouped is the parts of a step; with a tree, whose arity changes with the number of nodes and with it what is
// latency and what is queueing, all of the exchange is one.
func (s *Series) grouped(p *Point) simulate.Parts {
	parts := p.parts
	if s.Exchange == tree {
		for _, part := range []simulate.Part{simulate.OwnerPort, simulate.HolderPorts, simulate.Merge} {
			parts[simulate.Latency] += parts[part]
			parts[part] = 0
		}
	}
	return parts
}

// unshared is the largest part that is not divided among more nodes.
func (s *Series) unshared(parts *simulate.Parts) simulate.Part {
	most := simulate.Weights
	for part := range simulate.Part(len(parts)) {
		if shared := part == simulate.KV && s.Exchange != ""; !shared && parts[part] > parts[most] {
			most = part
		}
	}
	return most
}

// named is a part within a sentence.
func (s *Series) named(p simulate.Part) string {
	switch {
	case p == simulate.Latency && s.Exchange == tree:
		return "the exchange"
	case p == simulate.OwnerPort || p == simulate.HolderPorts:
		return "the " + p.String()
	}
	return p.String()
}

// because is why more nodes do not shorten a part.
func (s *Series) because(p simulate.Part) string {
	if p == simulate.Latency && s.Exchange == tree {
		return "in every layer messages go through each level of the tree, and queue there"
	}
	return [...]string{
		simulate.Weights:     "a layer's are read by its owner alone",
		simulate.KV:          "one node reads at a time",
		simulate.Latency:     "every layer waits for messages there and back",
		simulate.OwnerPort:   "in every layer queries to all holders, and their partial results, queue in it",
		simulate.HolderPorts: "in every layer messages pass through them",
		simulate.Merge:       "in every layer the owner merges all partial results, one after another",
		simulate.HandOver:    "the hidden state goes through one owner after another",
		simulate.Stragglers:  "every layer waits for the slowest holder",
		simulate.Jitter:      "every layer waits for the latest of all messages and holders",
	}[p]
}

func milliseconds(seconds float64) string {
	if seconds < 1e-3 {
		return fmt.Sprintf("%.2f ms", 1e3*seconds)
	}
	return fmt.Sprintf("%.1f ms", 1e3*seconds)
}

func counted(nodes int) string {
	if nodes == 1 {
		return "1 node"
	}
	return fmt.Sprintf("%d nodes", nodes)
}
