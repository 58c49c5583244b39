package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

func TestAPinnedNodeHasAllItsThreadsOnOneProcessor(t *testing.T) {
	n := startNode(t, "a", "--cpus", "0")
	status, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", n.cmd.Process.Pid))
	if err != nil || len(status) == 0 {
		t.Fatal(status, err)
	}
	for _, path := range status {
		b, err := os.ReadFile(path)
		if errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.ESRCH) {
			continue // the thread has ended, before it was opened or before it was read
		}
		if err != nil {
			t.Fatal(err)
		}
		_, list, _ := strings.Cut(string(b), "Cpus_allowed_list:\t")
		if list, _, _ = strings.Cut(list, "\n"); list != "0" {
			t.Errorf("%s: it may run on %s", path, list)
		}
	}
}
