package transport

import (
	"fmt"
	"runtime"
	"time"
)

// Synch is how an endpoint waits for small messages, on which a step waits: for the network, and for the
// consumer of a lane. It changes nothing else.
type Synch uint8

const (
	// Auto is Fast where the process may use several cores, and Safe where it has one.
	Auto Synch = iota
	// Safe waits in the kernel.
	Safe
	// Fast spins, trying again and again, for up to 2 ms before it waits in the kernel: to wake a thread
	// can cost more than the exchange. A thread that spins keeps a core busy; where there are too few
	// cores for that, it stops of itself.
	Fast
)

var synchNames = [...]string{"auto", "safe", "fast"}

// String is the name, as flags have it.
func (s Synch) String() string { return synchNames[s] }

// ParseSynch reads a name.
func ParseSynch(name string) (Synch, error) {
	for i, n := range synchNames {
		if n == name {
			return Synch(i), nil
		}
	}
	return Auto, fmt.Errorf("%.20q is not a way to wait: auto, safe or fast", name)
}

// SetSynch changes how the endpoint waits. Waits under way go on as they began. Where there is only one core
// to run on, Fast is Safe: who waits leaves it to the others.
func (e *Endpoint) SetSynch(s Synch) {
	if s == Auto {
		s = Fast
	}
	if runtime.GOMAXPROCS(0) == 1 {
		s = Safe
	}
	e.synch.Store(uint32(s))
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, l := range e.linksLocked("") {
		l.setSpin()
	}
}

// fast says whether to spin before waiting.
func (e *Endpoint) fast(now time.Time) bool { return e.Synch() == Fast && e.spins.maySpin(now) }

// Synch is how the endpoint waits: Safe or Fast.
func (e *Endpoint) Synch() Synch { return Synch(e.synch.Load()) }
