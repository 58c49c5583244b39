package resident

import (
	"fmt"
	"os"
)

func bytes() (int64, error) {
	b, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0, err
	}
	var size, resident int64 // pages
	if _, err := fmt.Sscan(string(b), &size, &resident); err != nil {
		return 0, fmt.Errorf("/proc/self/statm: %q: %w", b, err)
	}
	return resident * int64(os.Getpagesize()), nil
}
