// Package compiled keeps the directories small in which compiled kernels lie from one start of the program to the next.
package compiled

import (
	"os"
	"path/filepath"
	"time"
)

// unused is how long a file may lie without being asked for: each version of a kernel's text has one of its own, which nobody asks for after the next.
const unused = 60 * 24 * time.Hour

// Dir is the directory of a kind of GPU, in the user's cache or, without one, where temporary files are. It may not exist.
func Dir(kind string) string {
	dir, err := os.UserCacheDir()
	if err != nil {
		dir = os.TempDir()
	}
	return filepath.Join(dir, "orrery", kind)
}

// Used notes that a file is in use. That it cannot be noted has it compiled again some day.
func Used(path string) {
	now := time.Now()
	_ = os.Chtimes(path, now, now)
}

// Trim removes what nobody has used for long from a directory. What cannot be removed stays; who has a file open keeps it.
func Trim(dir string) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return
	}
	for _, e := range entries {
		if info, err := e.Info(); err == nil && info.Mode().IsRegular() && time.Since(info.ModTime()) > unused {
			_ = os.Remove(filepath.Join(dir, e.Name()))
		}
	}
}
