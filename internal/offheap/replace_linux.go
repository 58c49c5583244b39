package offheap

import (
	"bytes"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// begin takes addresses for all pieces at once. Pieces that are neighbours there and then in their place become one area of memory for the system, of which
// a process may have some ten thousands only.
func (r *Replacing) begin() error {
	if b, err := os.ReadFile("/sys/kernel/mm/transparent_hugepage/enabled"); err != nil || bytes.Contains(b, []byte("[never]")) {
		return ErrNoHugePages
	}
	size := r.pieces * hugeBytes
	if err := readOnly(uintptr(r.at), uintptr(r.at)+uintptr(size)); err != nil {
		return err
	}
	p, err := unix.MmapPtr(-1, 0, nil, uintptr(size+hugeBytes), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE|unix.MAP_NORESERVE)
	if err != nil {
		return fmt.Errorf("taking addresses for %d bytes: %w", size, err)
	}
	before := int(-uintptr(p) % hugeBytes)
	r.spare, r.ours = unsafe.Add(p, before), slices.Repeat([]bool{true}, r.pieces)
	_ = unmap(p, before) // they would merely stay
	_ = unmap(unsafe.Add(r.spare, size), hugeBytes-before)
	adviseHuge(unsafe.Slice((*byte)(r.spare), size))
	return nil
}

// readOnly finds out whether nobody can write to memory, by what the system says of the process.
func readOnly(first, end uintptr) error {
	maps, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		return err
	}
	for line := range bytes.Lines(maps) {
		var from, to uintptr
		var may string
		if _, err := fmt.Sscanf(string(line), "%x-%x %s", &from, &to, &may); err != nil {
			return fmt.Errorf("/proc/self/maps: %w", err)
		}
		if from < end && first < to && strings.Contains(may, "w") {
			return fmt.Errorf("memory at %#x may be written: it cannot be replaced", max(first, from))
		}
	}
	return nil
}

func (r *Replacing) replace(offset int) error {
	from, to := unsafe.Add(r.at, offset), unsafe.Add(r.spare, offset)
	piece := unsafe.Slice((*byte)(to), hugeBytes)
	if !takesHuge(piece) {
		discard(piece)
		return ErrNoHugePages
	}
	copy(piece, unsafe.Slice((*byte)(from), hugeBytes))
	if err := unix.Mprotect(piece, unix.PROT_READ); err != nil {
		return fmt.Errorf("protecting a huge page: %w", err)
	}
	// The place changes from one page to the other at once: whoever reads it waits, if need be, for the system to be done.
	if _, err := unix.MremapPtr(to, hugeBytes, from, hugeBytes, unix.MREMAP_MAYMOVE|unix.MREMAP_FIXED); err != nil {
		return fmt.Errorf("moving a huge page: %w", err)
	}
	return nil
}

// takesHuge writes to some pages of b, which are untouched, and reports whether the first write brought in more than one of them. That is seen by the
// faults that the thread has taken: its own matters cost a few.
func takesHuge(b []byte) bool {
	const touches = 64
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var before, after unix.Rusage
	if unix.Getrusage(unix.RUSAGE_THREAD, &before) != nil {
		return false
	}
	for i := range touches {
		b[i*len(b)/touches] = 0
	}
	return unix.Getrusage(unix.RUSAGE_THREAD, &after) == nil && after.Minflt-before.Minflt < touches
}
