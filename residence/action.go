package residence

import (
	"cmp"
	"fmt"
	"maps"
	"slices"

	"github.com/orrery-ai/orrery/placement"
)

// Action is something that the machine asks for. It is one of [LoadLayers], [CopyBlocks], [FillBlocks],
// [Announce], [Retire], [Discard], [Switched], [Filled] and [Failed].
type Action interface{ action() }

// LoadLayers asks that a node have the weights of these layers. Answer with WeightsReady or WeightsFailed.
type LoadLayers struct {
	Node   int
	Layers Span
}

// Copy is one part that goes from a node to another.
type Copy struct {
	ID       int // unique within its batch
	Rect     Rect
	From, To int
}

func (c Copy) String() string { return fmt.Sprintf("%v from %d to %d", c.Rect, c.From, c.To) }

// CopyBlocks asks for copies, which an epoch announced later will use. Answer each with Copied or CopyFailed.
type CopyBlocks struct {
	Batch  uint64
	Copies []Copy
}

// Announce asks that every node take up an epoch, which uses the copies of a batch (0: of none).
// Answer with Taken or Refused for each node.
type Announce struct {
	Epoch *Epoch
	Batch uint64
}

// Retire says that no step names an epoch before this one any more: the nodes drop what only those used.
type Retire struct{ Epoch uint64 }

// Discard says that no epoch will use a batch: the nodes drop its copies.
type Discard struct{ Batch uint64 }

// Switched says that a switch asked for is in force. Tokens is the length at which it took effect.
type Switched struct {
	Mode   placement.Mode
	Tokens int
	Bytes  int64 // copied for it before it took effect
}

// Failed says that what was tried did not come about, and why. The epoch in force stays.
type Failed struct {
	Mode   placement.Mode // the mode that stays
	Switch bool           // a switch was asked for and will not be
	Fill   bool           // made-up tokens were asked for and will not be
	Reason string
}

func (LoadLayers) action() {}
func (CopyBlocks) action() {}
func (Announce) action()   {}
func (Retire) action()     {}
func (Discard) action()    {}
func (Switched) action()   {}
func (Failed) action()     {}

func sortedRoutes(m map[[2]int][]Holding) [][2]int {
	return slices.SortedFunc(maps.Keys(m), func(a, b [2]int) int {
		return cmp.Or(cmp.Compare(a[0], b[0]), cmp.Compare(a[1], b[1]))
	})
}
