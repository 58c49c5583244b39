package metal

import (
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"unsafe"

	"github.com/ebitengine/purego"

	"github.com/orrery-ai/orrery/internal/dynlib"
	"github.com/orrery-ai/orrery/metalkern/gpu"
)

// object is an Objective-C object, or nil.
type object uintptr

// selector is the name of a message, and what the runtime knows it as.
type selector struct {
	name string
	id   uintptr
}

// selectors are all that there are.
var selectors []*selector

// register makes a selector, which load tells the runtime of.
func register(name string) *selector {
	s := &selector{name: name}
	selectors = append(selectors, s)
	return s
}

// symbols are the functions that are called.
var symbols struct {
	send, registerName, getClass, poolPush, poolPop             uintptr
	createDevice                                                uintptr
	matching, matchingService, property, releaseService, number uintptr
	releaseProperty                                             uintptr

	sendFloat func(o object, s uintptr) float64 // the result is in a register of floats, which SyscallN does not return
}

const (
	objc           = "/usr/lib/libobjc.A.dylib"
	foundation     = "/System/Library/Frameworks/Foundation.framework/Foundation"
	coreGraphics   = "/System/Library/Frameworks/CoreGraphics.framework/CoreGraphics"
	coreFoundation = "/System/Library/Frameworks/CoreFoundation.framework/CoreFoundation"
	ioKit          = "/System/Library/Frameworks/IOKit.framework/IOKit"
	framework      = "/System/Library/Frameworks/Metal.framework/Metal"
)

// load finds the runtime and the frameworks, once.
var load = sync.OnceValue(func() error {
	// Without CoreGraphics a program without windows has no default device; Foundation has the strings.
	for _, path := range []string{foundation, coreGraphics} {
		if _, err := dynlib.Open(path, purego.RTLD_NOW|purego.RTLD_GLOBAL); err != nil {
			return &gpu.UnavailableError{Kind: "metal", Reason: err.Error()}
		}
	}
	s := &symbols
	for _, need := range []struct {
		path, name string
		at         *uintptr
	}{
		{objc, "objc_msgSend", &s.send}, {objc, "sel_registerName", &s.registerName}, {objc, "objc_getClass", &s.getClass},
		{objc, "objc_autoreleasePoolPush", &s.poolPush}, {objc, "objc_autoreleasePoolPop", &s.poolPop},
		{framework, "MTLCreateSystemDefaultDevice", &s.createDevice},
		{ioKit, "IOServiceMatching", &s.matching}, {ioKit, "IOServiceGetMatchingService", &s.matchingService},
		{ioKit, "IORegistryEntryCreateCFProperty", &s.property}, {ioKit, "IOObjectRelease", &s.releaseService},
		{coreFoundation, "CFNumberGetValue", &s.number}, {coreFoundation, "CFRelease", &s.releaseProperty},
	} {
		handle, err := dynlib.Open(need.path, purego.RTLD_NOW|purego.RTLD_GLOBAL)
		if err == nil {
			*need.at, err = purego.Dlsym(handle, need.name)
		}
		if err != nil {
			return &gpu.UnavailableError{Kind: "metal", Reason: fmt.Sprintf("%s is not in %s: %v", need.name, need.path, err)}
		}
	}
	purego.RegisterFunc(&s.sendFloat, s.send)
	for _, sel := range selectors {
		sel.id = call(s.registerName, pointer(unsafe.Pointer(cString(sel.name))))
	}
	return nil
})

// argument is one word that a function takes, with what it points to.
type argument struct {
	word uintptr
	keep unsafe.Pointer
}

// never is false; what pointer does with it makes the compiler put on the heap what is pointed to, where it does not move.
var (
	never   bool
	escaped atomic.Pointer[byte]
)

// pointer is a pointer to memory of Go's or C's.
func pointer(p unsafe.Pointer) argument {
	if never {
		escaped.Store((*byte)(p))
	}
	return argument{uintptr(p), p}
}

// structure is a struct of more than 16 bytes, which arm64 passes as a pointer to a copy, here p itself: the callee may change it.
func structure(p unsafe.Pointer) argument { return pointer(p) }

// word is an object that is passed.
func word(o object) argument { return argument{word: uintptr(o)} }

// integer is an integer, or an enumeration.
func integer[T ~int | ~uint32 | ~uint64](v T) argument { return argument{word: uintptr(v)} }

// boolean is a BOOL.
func boolean(b bool) argument {
	if b {
		return argument{word: 1}
	}
	return argument{}
}

// block is no block.
func block() argument { return argument{} }

const maxWords = 8

// rooms are for the words of one call, which would be allocated at each call if they were not kept: SyscallN lets them escape.
var rooms = sync.Pool{New: func() any { return new([maxWords]uintptr) }}

// call calls a function of C's.
func call(f uintptr, args ...argument) uintptr {
	words := rooms.Get().(*[maxWords]uintptr)
	for i, a := range args {
		words[i] = a.word
	}
	r, _, _ := purego.SyscallN(f, words[:len(args)]...)
	rooms.Put(words)
	runtime.KeepAlive(args)
	return r
}

// result is what a message returned.
type result uintptr

// send sends a message.
func send(o object, s *selector, args ...argument) result {
	words := rooms.Get().(*[maxWords]uintptr)
	words[0], words[1] = uintptr(o), s.id
	for i, a := range args {
		words[2+i] = a.word
	}
	r, _, _ := purego.SyscallN(symbols.send, words[:2+len(args)]...)
	rooms.Put(words)
	runtime.KeepAlive(args)
	return result(r)
}

// sendFloat sends a message that takes nothing and returns a double.
func sendFloat(o object, s *selector) float64 { return symbols.sendFloat(o, s.id) }

func (r result) void()           {}
func (r result) object() object  { return object(r) }
func (r result) integer() uint64 { return uint64(r) }

// boolean is a BOOL, of which only the low byte is defined.
func (r result) boolean() bool { return r&0xff != 0 }

// pointer is memory of C's. The conversion by way of memory is what vet accepts for those.
func (r result) pointer() unsafe.Pointer { return *(*unsafe.Pointer)(unsafe.Pointer(&r)) }

// cString is s as C has it.
func cString(s string) *byte { return &append([]byte(s), 0)[0] }

// goString copies what a C pointer points to.
func goString(p unsafe.Pointer) string {
	if p == nil {
		return ""
	}
	n := 0
	for *(*byte)(unsafe.Add(p, n)) != 0 {
		n++
	}
	return string(unsafe.Slice((*byte)(p), n))
}

// class is a class, which must exist.
func class(name string) object {
	return object(call(symbols.getClass, pointer(unsafe.Pointer(cString(name)))))
}

// pooled runs f with a pool for the objects that are returned without being owned. Pools belong to a thread, so the goroutine stays on its own.
func pooled(f func()) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	pool := call(symbols.poolPush)
	defer call(symbols.poolPop, argument{word: pool})
	f()
}
