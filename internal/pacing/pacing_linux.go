package pacing

import (
	"strings"

	"golang.org/x/sys/unix"
)

// Off takes the connection of a descriptor from BBR to Cubic or, where that is not allowed, to Reno. Where
// there is neither, it stays: everything is the same, and slower.
func Off(fd int) {
	if !strings.HasPrefix(control(fd), "bbr") {
		return
	}
	for _, name := range []string{"cubic", "reno"} {
		if unix.SetsockoptString(fd, unix.IPPROTO_TCP, unix.TCP_CONGESTION, name) == nil {
			return
		}
	}
}

// control is the name of a connection's congestion control; empty if fd is none.
func control(fd int) string {
	name, err := unix.GetsockoptString(fd, unix.IPPROTO_TCP, unix.TCP_CONGESTION)
	if err != nil {
		return ""
	}
	return strings.TrimRight(name, "\x00")
}
