package verbs

import (
	"errors"
	"fmt"
	"syscall"
	"unsafe"

	"github.com/ebitengine/purego"
)

// Device is an adapter that the library has found, not opened yet.
type Device struct {
	Name string // as the system calls it: mlx5_0, rdma_en2

	list *Devices
	ptr  uintptr
}

// Devices is the list of adapters. Close frees it, after which none of its devices can be opened; those
// that are open stay so.
type Devices struct {
	All []Device

	l   *Library
	ptr uintptr
}

// Devices lists the adapters of the machine. There may be none.
func (l *Library) Devices() (*Devices, error) {
	n := new(int32)
	ptr, err := object("ibv_get_device_list", l.getDeviceList, uintptr(unsafe.Pointer(n)))
	if errors.Is(err, syscall.ENOSYS) {
		return &Devices{l: l}, nil // the kernel has no verbs: no driver is loaded
	}
	if err != nil {
		return nil, err
	}
	d := &Devices{l: l, ptr: ptr}
	for _, dev := range unsafe.Slice(in[uintptr](ptr), *n) {
		name, _, _ := purego.SyscallN(l.getDeviceName, dev)
		d.All = append(d.All, Device{Name: text(name), list: d, ptr: dev})
	}
	return d, nil
}

// Close frees the list.
func (d *Devices) Close() {
	if d.ptr != 0 {
		purego.SyscallN(d.l.freeDeviceList, d.ptr)
	}
}

// Context is an open device.
type Context struct {
	l   *Library
	ptr uintptr
}

// Open opens the device.
func (d Device) Open() (*Context, error) {
	l := d.list.l
	ptr, err := object("ibv_open_device", l.openDevice, d.ptr)
	if err != nil {
		return nil, fmt.Errorf("device %s: %w", d.Name, err)
	}
	return &Context{l, ptr}, nil
}

// Close closes the device, after everything that was made in it.
func (c *Context) Close() error { return status("ibv_close_device", c.l.closeDevice, c.ptr) }

// DeviceInfo is what a device says of itself.
type DeviceInfo struct {
	Firmware string
	Ports    int // numbered from 1
	MaxQP    int // queue pairs
	MaxMR    int // memory registrations
}

// Info asks the device for its limits. Drivers are known to exaggerate.
func (c *Context) Info() (DeviceInfo, error) {
	a := new(cDeviceAttr)
	if err := status("ibv_query_device", c.l.queryDevice, c.ptr, uintptr(unsafe.Pointer(a))); err != nil {
		return DeviceInfo{}, err
	}
	n := 0
	for n < len(a.fwVer) && a.fwVer[n] != 0 {
		n++
	}
	return DeviceInfo{Firmware: string(a.fwVer[:n]), Ports: int(a.physPortCnt), MaxQP: int(a.maxQP), MaxMR: int(a.maxMR)}, nil
}
