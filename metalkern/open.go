package metalkern

import (
	"errors"
	"fmt"
	"strings"

	"github.com/orrery-ai/orrery/metalkern/cuda"
	"github.com/orrery-ai/orrery/metalkern/dialect"
	"github.com/orrery-ai/orrery/metalkern/emulator"
	"github.com/orrery-ai/orrery/metalkern/gpu"
	"github.com/orrery-ai/orrery/metalkern/metal"
)

// Kinds are the devices that Open knows, the fastest first.
var Kinds = []string{"metal", "cuda", "emulator"}

// Open opens the first device of a kind. Where there is none the error is a *[gpu.UnavailableError].
func Open(kind string) (gpu.Host, error) {
	switch kind {
	case "metal":
		h, err := metal.Open()
		if err != nil {
			return nil, err
		}
		return h, nil
	case "cuda":
		h, err := cuda.Open(0)
		if err != nil {
			return nil, err
		}
		return h, nil
	case "emulator":
		h, err := emulator.Open(dialect.CPP)
		if err != nil {
			return nil, err
		}
		return h, nil
	}
	return nil, fmt.Errorf("device %q is not one of %s", kind, strings.Join(Kinds, ", "))
}

// Found is a device, or why there is none of a kind.
type Found struct {
	Kind   string
	Info   gpu.Info
	Reason string // why it cannot be used; empty if it can
}

// Find looks for a device of each kind.
func Find() ([]Found, error) {
	var all []Found
	for _, kind := range Kinds {
		h, err := Open(kind)
		if unavailable := new(gpu.UnavailableError); errors.As(err, &unavailable) {
			all = append(all, Found{Kind: kind, Reason: unavailable.Reason})
			continue
		}
		if err != nil {
			return nil, err
		}
		all = append(all, Found{Kind: kind, Info: h.Info()})
		if err := h.Close(); err != nil {
			return nil, err
		}
	}
	return all, nil
}
