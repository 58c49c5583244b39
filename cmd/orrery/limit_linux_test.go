package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// memoryGroup is a cgroup whose processes may not take more than so much memory, for the test.
type memoryGroup struct {
	dir   string
	v2    bool
	limit int64
}

// newMemoryGroup makes one of either version below that of this process, or skips the test.
func newMemoryGroup(t *testing.T, limit int64) *memoryGroup {
	t.Helper()
	own, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		t.Skipf("memory cannot be limited here: %v", err)
	}
	var tried error
	for line := range strings.Lines(string(own)) {
		fields := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(fields) != 3 {
			continue
		}
		g := &memoryGroup{limit: limit}
		switch fields[1] {
		case "memory":
			g.dir = filepath.Join("/sys/fs/cgroup/memory", fields[2])
		case "":
			g.dir, g.v2 = filepath.Join("/sys/fs/cgroup", fields[2]), true
		default:
			continue
		}
		err := g.make()
		if err == nil {
			t.Cleanup(func() { g.remove(t) })
			return g
		}
		tried = errors.Join(tried, err)
	}
	t.Skipf("memory cannot be limited here, which takes the right to make cgroups: %v", tried)
	return nil
}

func (g *memoryGroup) make() error {
	file := "memory.limit_in_bytes"
	if g.v2 {
		file = "memory.max"
	}
	if _, err := os.Stat(filepath.Join(g.dir, "cgroup.procs")); err != nil {
		return err
	}
	g.dir = filepath.Join(g.dir, fmt.Sprintf("orrery-test-%d-%d", os.Getpid(), time.Now().UnixNano()))
	if err := os.Mkdir(g.dir, 0o755); err != nil {
		return err
	}
	err := os.WriteFile(filepath.Join(g.dir, file), []byte(strconv.FormatInt(g.limit, 10)), 0)
	if err == nil && g.v2 {
		// What is over the limit is not to be swapped out, where there is swap at all.
		if off := os.WriteFile(filepath.Join(g.dir, "memory.swap.max"), []byte("0"), 0); off != nil && !errors.Is(off, os.ErrNotExist) {
			err = off
		}
	}
	if err != nil {
		return errors.Join(err, os.Remove(g.dir))
	}
	return nil
}

// remove waits until the last process has been cleared away.
func (g *memoryGroup) remove(t *testing.T) {
	var err error
	for end := time.Now().Add(exitWithin); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if err = os.Remove(g.dir); err == nil {
			return
		}
	}
	t.Error(err)
}

// killed is how many processes were killed for want of memory.
func (g *memoryGroup) killed(t *testing.T) int {
	t.Helper()
	file := "memory.oom_control"
	if g.v2 {
		file = "memory.events"
	}
	b, err := os.ReadFile(filepath.Join(g.dir, file))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		if n, ok := strings.CutPrefix(strings.TrimSpace(line), "oom_kill "); ok {
			killed, err := strconv.Atoi(n)
			if err != nil {
				t.Fatal(err)
			}
			return killed
		}
	}
	return 0 // a system that does not count them
}

// most is the most memory that was taken, or 0 where the system does not tell.
func (g *memoryGroup) most() int64 {
	file := "memory.max_usage_in_bytes"
	if g.v2 {
		file = "memory.peak"
	}
	b, err := os.ReadFile(filepath.Join(g.dir, file))
	if err != nil {
		return 0
	}
	n, _ := strconv.ParseInt(strings.TrimSpace(string(b)), 10, 64)
	return n
}

// command is a program whose process is in the group from its first instruction on. It runs from a copy that is made
// within the group: pages of the original would count for whoever has read them first.
func (g *memoryGroup) command(program, copy string, args ...string) *exec.Cmd {
	const enter = `echo $$ > "$0" && cp "$1" "$2" && shift && exec "$@"`
	return exec.Command("sh", append([]string{"-c", enter, filepath.Join(g.dir, "cgroup.procs"), program, copy}, args...)...)
}
