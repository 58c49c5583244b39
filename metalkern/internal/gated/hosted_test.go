package gated

import (
	"errors"
	"time"

	"github.com/orrery-ai/orrery/metalkern/dialect"
	"github.com/orrery-ai/orrery/metalkern/emulator"
	"github.com/orrery-ai/orrery/metalkern/gpu"
)

// hosted runs batches on the emulator.
type hosted struct {
	*Runner
	refuse error // of Submit
}

// limit is the longest that a test waits.
const limit = time.Minute

// tb is what a test and a property have in common.
type tb interface {
	Helper()
	Cleanup(func())
	Skip(...any)
	Error(...any)
	Fatal(...any)
	Fatalf(string, ...any)
}

func newHosted(t tb) *hosted {
	h, err := emulator.Open(dialect.CPPMetal)
	if unavailable := new(gpu.UnavailableError); errors.As(err, &unavailable) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	q, err := h.NewQueue()
	if err != nil {
		t.Fatal(err)
	}
	return &hosted{Runner: NewRunner(h, q)}
}

func (e *hosted) Submit(steps []Step) (Batch, error) {
	if e.refuse != nil {
		return nil, e.refuse
	}
	return e.Runner.Submit(steps)
}

func (e *hosted) Close() error { return errors.Join(e.Runner.Close(), e.Host.Close()) }
