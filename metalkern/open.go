package metalkern

import (
	"errors"
	"fmt"
	"runtime"
	"strconv"
	"strings"

	"github.com/orrery-ai/orrery/metalkern/cuda"
	"github.com/orrery-ai/orrery/metalkern/dialect"
	"github.com/orrery-ai/orrery/metalkern/emulator"
	"github.com/orrery-ai/orrery/metalkern/gpu"
	"github.com/orrery-ai/orrery/metalkern/metal"
)

// Kinds are the devices that Open knows, the fastest first.
var Kinds = []string{"metal", "cuda", "emulator"}

// GPUs are those of Kinds that may be on this system, and are fast.
func GPUs() []string {
	switch runtime.GOOS {
	case "darwin":
		return []string{"metal"}
	case "linux":
		return []string{"cuda"}
	}
	return nil
}

// Count is how many devices of a kind there are; Open has found one.
func Count(kind string) (int, error) {
	if kind == "cuda" {
		return cuda.Devices()
	}
	return 1, nil
}

// Open opens a device of a kind: the first, or of several the one with a number, as in "cuda:1". Where there is none the error is a
// *[gpu.UnavailableError].
func Open(name string) (gpu.Host, error) {
	kind, which, numbered := strings.Cut(name, ":")
	number, err := 0, error(nil)
	if numbered {
		if number, err = strconv.Atoi(which); err != nil || kind != "cuda" {
			return nil, fmt.Errorf("device %q: only cuda has numbers, as cuda:1", name)
		}
	}
	switch kind {
	case "metal":
		h, err := metal.Open()
		if err != nil {
			return nil, err
		}
		return h, nil
	case "cuda":
		h, err := cuda.Open(number)
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
	return nil, fmt.Errorf("device %q is not one of %s", name, strings.Join(Kinds, ", "))
}

// Found is a device, or why there is none of a kind.
type Found struct {
	Kind   string
	Info   gpu.Info
	Reason string // why it cannot be used; empty if it can
}

// Find looks for a device of each kind.
func Find() []Found {
	var all []Found
	for _, kind := range Kinds {
		f := Found{Kind: kind}
		h, err := Open(kind)
		if err == nil {
			f.Info = h.Info()
			err = h.Close()
		}
		if unavailable := new(gpu.UnavailableError); errors.As(err, &unavailable) {
			f.Reason = unavailable.Reason
		} else if err != nil { // the others are there nevertheless
			f.Reason, _, _ = strings.Cut(err.Error(), "\n")
		}
		all = append(all, f)
	}
	return all
}
