package cluster

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strconv"
	"strings"
)

func availableMemory() (int64, error) { return availableIn(os.DirFS("/")) }

// availableIn reads /proc and /sys below root.
func availableIn(root fs.FS) (int64, error) {
	kib, err := field(root, "proc/meminfo", "MemAvailable:")
	if err != nil {
		return 0, err
	}
	free := kib * 1024
	// A limit holds for everything below the cgroup that has it, so those above count too.
	for dir := cgroupDir(root); ; dir = path.Dir(dir) {
		left, limited, err := cgroupLeft(root, dir)
		if err != nil {
			return 0, err
		}
		if limited {
			free = min(free, left)
		}
		if dir == cgroupRoot {
			return free, nil
		}
	}
}

func heldMemory() (int64, error) { return heldIn(os.DirFS("/")) }

// heldIn reads /proc below root: of the pages that are resident, those that no file is behind.
func heldIn(root fs.FS) (int64, error) {
	const name = "proc/self/statm"
	b, err := fs.ReadFile(root, name)
	if err != nil {
		return 0, err
	}
	f := strings.Fields(string(b))
	if len(f) < 3 {
		return 0, fmt.Errorf("%s: %q has fewer than 3 fields", name, b)
	}
	resident, err := number(name+": resident", f[1])
	if err != nil {
		return 0, err
	}
	shared, err := number(name+": shared", f[2])
	if err != nil {
		return 0, err
	}
	return max(0, resident-shared) * int64(os.Getpagesize()), nil
}

const cgroupRoot = "sys/fs/cgroup"

// cgroupDir is where the v2 cgroup of this process is mounted; without one, the root of the mount.
func cgroupDir(root fs.FS) string {
	b, err := fs.ReadFile(root, "proc/self/cgroup")
	if err != nil {
		return cgroupRoot
	}
	for line := range strings.Lines(string(b)) {
		if p, ok := strings.CutPrefix(strings.TrimSpace(line), "0::"); ok {
			return path.Join(cgroupRoot, path.Clean("/"+p))
		}
	}
	return cgroupRoot
}

// cgroupLeft is what one cgroup's limit leaves: its pages of files that are not in use can be taken
// back, so they count as free.
func cgroupLeft(root fs.FS, dir string) (left int64, limited bool, err error) {
	limit, err := fs.ReadFile(root, path.Join(dir, "memory.max"))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return 0, false, nil // the root has no limit; nor has a machine without cgroups v2
	case err != nil:
		return 0, false, err
	case string(bytes.TrimSpace(limit)) == "max":
		return 0, false, nil
	}
	most, err := number(path.Join(dir, "memory.max"), string(limit))
	if err != nil {
		return 0, false, err
	}
	b, err := fs.ReadFile(root, path.Join(dir, "memory.current"))
	if err != nil {
		return 0, false, err
	}
	used, err := number(path.Join(dir, "memory.current"), string(b))
	if err != nil {
		return 0, false, err
	}
	idle, err := field(root, path.Join(dir, "memory.stat"), "inactive_file")
	if err != nil {
		return 0, false, err
	}
	return max(0, min(most, most-used+idle)), true, nil
}

// field is the number after the given word at the beginning of a line.
func field(root fs.FS, name, word string) (int64, error) {
	f, err := root.Open(name)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		if w := strings.Fields(lines.Text()); len(w) >= 2 && w[0] == word {
			return number(name+": "+word, w[1])
		}
	}
	if err := lines.Err(); err != nil {
		return 0, fmt.Errorf("%s: %w", name, err)
	}
	return 0, fmt.Errorf("%s has no line %q", name, word)
}

func number(name, s string) (int64, error) {
	n, err := strconv.ParseInt(strings.TrimSpace(s), 10, 64)
	if err != nil || n < 0 {
		return 0, fmt.Errorf("%s: %q is not a number of bytes", name, s)
	}
	return n, nil
}
