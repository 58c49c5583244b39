//go:build linux

package cuda

import (
	"fmt"
	"runtime"
	"sync"
	"unsafe"

	"github.com/ebitengine/purego"
)

// library is a shared library, with the functions that are called.
type library struct {
	name   string
	handle uintptr
}

// symbols resolves functions by name.
func (l *library) symbols(at map[string]*uintptr) error {
	for name, p := range at {
		address, err := purego.Dlsym(l.handle, name)
		if err != nil {
			return fmt.Errorf("%s has no %s: it is too old", l.name, name)
		}
		*p = address
	}
	return nil
}

// cString is s as C has it.
func cString(s string) []byte { return append([]byte(s), 0) }

// goString copies what a C pointer points to.
func goString(p uintptr) string {
	if p == 0 {
		return ""
	}
	base := *(*unsafe.Pointer)(unsafe.Pointer(&p))
	n := 0
	for *(*byte)(unsafe.Add(base, n)) != 0 {
		n++
	}
	return string(unsafe.Slice((*byte)(base), n))
}

// call calls a C function with integers and pointers; pointers are converted in the call itself, so that what they point to stays
// where it is. It allocates.
//
//go:uintptrescapes
func call(f uintptr, args ...uintptr) int32 {
	r, _, _ := purego.SyscallN(f, args...)
	runtime.KeepAlive(args)
	return int32(r)
}

// words are the arguments of one call4, which would be allocated at each call if they were not kept: SyscallN lets them escape.
var words = sync.Pool{New: func() any { return new([4]uintptr) }}

// call4 is call of a function of up to four arguments, and allocates nothing. What a function has no argument for it does not look at.
//
//go:uintptrescapes
func call4(f, a, b, c, d uintptr) int32 {
	w := words.Get().(*[4]uintptr)
	*w = [4]uintptr{a, b, c, d}
	r, _, _ := purego.SyscallN(f, w[:]...)
	words.Put(w)
	return int32(r)
}
