package simulate

import (
	"fmt"

	"github.com/orrery-ai/orrery/placement"
)

// Link is the way from one node to another.
type Link struct {
	placement.Link
	Jitter     float64 // mean of what is added to the latency of each message, exponentially distributed; seconds
	PerMessage float64 // how long a message occupies a port at each end besides its bytes; seconds
}

// occupies is how long a message of so many bytes occupies a port.
func (l *Link) occupies(bytes float64) float64 { return l.PerMessage + bytes/l.Bandwidth }

func (l *Link) check() error {
	if !(l.Latency >= 0 && l.Bandwidth > 0 && l.Jitter >= 0 && l.PerMessage >= 0) {
		return fmt.Errorf("simulate: link %+v has a negative time or no bandwidth", *l)
	}
	return nil
}
