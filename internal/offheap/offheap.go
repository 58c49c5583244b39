// Package offheap takes memory from the operating system for what is large, and gives it back at once
// when it is no longer needed. The garbage collector knows nothing of it: it neither scans it nor lets the
// heap grow in proportion to it, so a process takes what it was promised and not up to twice as much.
//
// Memory that was freed must not be touched: unlike a slice of the heap it is gone, and the program ends
// with a fault. Whoever maps it says in its own documentation who frees it and when.
package offheap

import (
	"fmt"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

var page = os.Getpagesize()

// hugeBytes is the size of a huge page where there are such.
const hugeBytes = 2 << 20

// Map takes n bytes, all zero. A page takes memory from when it is first written.
func Map(n int) ([]byte, error) {
	if n <= 0 {
		return nil, nil
	}
	p, err := anonymous(roundUp(n))
	if err != nil {
		return nil, fmt.Errorf("taking %d bytes of memory: %w", n, err)
	}
	return unsafe.Slice((*byte)(p), n), nil
}

// MapHuge is Map for memory that will all be used, and read often. From 2 MiB on it is made of huge pages,
// where the system has them for who asks: reading takes fewer of the processor's address translations. A
// huge page takes its memory at once.
func MapHuge(n int) ([]byte, error) {
	if n < hugeBytes {
		return Map(n)
	}
	b, err := mapAligned(n)
	if err == nil {
		adviseHuge(b)
	}
	return b, err
}

// mapAligned is Map of memory that begins at a huge page.
func mapAligned(n int) ([]byte, error) {
	size := roundUp(n)
	p, err := anonymous(size + hugeBytes)
	if err != nil {
		return nil, fmt.Errorf("taking %d bytes of memory: %w", n, err)
	}
	before := int(-uintptr(p) % hugeBytes) // what is cut off so that it begins at a huge page
	if err := unmap(p, before); err != nil {
		return nil, err
	}
	p = unsafe.Add(p, before)
	if err := unmap(unsafe.Add(p, size), hugeBytes-before); err != nil {
		return nil, err
	}
	return unsafe.Slice((*byte)(p), n), nil
}

// Unmap gives back what Map or MapHuge took. It panics if b is not that: the memory of something else would be gone.
func Unmap(b []byte) {
	if len(b) == 0 {
		return
	}
	if err := unmap(unsafe.Pointer(unsafe.SliceData(b)), roundUp(len(b))); err != nil {
		panic(fmt.Sprintf("offheap: giving back %d bytes: %v", len(b), err))
	}
}

// Discard gives back the pages that lie wholly in b, a part of what was mapped. They are zero when they are
// touched again.
func Discard(b []byte) {
	if len(b) == 0 {
		return
	}
	p := uintptr(unsafe.Pointer(unsafe.SliceData(b)))
	skip := int(-p % uintptr(page))
	if n := (len(b) - skip) / page * page; n > 0 {
		discard(b[skip : skip+n])
	}
}

func anonymous(n int) (unsafe.Pointer, error) {
	return unix.MmapPtr(-1, 0, nil, uintptr(n), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
}

func unmap(p unsafe.Pointer, n int) error {
	if n == 0 {
		return nil
	}
	return unix.MunmapPtr(p, uintptr(n))
}

func roundUp(n int) int { return (n + page - 1) / page * page }
