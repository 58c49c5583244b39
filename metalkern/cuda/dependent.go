//go:build linux

package cuda

import (
	"unsafe"

	"github.com/ebitengine/purego"
)

// Kernels in a row may start while the last groups of the one before still run, so that starting takes no time: they wait for it themselves, where
// they ask for their place in the grid, before they read anything (the prelude's ctx). GPUs of compute capability 9.0 have that.
const leastDependent = 9

// notSupported is CUDA_ERROR_NOT_SUPPORTED.
const notSupported = 801

// dependentDriver is what the driver has for it and in its place, or zeros.
type dependentDriver struct{ launchEx, graphDepend, graphFollow uintptr }

func findDependent(handle uintptr) (d dependentDriver) {
	d.launchEx, _ = purego.Dlsym(handle, "cuLaunchKernelEx")
	d.graphDepend, _ = purego.Dlsym(handle, "cuGraphAddDependencies_v2") // CUDA 12.3
	d.graphFollow, _ = purego.Dlsym(handle, "cuGraphAddDependencies")
	return d
}

// launchAttribute is CUlaunchAttribute, of 72 bytes.
type launchAttribute struct {
	id    uint32
	_     uint32
	value int32
	_     [60]byte
}

// launchConfig is CUlaunchConfig.
type launchConfig struct {
	gridX, gridY, gridZ, threadsX, threadsY, threadsZ uint32
	pool                                              uint32
	stream                                            uintptr
	attributes                                        *launchAttribute
	count                                             uint32
}

// streamDependent is CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION, allowed.
var streamDependent = launchAttribute{id: 6, value: 1}

// launchOne gives a launch to the stream.
func (q *queue) launchOne(l *launch) int32 {
	g, d := l.grid, q.host.driver
	if d.launchEx == 0 {
		return call(d.launch, l.kernel.function, uintptr(g.X), uintptr(g.Y), uintptr(g.Z), uintptr(g.Threads), 1, 1, uintptr(g.Pool), q.stream, uintptr(unsafe.Pointer(&q.params[0])), 0)
	}
	c := &q.config
	*c = launchConfig{gridX: uint32(g.X), gridY: uint32(g.Y), gridZ: uint32(g.Z), threadsX: uint32(g.Threads), threadsY: 1, threadsZ: 1, pool: uint32(g.Pool), stream: q.stream}
	if q.host.dependent {
		c.attributes, c.count = &streamDependent, 1
	}
	return call4(d.launchEx, uintptr(unsafe.Pointer(c)), l.kernel.function, uintptr(unsafe.Pointer(&q.params[0])), 0)
}

// edge is CUgraphEdgeData: from port 1, that of kernels which let others start, programmatic.
var edge = [8]byte{1, 0, 1}

// follow makes node to of a graph one that follows node from. What it returns is the driver's status.
func (q *queue) follow(graph uintptr, from, to *uintptr) int32 {
	d := q.host.driver
	if q.host.dependent && d.graphDepend != 0 {
		return call(d.graphDepend, graph, uintptr(unsafe.Pointer(from)), uintptr(unsafe.Pointer(to)), uintptr(unsafe.Pointer(&edge)), 1)
	}
	if d.graphFollow == 0 {
		return notSupported
	}
	return call(d.graphFollow, graph, uintptr(unsafe.Pointer(from)), uintptr(unsafe.Pointer(to)), 1)
}
