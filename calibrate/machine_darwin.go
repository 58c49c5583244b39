package calibrate

import "golang.org/x/sys/unix"

func machineMemory() (int64, error) {
	n, err := unix.SysctlUint64("hw.memsize")
	return int64(n), err
}

func bootID() (string, error) { return unix.Sysctl("kern.bootsessionuuid") }

// cpuList is not told by macOS: every process may use all.
func cpuList() string { return "" }
