package cpu

import (
	"fmt"
	"runtime"

	"github.com/orrery-ai/orrery/attention"
	"github.com/orrery-ai/orrery/device"
	"github.com/orrery-ai/orrery/device/cpu/simd"
)

// Device computes on the processor. It implements [device.Device].
type Device struct {
	device.Host
	pool *pool
}

var _ device.Device = (*Device)(nil)

// New makes a device that computes on up to threads threads at a time, of which the goroutine that
// calls an operation is one; with threads <= 0, on as many as the Go program may use.
func New(threads int) *Device {
	if threads <= 0 {
		threads = runtime.GOMAXPROCS(0)
	}
	return &Device{pool: newPool(threads)}
}

// Name implements [device.Device].
func (d *Device) Name() string {
	unit := "threads"
	if d.pool.threads == 1 {
		unit = "thread"
	}
	return fmt.Sprintf("cpu (%d %s, %s)", d.pool.threads, unit, simd.Name())
}

// Check implements [device.Device]: all that is valid can be computed.
func (d *Device) Check(f attention.Format, s attention.Shape) error { return f.Check(s.HeadDim) }

// Load implements [device.Device]: weights are used where they lie.
func (d *Device) Load(m device.Matrix) (device.Matrix, error) { return m, nil }

// Unload implements [device.Device].
func (d *Device) Unload(device.Matrix) {}

// LoadExperts implements [device.Device].
func (d *Device) LoadExperts(e device.Experts) (device.Experts, error) { return e, nil }

// UnloadExperts implements [device.Device].
func (d *Device) UnloadExperts(device.Experts) {}

// NewStream implements [device.Device].
func (d *Device) NewStream() device.Stream { return newStream(d.pool) }

// Close ends the workers, and returns when they have ended. Closing twice is allowed.
func (d *Device) Close() error {
	d.pool.close()
	return nil
}
