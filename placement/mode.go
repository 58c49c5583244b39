package placement

import "fmt"

// Mode is a policy of residence: where weights and the KV cache live.
type Mode uint8

// The modes.
const (
	Pipeline Mode = iota + 1 // layers split over the nodes, KV with its layers
	Pooled                   // layers split over the nodes, KV by token ranges over all nodes
	Ring                     // all layers on every node, KV by token ranges over all nodes
)

// Auto stands for a mode that is chosen, and changed, while a sequence runs: see package steering. No plan, epoch or step
// has it, and ParseMode does not take it.
const Auto Mode = 1 << 7

var modeNames = [...]string{Pipeline: "pipeline", Pooled: "pooled", Ring: "ring"}

// String names the mode as [ParseMode] takes it; that of Auto is "auto".
func (m Mode) String() string {
	if m == Auto {
		return "auto"
	}
	if m < Pipeline || m > Ring {
		return fmt.Sprintf("mode(%d)", uint8(m))
	}
	return modeNames[m]
}

// ParseMode is the mode of that name: "pipeline", "pooled" or "ring". Any other is an error.
func ParseMode(s string) (Mode, error) {
	for m := Pipeline; m <= Ring; m++ {
		if s == modeNames[m] {
			return m, nil
		}
	}
	return 0, fmt.Errorf("mode %q is not pipeline, pooled or ring", s)
}
