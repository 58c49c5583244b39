package metal

import "unsafe"

// The classes and protocols whose messages are sent, named as Apple does. Each method sends one message; selectors.tsv says what it must look like.
type (
	nsObject                 struct{ object }
	nsString                 struct{ object }
	nsError                  struct{ object }
	nsProcessInfo            struct{ object }
	mtlDevice                struct{ object }
	mtlCompileOptions        struct{ object }
	mtlLibrary               struct{ object }
	mtlComputePipelineState  struct{ object }
	mtlBuffer                struct{ object }
	mtlSharedEvent           struct{ object }
	mtlCommandQueue          struct{ object }
	mtlCommandBuffer         struct{ object }
	mtlCommandEncoder        struct{ object }
	mtlComputeCommandEncoder struct{ object }
)

// mtlSize is MTLSize.
type mtlSize struct{ width, height, depth uint64 }

// nsOperatingSystemVersion is NSOperatingSystemVersion.
type nsOperatingSystemVersion struct{ major, minor, patch int64 }

var (
	selAlloc, selInit, selRetain, selRelease = register("alloc"), register("init"), register("retain"), register("release")

	selInitWithUTF8String, selUTF8String = register("initWithUTF8String:"), register("UTF8String")
	selLocalizedDescription, selCode     = register("localizedDescription"), register("code")
	selProcessInfo                       = register("processInfo")
	selIsAtLeast                         = register("isOperatingSystemAtLeastVersion:")

	selName, selSupportsFamily                = register("name"), register("supportsFamily:")
	selMaxWorkingSet                          = register("recommendedMaxWorkingSetSize")
	selMaxThreadgroupMemory, selMaxBuffer     = register("maxThreadgroupMemoryLength"), register("maxBufferLength")
	selNewLibrary                             = register("newLibraryWithSource:options:error:")
	selNewPipeline                            = register("newComputePipelineStateWithFunction:error:")
	selNewBuffer                              = register("newBufferWithLength:options:")
	selNewBufferNoCopy                        = register("newBufferWithBytesNoCopy:length:options:deallocator:")
	selNewSharedEvent, selNewQueue            = register("newSharedEvent"), register("newCommandQueueWithMaxCommandBufferCount:")
	selSetLanguageVersion, selSetFastMath     = register("setLanguageVersion:"), register("setFastMathEnabled:")
	selNewFunction                            = register("newFunctionWithName:")
	selMaxThreads, selWidth                   = register("maxTotalThreadsPerThreadgroup"), register("threadExecutionWidth")
	selStaticMemory                           = register("staticThreadgroupMemoryLength")
	selContents, selGPUAddress                = register("contents"), register("gpuAddress")
	selUseResources                           = register("useResources:count:usage:")
	selSignaledValue, selSetSignaledValue     = register("signaledValue"), register("setSignaledValue:")
	selCommandBuffer                          = register("commandBuffer")
	selComputeEncoder                         = register("computeCommandEncoder")
	selEncodeSignal, selEncodeWait            = register("encodeSignalEvent:value:"), register("encodeWaitForEvent:value:")
	selCommit, selStatus, selError            = register("commit"), register("status"), register("error")
	selGPUStartTime, selGPUEndTime            = register("GPUStartTime"), register("GPUEndTime")
	selSetPipeline, selSetBuffer, selSetBytes = register("setComputePipelineState:"), register("setBuffer:offset:atIndex:"), register("setBytes:length:atIndex:")
	selSetThreadgroupMemory                   = register("setThreadgroupMemoryLength:atIndex:")
	selDispatch                               = register("dispatchThreadgroups:threadsPerThreadgroup:")
	selDispatchIndirect                       = register("dispatchThreadgroupsWithIndirectBuffer:indirectBufferOffset:threadsPerThreadgroup:")
	selEndEncoding                            = register("endEncoding")
)

// alloc is sent to a class.
func (o nsObject) alloc() object  { return send(o.object, selAlloc).object() }
func (o nsObject) init() object   { return send(o.object, selInit).object() }
func (o nsObject) retain() object { return send(o.object, selRetain).object() }
func (o nsObject) release()       { send(o.object, selRelease).void() }

func (o nsString) initWithUTF8String(s *byte) nsString {
	return nsString{send(o.object, selInitWithUTF8String, pointer(unsafe.Pointer(s))).object()}
}
func (o nsString) utf8String() unsafe.Pointer { return send(o.object, selUTF8String).pointer() }

func (o nsError) localizedDescription() nsString {
	return nsString{send(o.object, selLocalizedDescription).object()}
}
func (o nsError) code() int { return int(send(o.object, selCode).integer()) }

// processInfo is sent to the class.
func (o nsProcessInfo) processInfo() nsProcessInfo {
	return nsProcessInfo{send(o.object, selProcessInfo).object()}
}
func (o nsProcessInfo) isAtLeast(v *nsOperatingSystemVersion) bool {
	return send(o.object, selIsAtLeast, structure(unsafe.Pointer(v))).boolean()
}

func (o mtlDevice) name() nsString { return nsString{send(o.object, selName).object()} }
func (o mtlDevice) supportsFamily(family int) bool {
	return send(o.object, selSupportsFamily, integer(family)).boolean()
}
func (o mtlDevice) maxWorkingSet() uint64 { return send(o.object, selMaxWorkingSet).integer() }
func (o mtlDevice) maxThreadgroupMemory() uint64 {
	return send(o.object, selMaxThreadgroupMemory).integer()
}
func (o mtlDevice) maxBuffer() uint64 { return send(o.object, selMaxBuffer).integer() }
func (o mtlDevice) newLibrary(source nsString, options mtlCompileOptions, failure *object) mtlLibrary {
	return mtlLibrary{send(o.object, selNewLibrary, word(source.object), word(options.object), pointer(unsafe.Pointer(failure))).object()}
}
func (o mtlDevice) newPipeline(function object, failure *object) mtlComputePipelineState {
	return mtlComputePipelineState{send(o.object, selNewPipeline, word(function), pointer(unsafe.Pointer(failure))).object()}
}
func (o mtlDevice) newBuffer(length, options uint64) mtlBuffer {
	return mtlBuffer{send(o.object, selNewBuffer, integer(length), integer(options)).object()}
}

// newBufferNoCopy has no deallocator: the memory is the caller's.
func (o mtlDevice) newBufferNoCopy(p unsafe.Pointer, length, options uint64) mtlBuffer {
	return mtlBuffer{send(o.object, selNewBufferNoCopy, pointer(p), integer(length), integer(options), block()).object()}
}
func (o mtlDevice) newSharedEvent() mtlSharedEvent {
	return mtlSharedEvent{send(o.object, selNewSharedEvent).object()}
}
func (o mtlDevice) newQueue(most uint64) mtlCommandQueue {
	return mtlCommandQueue{send(o.object, selNewQueue, integer(most)).object()}
}

func (o mtlCompileOptions) setLanguageVersion(v uint64) {
	send(o.object, selSetLanguageVersion, integer(v)).void()
}
func (o mtlCompileOptions) setFastMath(b bool) { send(o.object, selSetFastMath, boolean(b)).void() }

func (o mtlLibrary) newFunction(name nsString) object {
	return send(o.object, selNewFunction, word(name.object)).object()
}

func (o mtlComputePipelineState) maxThreads() uint64 { return send(o.object, selMaxThreads).integer() }
func (o mtlComputePipelineState) width() uint64      { return send(o.object, selWidth).integer() }
func (o mtlComputePipelineState) staticMemory() uint64 {
	return send(o.object, selStaticMemory).integer()
}

func (o mtlBuffer) contents() unsafe.Pointer { return send(o.object, selContents).pointer() }
func (o mtlBuffer) gpuAddress() uint64       { return send(o.object, selGPUAddress).integer() }

func (o mtlSharedEvent) signaledValue() uint64 { return send(o.object, selSignaledValue).integer() }
func (o mtlSharedEvent) setSignaledValue(v uint64) {
	send(o.object, selSetSignaledValue, integer(v)).void()
}

func (o mtlCommandQueue) commandBuffer() mtlCommandBuffer {
	return mtlCommandBuffer{send(o.object, selCommandBuffer).object()}
}

func (o mtlCommandBuffer) computeEncoder() mtlComputeCommandEncoder {
	return mtlComputeCommandEncoder{send(o.object, selComputeEncoder).object()}
}
func (o mtlCommandBuffer) encodeSignal(e mtlSharedEvent, v uint64) {
	send(o.object, selEncodeSignal, word(e.object), integer(v)).void()
}
func (o mtlCommandBuffer) encodeWait(e mtlSharedEvent, v uint64) {
	send(o.object, selEncodeWait, word(e.object), integer(v)).void()
}
func (o mtlCommandBuffer) commit()           { send(o.object, selCommit).void() }
func (o mtlCommandBuffer) status() uint64    { return send(o.object, selStatus).integer() }
func (o mtlCommandBuffer) failure() nsError  { return nsError{send(o.object, selError).object()} }
func (o mtlCommandBuffer) gpuStart() float64 { return sendFloat(o.object, selGPUStartTime) }
func (o mtlCommandBuffer) gpuEnd() float64   { return sendFloat(o.object, selGPUEndTime) }

func (o mtlComputeCommandEncoder) setPipeline(p mtlComputePipelineState) {
	send(o.object, selSetPipeline, word(p.object)).void()
}
func (o mtlComputeCommandEncoder) setBuffer(b mtlBuffer, offset uint64, index int) {
	send(o.object, selSetBuffer, word(b.object), integer(offset), integer(index)).void()
}
func (o mtlComputeCommandEncoder) setBytes(p unsafe.Pointer, length, index int) {
	send(o.object, selSetBytes, pointer(p), integer(length), integer(index)).void()
}
func (o mtlComputeCommandEncoder) useResources(list *object, count int, usage uint64) {
	send(o.object, selUseResources, pointer(unsafe.Pointer(list)), integer(count), integer(usage)).void()
}
func (o mtlComputeCommandEncoder) setThreadgroupMemory(length uint64, index int) {
	send(o.object, selSetThreadgroupMemory, integer(length), integer(index)).void()
}
func (o mtlComputeCommandEncoder) dispatch(groups, threads *mtlSize) {
	send(o.object, selDispatch, structure(unsafe.Pointer(groups)), structure(unsafe.Pointer(threads))).void()
}
func (o mtlComputeCommandEncoder) dispatchIndirect(b mtlBuffer, offset uint64, threads *mtlSize) {
	send(o.object, selDispatchIndirect, word(b.object), integer(offset), structure(unsafe.Pointer(threads))).void()
}
func (o mtlCommandEncoder) endEncoding() { send(o.object, selEndEncoding).void() }
