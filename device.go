package orrery

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/orrery-ai/orrery/cluster"
	"github.com/orrery-ai/orrery/device"
	"github.com/orrery-ai/orrery/device/cpu"
	"github.com/orrery-ai/orrery/metalkern"
	"github.com/orrery-ai/orrery/metalkern/gpu"
)

// Names of devices that Config.Device may have, besides those of package metalkern.
const (
	DeviceAuto = "auto"
	DeviceCPU  = "cpu"
)

// deviceReserve is what of a GPU's memory no model is promised, in bytes: what streams round, merge and upload grows with the model's
// width and the chunk, and kernels take some.
const deviceReserve = 512 << 20

// DeviceChoice is what a node computes on.
type DeviceChoice struct {
	Kind    string   // "cpu", "cuda", …
	Count   int      // devices of this kind
	Memory  int64    // bytes that each can offer now
	Without []string // why devices that would have come first are not used
}

// ChooseDevice finds out which device a configuration's Device names; "" is DeviceAuto: the first of Metal and CUDA GPUs that
// there is, or else the CPU.
func ChooseDevice(name string) (c DeviceChoice, err error) {
	if err := CheckDevice(name); err != nil {
		return c, err
	}
	kinds := []string{name}
	if name == "" || name == DeviceAuto {
		kinds = append(metalkern.GPUs(), DeviceCPU)
	}
	for _, c.Kind = range kinds {
		if c.Kind == DeviceCPU {
			c.Count = 1
			c.Memory, err = cluster.AvailableMemory()
			return c, err
		}
		host, err := metalkern.Open(c.Kind)
		unavailable := new(gpu.UnavailableError)
		if errors.As(err, &unavailable) && len(kinds) > 1 {
			c.Without = append(c.Without, unavailable.Error())
			continue
		}
		if err != nil {
			return c, fmt.Errorf("device %s: %w", c.Kind, err)
		}
		if c.Memory, err = memoryOf(host.Info()); err == nil {
			c.Count, err = metalkern.Count(c.Kind)
		}
		return c, errors.Join(err, host.Close())
	}
	return c, nil // the last of several kinds is the CPU
}

// Share is what each of so many nodes may offer, in bytes, if they divide the devices among themselves.
func (c *DeviceChoice) Share(nodes int) int64 {
	each := (nodes + c.Count - 1) / c.Count
	if each > 1 && onGPU(c.Kind) {
		return max(0, c.Memory/int64(each)-deviceReserve) // which each process takes for itself
	}
	return c.Memory / int64(each)
}

// Number is the name of one of several devices of the kind.
func (c *DeviceChoice) Number(i int) string {
	if c.Count == 1 {
		return c.Kind
	}
	return fmt.Sprintf("%s:%d", c.Kind, i%c.Count)
}

// memoryOf is what a device offers by default, in bytes. The emulator's is the host's.
func memoryOf(info gpu.Info) (int64, error) {
	switch {
	case info.Free > 0:
		return info.Free, nil
	case info.Memory > 0:
		return info.Memory / 4 * 3, nil
	}
	return cluster.AvailableMemory()
}

// onGPU reports whether a device has memory of its own.
func onGPU(kind string) bool { return kind != DeviceCPU }

// openDevice makes the device of a kind.
func openDevice(kind string, threads int) (device.Device, error) {
	if kind == DeviceCPU {
		return cpu.New(threads), nil
	}
	host, err := metalkern.Open(kind)
	if err != nil {
		return nil, fmt.Errorf("device %s: %w", kind, err)
	}
	d, err := metalkern.NewDevice(host)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("device %s: %w", kind, err), host.Close())
	}
	return d, nil
}

// CheckDevice returns an error unless a name is that of a kind of devices.
func CheckDevice(name string) error {
	kind, _, _ := strings.Cut(name, ":")
	if known := append([]string{DeviceAuto, DeviceCPU}, metalkern.Kinds...); name != "" && !slices.Contains(known, kind) {
		return fmt.Errorf("device %q is not one of %s", name, strings.Join(known, ", "))
	}
	return nil
}
