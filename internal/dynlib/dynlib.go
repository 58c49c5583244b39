// Package dynlib loads shared libraries so that a failure always says why.
package dynlib

import (
	"fmt"
	"runtime"
	"strings"

	"github.com/ebitengine/purego"
)

// Open loads the library at path, with dlopen's mode, and returns its handle. An error names the path.
func Open(path string, mode int) (uintptr, error) {
	// The reason is fetched by a second call, dlerror, which knows only of the calls of its own thread.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	handle, err := purego.Dlopen(path, mode)
	switch {
	case err == nil:
		return handle, nil
	case !strings.Contains(err.Error(), path):
		return 0, fmt.Errorf("%s: %w", path, err)
	}
	return 0, err
}
