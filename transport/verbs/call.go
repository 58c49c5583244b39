package verbs

import (
	"fmt"
	"runtime"
	"sync"
	"syscall"
	"unsafe"

	"github.com/ebitengine/purego"
)

// Error is a verb that failed.
type Error struct {
	Verb  string // as in C: ibv_reg_mr
	Errno syscall.Errno
}

// Error names the verb and the cause.
func (e *Error) Error() string {
	if e.Errno == 0 {
		return e.Verb + ": failed without a reason"
	}
	return fmt.Sprintf("%s: %v", e.Verb, e.Errno)
}

// Unwrap is the system's error, for errors.Is.
func (e *Error) Unwrap() error { return e.Errno }

// object calls a verb that returns a pointer, or NULL and sets errno. The arguments, and what they point
// to, stay where they are during the call.
//
//go:uintptrescapes
func object(verb string, f uintptr, args ...uintptr) (uintptr, error) {
	runtime.LockOSThread() // errno is the thread's
	defer runtime.UnlockOSThread()
	r, _, errno := purego.SyscallN(f, args...)
	if r == 0 {
		return 0, &Error{verb, lastError(errno)}
	}
	return r, nil
}

// status calls a verb that returns an int, 0 if all is well.
//
//go:uintptrescapes
func status(verb string, f uintptr, args ...uintptr) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	r, _, errno := purego.SyscallN(f, args...)
	if int32(r) == -1 {
		return &Error{verb, lastError(errno)}
	}
	return result(verb, int32(r))
}

// errnoLocation is the C library's function that tells where a thread's errno is. purego tells errno itself on
// macOS, and not on Linux.
var errnoLocation = sync.OnceValue(func() uintptr {
	f, err := purego.Dlsym(purego.RTLD_DEFAULT, "__errno_location")
	if err != nil {
		return 0
	}
	return f
})

// lastError is errno after a call that has failed on this thread.
func lastError(told uintptr) syscall.Errno {
	if f := errnoLocation(); told == 0 && f != 0 {
		p, _, _ := purego.SyscallN(f)
		told = uintptr(*in[int32](p))
	}
	return syscall.Errno(told)
}

// result is the error of a verb that returned r: some return the error number, and some its negative.
func result(verb string, r int32) error {
	if r == 0 {
		return nil
	}
	return &Error{verb, syscall.Errno(max(r, -r))}
}

// in makes a pointer to a structure of the library's. Such memory is not Go's, and does not move.
func in[T any](address uintptr) *T { return *(**T)(unsafe.Pointer(&address)) }

// text is a string of the library's.
func text(address uintptr) string {
	if address == 0 {
		return ""
	}
	n := uintptr(0)
	for *in[byte](address + n) != 0 {
		n++
	}
	return string(unsafe.Slice(in[byte](address), n))
}
