package main

import (
	"fmt"
	"syscall"
)

// peak is the most memory that a process has had resident, in bytes. macOS tells only of one that has ended,
// so it is stopped.
func (p *process) peak() (int64, error) {
	p.stop()
	usage, ok := p.cmd.ProcessState.SysUsage().(*syscall.Rusage)
	if !ok {
		return 0, fmt.Errorf("node %s: what it used is not known", p.Name)
	}
	return usage.Maxrss, nil
}
