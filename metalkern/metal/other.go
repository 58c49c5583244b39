//go:build !darwin || !arm64

package metal

import "github.com/orrery-ai/orrery/metalkern/gpu"

// Host is one Apple GPU; there are none on this system.
type Host struct{ gpu.Host }

// Open returns a *[gpu.UnavailableError].
func Open() (*Host, error) {
	return nil, &gpu.UnavailableError{Kind: "metal", Reason: "Apple GPUs are used on macOS, on Apple silicon, only"}
}
