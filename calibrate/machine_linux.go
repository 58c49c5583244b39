package calibrate

import (
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

func machineMemory() (int64, error) {
	var info unix.Sysinfo_t
	if err := unix.Sysinfo(&info); err != nil {
		return 0, err
	}
	return int64(info.Totalram) * int64(info.Unit), nil
}

func bootID() (string, error) {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	return strings.TrimSpace(string(b)), err
}

// cpuList is the processors that this process may use, in ranges.
func cpuList() string {
	var set unix.CPUSet
	if err := unix.SchedGetaffinity(0, &set); err != nil {
		return ""
	}
	const most = 1024 // that a CPUSet holds
	var parts []string
	for cpu := 0; cpu < most; cpu++ {
		if !set.IsSet(cpu) {
			continue
		}
		last := cpu
		for last+1 < most && set.IsSet(last+1) {
			last++
		}
		if last > cpu {
			parts = append(parts, fmt.Sprintf("%d-%d", cpu, last))
		} else {
			parts = append(parts, fmt.Sprint(cpu))
		}
		cpu = last
	}
	return strings.Join(parts, ",")
}
