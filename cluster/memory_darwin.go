package cluster

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

func availableMemory() (int64, error) {
	n, err := unix.SysctlUint64("hw.memsize")
	if err != nil {
		return 0, fmt.Errorf("hw.memsize: %w", err)
	}
	return int64(n / 4 * 3), nil
}

func heldMemory() (int64, error) { return 0, errors.ErrUnsupported }
