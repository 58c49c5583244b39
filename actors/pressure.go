package actors

import (
	"fmt"
	"sync/atomic"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/orrery-ai/orrery/placement"
)

// pressure says whether a machine still has the memory that its node has promised. Other programs may have
// taken some: what is available is then less than what is promised and not held yet.
type pressure struct {
	short  int64 // bytes that were missing when it was found to be short; 0 when it is not
	streak int   // measurements in a row that speak for a change
}

const (
	// pressureMargin is how much may be missing before that counts: the system's estimate of what is available
	// is as uncertain. Of large promises it is a fiftieth.
	pressureMargin = 64 << 20
	shortAfter     = 2 // measurements in a row that find the machine short
	calmAfter      = 3 // and that find everything there again
)

// measured takes a measurement, in bytes: what is promised, what of it this process holds already, and what
// is available on the machine. It reports whether the verdict has changed. Between none missing and the
// margin it does not.
func (p *pressure) measured(promised, held, available int64) (changed bool) {
	missing := promised - min(held, promised) - available
	against := missing > max(pressureMargin, promised/50)
	needed := shortAfter
	if p.short > 0 {
		against, needed = missing <= 0, calmAfter
	}
	if !against {
		p.streak = 0
		return false
	}
	if p.streak++; p.streak < needed {
		return false
	}
	p.streak = 0
	if p.short > 0 {
		p.short = 0
	} else {
		p.short = missing
	}
	return true
}

// shortError is why a machine under pressure takes on nothing new.
func shortError(node string, short int64) error {
	return fmt.Errorf("other programs took %s of the memory that node %s has promised: it takes on nothing new until that is free again",
		placement.FormatBytes(short), node)
}

// memoryMeasured is what a watch tells its Node.
type memoryMeasured struct{ available, held int64 }

// memoryWatch measures a machine's memory now and then, in a goroutine of its own.
type memoryWatch struct {
	done  chan struct{}
	short atomic.Int64 // the verdict, for LayerShards
}

// measureEvery is how often a machine's memory is measured, unless Machine says otherwise.
const measureEvery = 2 * time.Second

func (w *memoryWatch) start(m *Machine, root *actor.RootContext, node *actor.PID) {
	w.done = make(chan struct{})
	if m.MeasureMemory == nil {
		return
	}
	every := m.MeasureEvery
	if every == 0 {
		every = measureEvery
	}
	go func() {
		t := time.NewTicker(every)
		defer t.Stop()
		failed := false
		for {
			select {
			case <-w.done:
				return
			case <-t.C:
			}
			available, held, err := m.MeasureMemory()
			if err == nil {
				root.Send(node, &memoryMeasured{available, held})
			} else if !failed {
				m.Logger.Warn("how much memory is available is not known", "err", err)
			}
			failed = err != nil
		}
	}()
}

func (w *memoryWatch) stop() { close(w.done) }

// memoryMeasured looks at a measurement, and says once what has changed.
func (n *node) memoryMeasured(m *memoryMeasured) {
	promised := n.memory.Used()
	if !n.pressure.measured(promised, m.held, m.available) {
		return
	}
	n.watch.short.Store(n.pressure.short)
	log := n.machine.Logger.With("promised", placement.FormatBytes(promised), "held", placement.FormatBytes(m.held), "available", placement.FormatBytes(m.available))
	if n.pressure.short > 0 {
		log.Warn("other programs took memory that this node has promised: it takes on nothing new", "missing", placement.FormatBytes(n.pressure.short))
	} else {
		log.Warn("the memory that this node has promised is there again")
	}
	n.tellMemory()
}

// tellMemory tells the machine's owner what is promised, and what of it is missing.
func (n *node) tellMemory() {
	if n.machine.OnMemory == nil {
		return
	}
	promised := int64(0)
	for _, m := range n.models {
		promised += m.promised
	}
	n.machine.OnMemory(promised, n.pressure.short)
}
