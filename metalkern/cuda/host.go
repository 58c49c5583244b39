//go:build linux

package cuda

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"unsafe"

	"github.com/orrery-ai/orrery/internal/compiled"
	"github.com/orrery-ai/orrery/metalkern/dialect"
	"github.com/orrery-ai/orrery/metalkern/gpu"
)

// Attributes of a device, of cuDeviceGetAttribute.
const (
	attributeUnits      = 16
	attributeMajor      = 75
	attributeMinor      = 76
	attributePool       = 97
	attributeBus        = 33
	attributeSlot       = 34
	attributeDomain     = 50
	leastMajor          = 8
	hostAllocPortable   = 1
	hostAllocMapped     = 2
	functionPoolBytes   = 8 // of cuFuncSetAttribute
	nameBytes           = 256
	poolWithoutAsking   = 48 << 10
	maxArgs             = 16
	streamNotBlocking   = 1
	cacheFilePermission = 0o644
)

// Host is one NVIDIA GPU. It implements [gpu.Host].
type Host struct {
	driver   *driver
	compiler *nvrtc
	device   int32
	context  uintptr
	info     gpu.Info

	dependent bool // kernels may start before the one that they follow has ended

	mu      sync.Mutex
	modules []uintptr
	closed  bool
}

var _ gpu.Sharer = (*Host)(nil)

// Devices is how many GPUs there are, or why none can be used.
func Devices() (int, error) {
	d, err := openDriver()
	if err != nil {
		return 0, err
	}
	var n int32
	if err := d.check("cuDeviceGetCount", call(d.deviceCount, uintptr(unsafe.Pointer(&n)))); err != nil {
		return 0, err
	}
	if n == 0 {
		return 0, &gpu.UnavailableError{Kind: "cuda", Reason: "the driver sees no GPU"}
	}
	return int(n), nil
}

// Open opens the GPU of that number, counted from 0.
func Open(number int) (*Host, error) {
	n, err := Devices()
	if err != nil {
		return nil, err
	}
	if number < 0 || number >= n {
		return nil, &gpu.UnavailableError{Kind: "cuda", Reason: fmt.Sprintf("there is no GPU %d: there are %d", number, n)}
	}
	d, err := openDriver()
	if err != nil {
		return nil, err
	}
	compiler, err := findNVRTC()
	if err != nil {
		return nil, err
	}
	h := &Host{driver: d, compiler: compiler}
	if err := d.check("cuDeviceGet", call(d.deviceGet, uintptr(unsafe.Pointer(&h.device)), uintptr(number))); err != nil {
		return nil, err
	}
	if err := h.describe(); err != nil {
		return nil, err
	}
	if err := d.check("cuDevicePrimaryCtxRetain", call(d.contextRetain, uintptr(unsafe.Pointer(&h.context)), uintptr(h.device))); err != nil {
		return nil, err
	}
	defer h.current()()
	var free, all uint64
	if err := d.check("cuMemGetInfo", call(d.memoryInfo, uintptr(unsafe.Pointer(&free)), uintptr(unsafe.Pointer(&all)))); err != nil {
		return nil, err
	}
	h.info.Free = int64(free)
	return h, nil
}

func (h *Host) describe() error {
	d := h.driver
	name := make([]byte, nameBytes)
	if err := d.check("cuDeviceGetName", call(d.deviceName, uintptr(unsafe.Pointer(&name[0])), nameBytes, uintptr(h.device))); err != nil {
		return err
	}
	var memory uint64
	if err := d.check("cuDeviceTotalMem", call(d.deviceMemory, uintptr(unsafe.Pointer(&memory)), uintptr(h.device))); err != nil {
		return err
	}
	attribute := func(which uintptr) int {
		var v int32
		call(d.deviceAttribute, uintptr(unsafe.Pointer(&v)), which, uintptr(h.device))
		return int(v)
	}
	major, minor := attribute(attributeMajor), attribute(attributeMinor)
	title, _, _ := strings.Cut(string(name), "\x00")
	if major < leastMajor {
		return &gpu.UnavailableError{Kind: "cuda", Reason: fmt.Sprintf("the %s has compute capability %d.%d; 8.0 or later is needed", title, major, minor)}
	}
	h.dependent = major >= leastDependent
	arch := fmt.Sprintf("sm_%d%d", major, minor)
	if arch == "sm_90" && h.compiler.version >= leastHopper && d.tensorMap != 0 {
		arch = "sm_90a" // with what later GPUs need not have
	}
	h.info = gpu.Info{Kind: "cuda", Name: title, Arch: arch, Units: attribute(attributeUnits), Memory: int64(memory), Pool: attribute(attributePool),
		Driver: driverVersion(), Place: fmt.Sprintf("%04x:%02x:%02x", attribute(attributeDomain), attribute(attributeBus), attribute(attributeSlot))}
	return nil
}

// driverVersion is that of the kernel's part of the driver, as 580.159.04; "" where the system does not tell.
func driverVersion() string {
	b, err := os.ReadFile("/sys/module/nvidia/version")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}

// Info implements [gpu.Host].
func (h *Host) Info() gpu.Info { return h.info }

// buffer is memory of the device, or of the host if data is set.
type buffer struct {
	host   *Host
	device uintptr // address for kernels
	data   []byte
	size   int64
	shared bool // data is not the driver's
}

// Alloc implements [gpu.Host].
func (h *Host) Alloc(n int64, m gpu.Memory) (gpu.Buffer, error) {
	if n < 0 {
		return nil, fmt.Errorf("cuda: a buffer of %d bytes", n)
	}
	defer h.current()()
	d, b := h.driver, &buffer{host: h, size: n}
	room := uintptr(max(n, 16))
	if m == gpu.Local {
		if err := d.check(fmt.Sprintf("taking %d bytes", n), call(d.memAlloc, uintptr(unsafe.Pointer(&b.device)), room)); err != nil {
			return nil, err
		}
		return b, nil
	}
	var p uintptr
	if err := d.check(fmt.Sprintf("taking %d bytes of the host's", n), call(d.hostAlloc, uintptr(unsafe.Pointer(&p)), room, hostAllocPortable|hostAllocMapped)); err != nil {
		return nil, err
	}
	if err := d.check("cuMemHostGetDevicePointer", call(d.hostAddress, uintptr(unsafe.Pointer(&b.device)), p, 0)); err != nil {
		call(d.hostFree, p)
		return nil, err
	}
	b.data = unsafe.Slice((*byte)(*(*unsafe.Pointer)(unsafe.Pointer(&p))), n)
	return b, nil
}

// Share implements [gpu.Sharer].
func (h *Host) Share(memory []byte) (gpu.Buffer, error) {
	defer h.current()()
	d, b, p := h.driver, &buffer{host: h, data: memory, size: int64(len(memory)), shared: true}, unsafe.Pointer(unsafe.SliceData(memory))
	if err := d.check(fmt.Sprintf("using %d bytes that are shared", len(memory)), call(d.hostRegister, uintptr(p), uintptr(len(memory)), hostAllocPortable|hostAllocMapped)); err != nil {
		return nil, err
	}
	if err := d.check("cuMemHostGetDevicePointer", call(d.hostAddress, uintptr(unsafe.Pointer(&b.device)), uintptr(p), 0)); err != nil {
		call(d.hostUnregister, uintptr(p))
		return nil, err
	}
	return b, nil
}

func (b *buffer) Len() int64    { return b.size }
func (b *buffer) Bytes() []byte { return b.data }

func (b *buffer) Address() uint64 { return uint64(b.device) }

func (b *buffer) Free() error {
	if b.device == 0 {
		return nil
	}
	defer b.host.current()()
	d, p := b.host.driver, b.device
	b.device = 0
	if b.data != nil {
		data := unsafe.Pointer(unsafe.SliceData(b.data))
		b.data = nil
		if b.shared {
			return d.check("cuMemHostUnregister", call(d.hostUnregister, uintptr(data)))
		}
		return d.check("cuMemFreeHost", call(d.hostFree, uintptr(data)))
	}
	return d.check("cuMemFree", call(d.memFree, p))
}

// unit is a loaded module.
type unit struct {
	host   *Host
	name   string
	module uintptr
}

type kernel struct {
	name     string
	function uintptr
	host     *Host
	pool     atomic.Int64 // the most that it may be launched with
	mu       sync.Mutex   // of changes of it
}

func (k *kernel) Name() string { return k.name }

// Compile implements [gpu.Host].
func (h *Host) Compile(u dialect.Unit) (gpu.Library, error) {
	code, err := h.code(u)
	if err != nil {
		return nil, err
	}
	defer h.current()()
	l := &unit{host: h, name: u.Name}
	if err := h.driver.check("loading "+u.Name, call(h.driver.moduleLoad, uintptr(unsafe.Pointer(&l.module)), uintptr(unsafe.Pointer(&code[0])))); err != nil {
		return nil, err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.modules = append(h.modules, l.module)
	return l, nil
}

// code is the device code of a unit, from the cache if it is there.
func (h *Host) code(u dialect.Unit) ([]byte, error) {
	text := dialect.Source(dialect.CUDA, u)
	key := sha256.New()
	fmt.Fprintf(key, "%d %s\n%s", h.compiler.version, strings.Join(options(h.info.Arch), " "), text)
	dir := compiled.Dir("cuda")
	path := filepath.Join(dir, hex.EncodeToString(key.Sum(nil)[:16])+".cubin")
	if code, err := os.ReadFile(path); err == nil && len(code) > 0 {
		compiled.Used(path)
		return code, nil
	}
	code, err := h.compiler.compile(u.Name, text, h.info.Arch)
	if err != nil {
		return nil, err
	}
	// A cache that cannot be written costs time, not results.
	if os.MkdirAll(dir, 0o755) == nil {
		compiled.Trim(dir)
		if temp, err := os.CreateTemp(dir, "new-*"); err == nil {
			_, failed := temp.Write(code)
			if temp.Close() == nil && failed == nil && os.Chmod(temp.Name(), cacheFilePermission) == nil {
				_ = os.Rename(temp.Name(), path)
			}
			os.Remove(temp.Name())
		}
	}
	return code, nil
}

// Kernel implements [gpu.Library].
func (u *unit) Kernel(name string) (gpu.Kernel, error) {
	defer u.host.current()()
	k := &kernel{name: name, host: u.host}
	k.pool.Store(poolWithoutAsking)
	text := cString(name)
	if err := u.host.driver.check(u.name+" has no kernel "+name, call(u.host.driver.moduleFunction, uintptr(unsafe.Pointer(&k.function)), u.module, uintptr(unsafe.Pointer(&text[0])))); err != nil {
		return nil, err
	}
	return k, nil
}

// Close implements [gpu.Host].
func (h *Host) Close() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return nil
	}
	h.closed = true
	release := h.current()
	for _, m := range h.modules {
		call(h.driver.moduleUnload, m)
	}
	release()
	return h.driver.check("cuDevicePrimaryCtxRelease", call(h.driver.contextRelease, uintptr(h.device)))
}
