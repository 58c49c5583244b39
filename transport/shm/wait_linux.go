package shm

import (
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Operations of futex(2), on words that processes share.
const (
	futexWait = 0
	futexWake = 1
)

// sleepOn lets the thread sleep while the word has a value, but no longer than most.
func sleepOn(word *atomic.Uint32, value uint32, most time.Duration) {
	limit := unix.NsecToTimespec(int64(most))
	unix.Syscall6(unix.SYS_FUTEX, uintptr(unsafe.Pointer(word)), futexWait, uintptr(value), uintptr(unsafe.Pointer(&limit)), 0, 0)
}

// wakeOn wakes who sleeps on the word.
func wakeOn(word *atomic.Uint32) {
	unix.RawSyscall6(unix.SYS_FUTEX, uintptr(unsafe.Pointer(word)), futexWake, 1, 0, 0, 0)
}
