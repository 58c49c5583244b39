package placement

import "fmt"

// Together is what was measured of a node beside the others of its machine. The zero value means that nothing was.
type Together struct {
	Turn Sharing // in turn: each node attends to its part when the one before is done, as the owners of layers do
	Once Sharing // all at once, each to its part, until the last of them is done, as holders do; not known of nodes on the same processors
	Ring Sharing // at once, where one of them reads all weights
}

// Sharing is how nodes of a machine that read in some manner share its memory and its caches.
type Sharing struct {
	Slower  float64                    // how many times longer a byte from memory takes the node than alone, and of keys and values that lie as those do that its Rates are of
	Bytes   [len(TogetherKeys)]float64 // what all of them together read, again and again
	Cached  [len(TogetherKeys)]float64 // what share of its reading of keys and values the node does from the caches then
	Weights [len(TogetherKeys)]float64 // and of its reading of weights, which nodes read in turn
	Every   [len(TogetherKeys)]float64 // seconds from one time to the next
}

// TogetherKeys is how much nodes of a machine read together when that is measured, besides weights, in bytes.
var TogetherKeys = [...]float64{0, 8 << 20, 16 << 20, 24 << 20, 32 << 20, 48 << 20, 64 << 20, 96 << 20, 128 << 20, 256 << 20, 512 << 20}

// Known reports whether it was measured.
func (s *Sharing) Known() bool { return s.Slower > 0 }

// Check finds what no node has.
func (t *Together) Check() error {
	for name, s := range map[string]*Sharing{"in turn": &t.Turn, "at once": &t.Once, "in ring": &t.Ring} {
		if !s.Known() {
			if *s != (Sharing{}) {
				return fmt.Errorf("nodes that read %s are %v times slower, and share caches", name, s.Slower)
			}
			continue
		}
		if !(s.Slower >= 1 && s.Slower <= maxSlower) {
			return fmt.Errorf("nodes that read %s are %v times slower", name, s.Slower)
		}
		before := 0.0
		for i, bytes := range s.Bytes {
			if !(bytes > before && bytes <= maxBytes) {
				return fmt.Errorf("nodes that read %s read %v bytes after %v", name, bytes, before)
			}
			if before = bytes; !(s.Cached[i] >= 0 && s.Cached[i] <= 1) || !(s.Weights[i] >= 0 && s.Weights[i] <= 1) || !(s.Every[i] > 0 && s.Every[i] <= maxOperation) {
				return fmt.Errorf("of nodes that read %.0f bytes %s, every %v s, %v and of weights %v are cached", bytes, name, s.Every[i], s.Cached[i], s.Weights[i])
			}
		}
	}
	return nil
}

const maxSlower = 1e3
