package transport

import "fmt"

// Synch is how an endpoint waits for small messages, on which a step waits: for the network, and for the
// consumer of a lane. It changes nothing else.
type Synch uint8

const (
	// Safe waits in the kernel.
	Safe Synch = iota
	// Fast spins, trying again and again, for a few milliseconds before it waits in the kernel: waking a
	// thread can cost more than the exchange. A thread that spins keeps a core busy.
	Fast
)

// String is the name, as flags have it.
func (s Synch) String() string {
	if s == Fast {
		return "fast"
	}
	return "safe"
}

// ParseSynch reads a name.
func ParseSynch(name string) (Synch, error) {
	switch name {
	case "safe":
		return Safe, nil
	case "fast":
		return Fast, nil
	}
	return Safe, fmt.Errorf("synch is safe or fast, not %.20q", name)
}

// SetSynch changes how the endpoint waits. Waits under way go on as they began.
func (e *Endpoint) SetSynch(s Synch) { e.synch.Store(uint32(s)) }

// Synch is how the endpoint waits.
func (e *Endpoint) Synch() Synch { return Synch(e.synch.Load()) }
