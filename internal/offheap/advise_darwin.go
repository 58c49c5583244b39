package offheap

import "golang.org/x/sys/unix"

// adviseHuge does nothing: macOS has no huge pages to ask for.
func adviseHuge([]byte) {}

func collapse([]byte) {}

// discard lets the system take the pages when it needs them. Those that it has not taken keep what they
// held, so they are cleared first.
func discard(b []byte) {
	clear(b)
	_ = unix.Madvise(b, unix.MADV_FREE)
}
