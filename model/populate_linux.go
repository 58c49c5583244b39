package model

import "golang.org/x/sys/unix"

// populate maps every page of b, which begins at one, reading what is not in memory. It fails on a system
// older than Linux 5.14.
func populate(b []byte) error { return unix.Madvise(b, unix.MADV_POPULATE_READ) }
