package emulator

import (
	"fmt"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"unsafe"

	"github.com/ebitengine/purego"

	"github.com/orrery-ai/orrery/internal/dynlib"
	"github.com/orrery-ai/orrery/metalkern/dialect"
	"github.com/orrery-ai/orrery/metalkern/gpu"
)

// Host is the emulator as a device. It implements [gpu.Host].
type Host struct {
	compiler *compiler
	target   dialect.Target
	order    atomic.Uint32
}

var _ gpu.Sharer = (*Host)(nil)

// poolBytes is the threadgroup memory of a group: that of an Apple GPU or, with CUDA's fragments, of a Hopper.
var poolBytes = map[dialect.Target]int{dialect.CPP: 227 << 10, dialect.CPPMetal: 32 << 10}

// library is the emulator itself, loaded once for the process: it handles the faults of kernels.
var library struct {
	once                       sync.Once
	err                        error
	alloc, release, run, start uintptr
}

// Open makes an emulator. target is how matrix fragments are laid out: [dialect.CPP] as on CUDA, [dialect.CPPMetal] as on Metal.
// Without a C++ compiler the error is a *[gpu.UnavailableError].
func Open(target dialect.Target) (*Host, error) {
	if target != dialect.CPP && target != dialect.CPPMetal {
		panic(fmt.Sprintf("emulator: target %d is not C++", target))
	}
	c, err := findCompiler()
	if err != nil {
		return nil, err
	}
	library.once.Do(func() { library.err = load(c) })
	if library.err != nil {
		return nil, library.err
	}
	return &Host{compiler: c, target: target}, nil
}

func load(c *compiler) error {
	path, err := c.library("the emulator", source)
	if err != nil {
		return err
	}
	h, err := dynlib.Open(path, purego.RTLD_NOW|purego.RTLD_GLOBAL)
	if err != nil {
		return fmt.Errorf("emulator: %w", err)
	}
	for name, at := range map[string]*uintptr{"emu_alloc": &library.alloc, "emu_free": &library.release, "emu_launch": &library.run, "emu_start": &library.start} {
		if *at, err = purego.Dlsym(h, name); err != nil {
			return fmt.Errorf("emulator: %w", err)
		}
	}
	purego.SyscallN(library.start)
	return nil
}

// SetOrder says in which order the lanes of a simdgroup and the simdgroups of a group run in launches from now on:
// 0 forward, 1 backward, else a seed by which each group shuffles them.
func (h *Host) SetOrder(order uint32) { h.order.Store(order) }

// Info implements [gpu.Host].
func (h *Host) Info() gpu.Info {
	fragments := "CUDA's fragments"
	if h.target == dialect.CPPMetal {
		fragments = "Metal's fragments"
	}
	name, _, _ := strings.Cut(h.compiler.version, "\n")
	return gpu.Info{Kind: "emulator", Name: name, Arch: fragments, Units: runtime.NumCPU(), Pool: poolBytes[h.target]}
}

// buffer is memory with guard pages around it.
type buffer struct {
	data   unsafe.Pointer
	size   int64
	shared bool // data is not the emulator's
}

// Alloc implements [gpu.Host]. The memory holds NaN.
func (h *Host) Alloc(n int64, _ gpu.Memory) (gpu.Buffer, error) {
	if n < 0 {
		return nil, fmt.Errorf("emulator: a buffer of %d bytes", n)
	}
	p, _, _ := purego.SyscallN(library.alloc, uintptr(n))
	if p == 0 {
		return nil, fmt.Errorf("emulator: no memory for a buffer of %d bytes", n)
	}
	return &buffer{data: pointer(p), size: n}, nil
}

// Share implements [gpu.Sharer].
func (h *Host) Share(memory []byte) (gpu.Buffer, error) {
	return &buffer{data: unsafe.Pointer(unsafe.SliceData(memory)), size: int64(len(memory)), shared: true}, nil
}

func (b *buffer) Len() int64    { return b.size }
func (b *buffer) Bytes() []byte { return unsafe.Slice((*byte)(b.data), b.size) }

func (b *buffer) Address() uint64 { return uint64(uintptr(b.data)) }

func (b *buffer) Free() error {
	if b.data != nil && !b.shared {
		purego.SyscallN(library.release, uintptr(b.data))
	}
	b.data = nil
	return nil
}

// unit is a loaded library of kernels. It stays loaded: nothing would be gained by unloading it.
type unit struct {
	name   string
	handle uintptr
}

type kernel struct {
	name  string
	entry uintptr
}

func (k *kernel) Name() string { return k.name }

// Compile implements [gpu.Host].
func (h *Host) Compile(u dialect.Unit) (gpu.Library, error) {
	path, err := h.compiler.library(u.Name, dialect.Source(h.target, u))
	if err != nil {
		return nil, err
	}
	handle, err := dynlib.Open(path, purego.RTLD_NOW|purego.RTLD_LOCAL)
	if err != nil {
		return nil, fmt.Errorf("emulator: %s: %w", u.Name, err)
	}
	return &unit{u.Name, handle}, nil
}

// Kernel implements [gpu.Library].
func (u *unit) Kernel(name string) (gpu.Kernel, error) {
	p, err := purego.Dlsym(u.handle, name)
	if err != nil {
		return nil, fmt.Errorf("emulator: %s has no kernel %s", u.name, name)
	}
	return &kernel{name, p}, nil
}

// NewQueue implements [gpu.Host].
func (h *Host) NewQueue() (gpu.Queue, error) { return &queue{host: h}, nil }

// Close implements [gpu.Host].
func (h *Host) Close() error { return nil }

// pointer is an address that C returned. The conversion by way of memory is what vet accepts for those.
func pointer(p uintptr) unsafe.Pointer { return *(*unsafe.Pointer)(unsafe.Pointer(&p)) }
