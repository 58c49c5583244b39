// Package emulatortest opens emulated GPUs for tests.
package emulatortest

import (
	"errors"
	"testing"

	"github.com/orrery-ai/orrery/metalkern"
	"github.com/orrery-ai/orrery/metalkern/gpu"
)

// Device is an emulated GPU, which the caller closes. The test is skipped where there is none.
func Device(t testing.TB) *metalkern.Device {
	t.Helper()
	h, err := metalkern.Open("emulator")
	if unavailable := new(gpu.UnavailableError); errors.As(err, &unavailable) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	d, err := metalkern.NewDevice(h)
	if err != nil {
		t.Fatal(err)
	}
	return d
}
