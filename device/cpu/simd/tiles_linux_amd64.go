//go:build !noasm

package simd

import "syscall"

// tilesPermitted asks Linux for the state of AMX's tiles, 8 KiB a thread, which a process has to before it uses them; threads that come later have it, too. It is granted where
// processor and kernel have them, so that what the processor says need not be asked. All processors so far that have tiles multiply bytes with them.
// (Documentation/arch/x86/xstate.rst of Linux.)
func tilesPermitted() bool {
	const requestPermission, tileData = 0x1023, 18 // ARCH_REQ_XCOMP_PERM, XFEATURE_XTILE_DATA
	_, _, errno := syscall.RawSyscall(syscall.SYS_ARCH_PRCTL, requestPermission, tileData, 0)
	return errno == 0
}
