package main

import (
	"fmt"
	"os"
	"os/exec"
)

func debugSmaps(pid int) {
	if os.Getenv("SMAPS") == "" {
		return
	}
	c := exec.Command("python3", "/tmp/w/bench/smaps.py", fmt.Sprint(pid))
	c.Stderr, c.Stdout = os.Stderr, os.Stderr
	_ = c.Run()
}
