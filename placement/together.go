package placement

import "fmt"

// Together is what was measured of a node while the others of its machine read, too. The zero value means that nothing was.
type Together struct {
	Turn Sharing // in turn: each node attends to its part when the one before is done, as the owners of layers do
	Once Sharing // all at once, each to its part, until the last of them is done, as holders do; not known of nodes on the same processors
	Ring Sharing // at once, where one of them reads all weights
}

// Sharing is how the nodes of a machine share its memory and its caches when they read in one of these ways, as a node
// finds it. The arrays go by TogetherKeys.
type Sharing struct {
	Slower  float64                    // how many times longer a byte of a model's keys and values takes from memory than one that the node reads alone and that lies as those of its Rates
	Bytes   [len(TogetherKeys)]float64 // what all nodes together read in a round, weights included
	Cached  [len(TogetherKeys)]float64 // the share of its reading of keys and values that the node then does from the caches, in 0..1
	Weights [len(TogetherKeys)]float64 // the same of its reading of weights
	Every   [len(TogetherKeys)]float64 // seconds that a round takes
}

// TogetherKeys is how many bytes of keys and values all nodes of a machine read together, besides weights, when that is measured.
var TogetherKeys = [...]float64{0, 8 << 20, 16 << 20, 24 << 20, 32 << 20, 48 << 20, 64 << 20, 96 << 20, 128 << 20, 256 << 20, 512 << 20}

// Known reports whether it was measured.
func (s *Sharing) Known() bool { return s.Slower > 0 }

// Check finds what cannot have been measured, and names it.
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
