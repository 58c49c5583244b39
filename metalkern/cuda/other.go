//go:build !linux

package cuda

import "github.com/orrery-ai/orrery/metalkern/gpu"

// Host is one NVIDIA GPU; there are none on this system.
type Host struct{ gpu.Host }

var unavailable = &gpu.UnavailableError{Kind: "cuda", Reason: "NVIDIA GPUs are used on Linux only"}

// Devices returns a *[gpu.UnavailableError].
func Devices() (int, error) { return 0, unavailable }

// Open returns a *[gpu.UnavailableError].
func Open(int) (*Host, error) { return nil, unavailable }
