package simulate

// Part is what a decode step waits for.
type Part uint8

// The parts of a step.
const (
	Weights     Part = iota // a layer's matrix products, and the head's, on one owner after another
	KV                      // attention over the keys and values that a node holds
	Latency                 // of the messages of an exchange
	OwnerPort               // bytes through the port of the owner of a layer, with the wait for its turn
	HolderPorts             // bytes through the ports of the others
	Merge                   // of partial results
	HandOver                // of the hidden state to the next owner, and of the token to the first
	Stragglers              // what nodes that are slow for the whole run add
	Jitter                  // what links and uneven computing add
	numParts
)

var partNames = [numParts]string{"weights", "KV read", "exchange latency", "owner's port", "holders' ports", "merge", "hand-over", "stragglers", "jitter"}

// String names the part for people.
func (p Part) String() string { return partNames[p] }

// Parts is seconds by Part.
type Parts [numParts]float64

// Seconds is all parts together.
func (p *Parts) Seconds() float64 {
	sum := 0.0
	for _, s := range p {
		sum += s
	}
	return sum
}

// Largest is the part that takes longest.
func (p *Parts) Largest() Part {
	most := Part(0)
	for i := range p {
		if p[i] > p[most] {
			most = Part(i)
		}
	}
	return most
}
