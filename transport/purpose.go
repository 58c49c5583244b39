package transport

import "fmt"

// Purpose says what a lane carries. It decides which connection the lane shares.
type Purpose uint8

// The purposes of lanes. Control is not one: it stands for actor messages in [Endpoint.Counters].
const (
	Control      Purpose = iota
	Step                 // what the next step is: tokens, positions, epoch
	Hidden               // hidden states, from one layer shard to the next
	Query                // queries, from a layer's owner to the holders of its blocks
	Partial              // partial attention, from the holders back to the owner
	KVMove               // sealed KV blocks that change their holder
	KVRing               // KV blocks that go round the ring during prefill
	Result               // sampled tokens, logits, and the end or failure of a step
	Probe                // messages that measure the way between two nodes
	QueryAhead           // queries that a device sends by itself, in the order of a step that its node has announced
	PartialAhead         // a device's answers to those
	HiddenAhead          // hidden states that a device hands on by itself, and the tokens that come of them
	numPurposes
)

var purposeNames = [numPurposes]string{
	"control", "step", "hidden", "query", "partial", "kv-move", "kv-ring", "result", "probe", "query-ahead", "partial-ahead", "hidden-ahead",
}

// String names the purpose as logs and metrics do.
func (p Purpose) String() string {
	if p < numPurposes {
		return purposeNames[p]
	}
	return fmt.Sprintf("purpose(%d)", uint8(p))
}

// LaneKey identifies a lane among those from one node to another.
type LaneKey struct {
	Model   uint64 // which loading of a model: a new one for each, so that a lost lane's key is not used again
	Purpose Purpose
}

// String is "purpose/model", as it stands in errors.
func (k LaneKey) String() string { return fmt.Sprintf("%s/%d", k.Purpose, k.Model) }

func (k LaneKey) valid() error {
	if k.Purpose == Control || k.Purpose >= numPurposes {
		return fmt.Errorf("transport: lane %s: no such lane purpose", k)
	}
	return nil
}

// class is which of the connections between two nodes a lane shares: what must not wait for megabytes
// is kept apart from what is megabytes.
type class uint8

const (
	classControl class = iota + 1
	classSmall
	classBulk
	numClasses
)

func (c class) String() string {
	switch c {
	case classControl:
		return "control"
	case classSmall:
		return "small"
	case classBulk:
		return "bulk"
	}
	return "unknown"
}

// ofDevices says whether lanes for p are between devices: a node whose device makes no exchanges by itself has no end of them.
func (p Purpose) ofDevices() bool { return p == QueryAhead || p == PartialAhead || p == HiddenAhead }

func (p Purpose) class() class {
	switch p {
	case Control:
		return classControl
	case KVMove, KVRing:
		return classBulk
	}
	return classSmall
}

// Sizes of the read buffers of connections, in bytes.
const (
	controlBuffer = 16 << 10
	smallBuffer   = 8 << 10
	bulkBuffer    = 4 << 10
	mostBuffer    = smallBuffer // of those on which frames are read ahead
)

// readBuffer is the size of a connection's read buffer, in bytes. A small message and its header should
// come in one system call; a bulk frame should go straight to its message, past the buffer.
func (c class) readBuffer() int {
	switch c {
	case classSmall:
		return smallBuffer
	case classControl:
		return controlBuffer
	}
	return bulkBuffer
}
