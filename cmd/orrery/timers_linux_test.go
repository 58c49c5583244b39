package main

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
)

func TestANodeOnProcessorsHasCoarseTimers(t *testing.T) {
	n := startNode(t, "a")
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/timerslack_ns", n.cmd.Process.Pid))
	if errors.Is(err, os.ErrPermission) || errors.Is(err, os.ErrNotExist) {
		t.Skip("the system does not tell of another process's timers:", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.TrimSpace(string(text)); got != strconv.Itoa(int(timerSlack)) {
		t.Errorf("threads of a node are woken up to %s ns late, want %d", got, timerSlack)
	}
}
