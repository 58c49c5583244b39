package cluster

import "fmt"

// AvailableMemory is how many bytes this machine can offer by default. On Linux that is MemAvailable
// of /proc/meminfo, or what the cgroups (v2) of the process leave it if that is less. On macOS, which
// reports nothing of the kind, it is three quarters of the memory: the rest is for the system and
// other programs.
func AvailableMemory() (int64, error) {
	n, err := availableMemory()
	if err != nil {
		return 0, fmt.Errorf("cluster: available memory: %w", err)
	}
	return n, nil
}

// HeldMemory is how many bytes of memory this process holds that the system cannot take back: what its mapped
// files take is not among them. The error is errors.ErrUnsupported where AvailableMemory does not follow what
// programs take either.
func HeldMemory() (int64, error) {
	n, err := heldMemory()
	if err != nil {
		return 0, fmt.Errorf("cluster: held memory: %w", err)
	}
	return n, nil
}
