package gpu

import (
	"fmt"
	"time"

	"github.com/orrery-ai/orrery/metalkern/dialect"
)

// SimdWidth is the number of threads of a simdgroup, on all hosts.
const SimdWidth = 32

// Info describes a device.
type Info struct {
	Kind   string // "cuda", "metal" or "emulator"
	Name   string // as its maker calls it
	Arch   string // what kernels are compiled for: "sm_90"
	Units  int    // multiprocessors, GPU cores, or threads
	Memory int64  // bytes in all
	Free   int64  // of them nobody had taken when the host was opened
	Pool   int    // most bytes of threadgroup memory that a group may have
	Driver string // its version
	Place  string // which GPU of the machine it is; "" of what computes on the processor
}

// Host is one device and the compiler for it. Its methods may be called from any goroutine.
type Host interface {
	// Info describes the device.
	Info() Info
	// Alloc takes n bytes of memory; what they hold is not defined.
	Alloc(n int64, m Memory) (Buffer, error)
	// Compile makes a library of a unit, or an error with the compiler's messages.
	Compile(u dialect.Unit) (Library, error)
	// NewQueue makes a queue. Queues of one host may run at the same time.
	NewQueue() (Queue, error)
	// Close frees what the host holds: nothing that came of it may be used afterwards.
	Close() error
}

// Memory is where a buffer lies.
type Memory uint8

const (
	// Local memory is the device's own, the fastest that it has.
	Local Memory = iota
	// Mapped memory is the host's, and kernels reach it too, over whatever lies between.
	Mapped
)

// Buffer is memory that kernels use.
type Buffer interface {
	// Len is its size in bytes.
	Len() int64
	// Bytes is its contents, where the host can address them, else nil. While launches that use the buffer run
	// they must be left alone.
	Bytes() []byte
	// Address is where kernels find its first byte: lists that kernels read hold addresses. Memory that is listed like that is not an
	// argument of the launch that reads it.
	Address() uint64
	// Free gives the memory back. No launch that uses it may be pending.
	Free() error
}

// Range is a part of a buffer, from a place on: what a copy reads or writes, or a kernel's argument.
type Range struct {
	Buffer Buffer
	Offset int64
}

// Library is a compiled unit.
type Library interface {
	// Kernel is the kernel of that name.
	Kernel(name string) (Kernel, error)
}

// Kernel is a kernel, ready to be launched on its host.
type Kernel interface{ Name() string }

// Grid is the size of a launch.
type Grid struct {
	X, Y, Z int // groups
	Threads int // of a group: a multiple of SimdWidth
	Pool    int // bytes of threadgroup memory beyond what the kernel's source declares
}

// Queue runs launches and copies in the order in which they were given. It belongs to one goroutine. Mistakes and
// failures are kept, and returned by the next Wait.
type Queue interface {
	// Next is where the next call is described, by [Launch]: memory that the queue uses again and again.
	Next() *Call
	// Launch runs a kernel. The queue keeps nothing of the call.
	Launch(c *Call)
	// Write copies src to the device, and Read copies from it to dst. Both slices must be left alone until Wait.
	Write(dst Range, src []byte)
	Read(dst []byte, src Range)
	// Copy copies n bytes between buffers, which must not overlap.
	Copy(dst, src Range, n int64)
	// Mark notes the time at which what was given so far has run, for Elapsed. Marks are counted from 0; Wait keeps them, Reset begins anew.
	Mark() int
	// Elapsed is the time between two marks, once Wait has returned.
	Elapsed(from, to int) (time.Duration, error)
	// ResetMarks forgets all marks.
	ResetMarks()
	// Wait returns when everything has run, with the first error if there was one, or at the deadline with a *TimeoutError.
	Wait(deadline time.Time) error
	// Close waits for what is pending, for a bounded time, and frees the queue.
	Close() error
}

// TimeoutError says that a device did not finish before a deadline.
type TimeoutError struct{ Device string }

func (e *TimeoutError) Error() string {
	return fmt.Sprintf("%s did not finish before the deadline", e.Device)
}

// CompileError is what a compiler had to say about a unit.
type CompileError struct {
	Unit, Compiler string
	Log            string
}

func (e *CompileError) Error() string {
	return fmt.Sprintf("%s does not compile %s:\n%s", e.Compiler, e.Unit, e.Log)
}

// UnavailableError says why there is no such device here, and what would help.
type UnavailableError struct{ Kind, Reason string }

func (e *UnavailableError) Error() string { return fmt.Sprintf("no %s device: %s", e.Kind, e.Reason) }
