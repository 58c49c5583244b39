package offheap

import "golang.org/x/sys/unix"

// adviseHuge asks for huge pages. Without them everything is the same, and slower.
func adviseHuge(b []byte) { _ = unix.Madvise(b, unix.MADV_HUGEPAGE) }

// discard cannot fail on memory that is ours; if it did, the pages would merely stay.
func discard(b []byte) { _ = unix.Madvise(b, unix.MADV_DONTNEED) }
