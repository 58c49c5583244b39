package trace

import (
	"fmt"
	"time"

	"github.com/orrery-ai/orrery/transport"
)

// Kind is what a span of time was spent on.
type Kind uint8

// The kinds of spans.
const (
	// Of the process that drives the model.
	Job    Kind = iota + 1 // a generation, or the feeding of tokens without one
	Step                   // from handing out a step to its last result
	Switch                 // from asking for another mode until that is in force, or refused

	// What encloses others.
	Chunk  // a node's part of a step, from when it has the message: one token in decode, many in prefill
	Answer // a query of another node, until the answer is sent

	// Computing.
	Embed   // embeddings, or the taking over of a hidden state, and rotary angles
	Project // a layer's first norm, Q, K and V, and storing K and V
	Attend  // attention over keys that are here: with a Peer, to a query of its
	Forward // a layer's output projection and feed-forward network
	Merge   // a part of another node, or one's own, into the attention's result
	Head    // logits
	Sample  // the choice of a token

	// Moving.
	Send   // over Lane to Peer
	Wait   // for a message over Lane from Peer; without Bytes: until what is being sent to Peer over Lane has left
	Copy   // one layer of a KV block, to its new holder
	Arrive // one layer of a KV block, until it is stored; on the lane kv-ring, which stores nothing, the moment when all of a parcel was there
	numKinds
)

var kindNames = [numKinds]string{Job: "job", Step: "step", Switch: "switch", Chunk: "chunk", Answer: "answer", Embed: "embed", Project: "project", Attend: "attend",
	Forward: "forward", Merge: "merge", Head: "head", Sample: "sample", Send: "send", Wait: "wait", Copy: "copy", Arrive: "arrive"}

// String is the kind in a word.
func (k Kind) String() string {
	if k.valid() {
		return kindNames[k]
	}
	return fmt.Sprintf("kind(%d)", uint8(k))
}

func (k Kind) valid() bool { return k >= Job && k < numKinds }

// Computes reports whether the device is at work in spans of the kind. Merging is, too.
func (k Kind) Computes() bool { return k >= Embed && k <= Sample }

// What stands in place of the index of a node.
const (
	Nobody = -1
	Client = -2 // the process that drives the model
)

// NoLayer stands in place of a layer.
const NoLayer = -1

// Span is what one goroutine did from Begin to End.
type Span struct {
	Begin, End   int64  // nanoseconds of the process's clock, see [Now]; in a [Trace], since its beginning
	Seq          uint64 // the sequence
	Step         uint64 // number of the step; of Copy and Arrive: of the batch
	Bytes        int64  // sent, or of a message that came
	First, Count uint32 // tokens
	Layer        int32  // or NoLayer
	Peer         int16  // index of the other node, Client, or Nobody
	Kind         Kind
	Lane         transport.Purpose // of Send, Wait, Copy and Arrive
}

// Duration is how long the span took.
func (s *Span) Duration() time.Duration { return time.Duration(s.End - s.Begin) }

// Track is a row of a node's timeline.
type Track struct {
	Name string
	Peer int16 // the node that the name goes on with, Client, or Nobody
}

// The tracks that have one row on every node. Concurrent is that of spans that may overlap.
var (
	Compute    = Track{"compute", Nobody}
	Concurrent = Track{"concurrent", Nobody}
)

// Track is the row that the span belongs to.
func (s *Span) Track() Track {
	switch s.Kind {
	case Job, Step, Switch, Copy:
		return Concurrent
	case Answer:
		return Track{"answers to", s.Peer}
	case Attend:
		if s.Peer != Nobody {
			return Track{"answers to", s.Peer}
		}
	case Arrive:
		if s.Lane == transport.KVRing {
			return Track{"parcels from", s.Peer}
		}
		return Track{"blocks from", s.Peer}
	case Send:
		switch s.Lane {
		case transport.Step:
			return Track{"conductor", Nobody}
		case transport.Partial:
			return Track{"answers to", s.Peer}
		case transport.KVRing:
			return Track{"parcels to", s.Peer}
		}
	case Wait:
		switch s.Lane {
		case transport.Query:
			return Track{"answers to", s.Peer}
		case transport.KVMove:
			return Track{"blocks from", s.Peer}
		case transport.Step:
			return Track{"steps from", s.Peer}
		case transport.Hidden:
			return Track{"hidden from", s.Peer}
		case transport.Result:
			return Track{"results from", s.Peer}
		}
	}
	return Compute
}
