package offheap

import "golang.org/x/sys/unix"

// adviseHuge asks for huge pages. Without them everything is the same, and slower.
func adviseHuge(b []byte) { _ = unix.Madvise(b, unix.MADV_HUGEPAGE) }

// collapse makes the pages of b huge at once. A kernel that cannot (before 6.1) does it in its own time.
func collapse(b []byte) {
	if unix.Madvise(b, unix.MADV_COLLAPSE) != nil {
		adviseHuge(b)
	}
}

// discard cannot fail on memory that is ours; if it did, the pages would merely stay.
func discard(b []byte) { _ = unix.Madvise(b, unix.MADV_DONTNEED) }
