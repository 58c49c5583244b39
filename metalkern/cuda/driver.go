//go:build linux

package cuda

import (
	"fmt"
	"runtime"
	"unsafe"

	"github.com/ebitengine/purego"

	"github.com/orrery-ai/orrery/metalkern/gpu"
)

// leastDriver is the oldest driver that is used, in the driver's numbering: that of CUDA 11.8.
const leastDriver = 11080

// driver is libcuda.
type driver struct {
	library

	init, driverVersion, errorName, errorText                                     uintptr
	deviceCount, deviceGet, deviceName, deviceAttribute, deviceMemory, memoryInfo uintptr
	contextRetain, contextRelease, contextSet                                     uintptr
	memAlloc, memFree, hostAlloc, hostFree, hostAddress                           uintptr
	hostRegister, hostUnregister                                                  uintptr
	copyTo, copyFrom, copyWithin                                                  uintptr
	moduleLoad, moduleUnload, moduleFunction, functionSet                         uintptr
	launch                                                                        uintptr
	streamCreate, streamDestroy, streamQuery, streamWait, streamWrite             uintptr
	eventCreate, eventDestroy, eventRecord, eventElapsed, eventQuery              uintptr
	graphCreate, graphDestroy, graphAddKernel, graphInstantiate                   uintptr
	graphExecDestroy, graphSetKernel, graphLaunch                                 uintptr

	tensorMap uintptr // 0 before CUDA 12
	dependentDriver
}

// status is a CUresult.
type status int32

const (
	success  status = 0
	notReady status = 600
)

func openDriver() (*driver, error) {
	const name = "libcuda.so.1"
	handle, err := purego.Dlopen(name, purego.RTLD_NOW|purego.RTLD_GLOBAL)
	if err != nil {
		return nil, &gpu.UnavailableError{Kind: "cuda", Reason: "there is no " + name + ", NVIDIA's driver"}
	}
	d := &driver{library: library{name, handle}}
	keepStreamsApart()
	if err := d.symbols(map[string]*uintptr{
		"cuInit": &d.init, "cuDriverGetVersion": &d.driverVersion, "cuGetErrorName": &d.errorName, "cuGetErrorString": &d.errorText,
		"cuDeviceGetCount": &d.deviceCount, "cuDeviceGet": &d.deviceGet, "cuDeviceGetName": &d.deviceName, "cuDeviceGetAttribute": &d.deviceAttribute, "cuDeviceTotalMem_v2": &d.deviceMemory, "cuMemGetInfo_v2": &d.memoryInfo,
		"cuDevicePrimaryCtxRetain": &d.contextRetain, "cuDevicePrimaryCtxRelease_v2": &d.contextRelease, "cuCtxSetCurrent": &d.contextSet,
		"cuMemAlloc_v2": &d.memAlloc, "cuMemFree_v2": &d.memFree, "cuMemHostAlloc": &d.hostAlloc, "cuMemFreeHost": &d.hostFree, "cuMemHostGetDevicePointer_v2": &d.hostAddress,
		"cuMemHostRegister_v2": &d.hostRegister, "cuMemHostUnregister": &d.hostUnregister,
		"cuMemcpyHtoDAsync_v2": &d.copyTo, "cuMemcpyDtoHAsync_v2": &d.copyFrom, "cuMemcpyDtoDAsync_v2": &d.copyWithin,
		"cuModuleLoadData": &d.moduleLoad, "cuModuleUnload": &d.moduleUnload, "cuModuleGetFunction": &d.moduleFunction, "cuFuncSetAttribute": &d.functionSet,
		"cuLaunchKernel": &d.launch, "cuStreamCreate": &d.streamCreate, "cuStreamDestroy_v2": &d.streamDestroy, "cuStreamQuery": &d.streamQuery,
		"cuStreamWaitValue64_v2": &d.streamWait, "cuStreamWriteValue64_v2": &d.streamWrite,
		"cuEventCreate": &d.eventCreate, "cuEventDestroy_v2": &d.eventDestroy, "cuEventRecord": &d.eventRecord, "cuEventElapsedTime": &d.eventElapsed, "cuEventQuery": &d.eventQuery,
		"cuGraphCreate": &d.graphCreate, "cuGraphDestroy": &d.graphDestroy, "cuGraphAddKernelNode": &d.graphAddKernel, "cuGraphInstantiateWithFlags": &d.graphInstantiate,
		"cuGraphExecDestroy": &d.graphExecDestroy, "cuGraphExecKernelNodeSetParams": &d.graphSetKernel, "cuGraphLaunch": &d.graphLaunch,
	}); err != nil {
		return nil, &gpu.UnavailableError{Kind: "cuda", Reason: err.Error()}
	}
	d.tensorMap, _ = purego.Dlsym(handle, "cuTensorMapEncodeTiled")
	d.dependentDriver = findDependent(handle)
	if r := call(d.init, 0); r != 0 {
		return nil, &gpu.UnavailableError{Kind: "cuda", Reason: "the driver does not start: " + d.describe(status(r))}
	}
	var version int32
	if call(d.driverVersion, uintptr(unsafe.Pointer(&version))) != 0 || version < leastDriver {
		return nil, &gpu.UnavailableError{Kind: "cuda", Reason: fmt.Sprintf("the driver is for CUDA %d.%d; 11.8 or later is needed", version/1000, version%1000/10)}
	}
	return d, nil
}

// keepStreamsApart asks the driver, before it starts, for what launches that wait for messages need: that streams do not share queues of the GPU, in
// which one would wait for another, and that kernels are loaded when their modules are, not at their first launch, for which the GPU
// would have to become idle. What the environment says already stays.
func keepStreamsApart() {
	libc, err := purego.Dlopen("libc.so.6", purego.RTLD_NOW)
	if err != nil {
		return // another C library; the driver needs this one
	}
	set, err := purego.Dlsym(libc, "setenv")
	if err != nil {
		return
	}
	for name, value := range map[string]string{"CUDA_DEVICE_MAX_CONNECTIONS": "32", "CUDA_MODULE_LOADING": "EAGER"} {
		n, v := cString(name), cString(value)
		call(set, uintptr(unsafe.Pointer(&n[0])), uintptr(unsafe.Pointer(&v[0])), 0)
	}
}

// describe is what the driver says of a status.
func (d *driver) describe(s status) string {
	var name, text uintptr
	call(d.errorName, uintptr(s), uintptr(unsafe.Pointer(&name)))
	call(d.errorText, uintptr(s), uintptr(unsafe.Pointer(&text)))
	if name == 0 {
		return fmt.Sprintf("error %d", s)
	}
	return goString(name) + ", " + goString(text)
}

// check turns what a function of the driver returned into an error.
func (d *driver) check(what string, r int32) error {
	if status(r) == success {
		return nil
	}
	return fmt.Errorf("cuda: %s: %s", what, d.describe(status(r)))
}

// current makes the context that of this thread, which stays the goroutine's until release.
func (h *Host) current() (release func()) {
	runtime.LockOSThread()
	call4(h.driver.contextSet, h.context, 0, 0, 0)
	return runtime.UnlockOSThread
}
