package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"
)

// tracee is the program.
type tracee struct {
	memory  *os.File
	threads map[int]*thread
}

// thread is one of its threads.
type thread struct {
	tiles   tiles
	asking  bool // it has been stopped before a system call
	started bool // its first stop has been seen
}

// run runs a program to its end: an exit, if that was not with status 0.
func run(program string, arguments []string) error {
	runtime.LockOSThread() // who traces is one thread
	command := exec.Command(program, arguments...)
	command.Stdin, command.Stdout, command.Stderr = os.Stdin, os.Stdout, os.Stderr
	command.SysProcAttr = &syscall.SysProcAttr{Ptrace: true}
	if err := command.Start(); err != nil {
		return err
	}
	pid := command.Process.Pid
	var status unix.WaitStatus
	if _, err := unix.Wait4(pid, &status, 0, nil); err != nil {
		return err
	}
	if err := unix.PtraceSetOptions(pid, unix.PTRACE_O_TRACECLONE|unix.PTRACE_O_TRACESYSGOOD|unix.PTRACE_O_EXITKILL); err != nil {
		return err
	}
	memory, err := os.OpenFile(fmt.Sprintf("/proc/%d/mem", pid), os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer func() { _ = memory.Close() }()
	t := tracee{memory, map[int]*thread{pid: {started: true}}}
	// Every system call stops the program until it has asked for tiles, which it does at its start.
	granted := false
	id, signal := pid, 0
	for {
		resume := unix.PtraceSyscall
		if granted {
			resume = unix.PtraceCont
		}
		if err := resume(id, signal); err != nil && !errors.Is(err, unix.ESRCH) { // it can be killed at any time
			return fmt.Errorf("thread %d: %w", id, err)
		}
		for {
			id, err = unix.Wait4(-1, &status, unix.WALL, nil)
			if !errors.Is(err, unix.EINTR) {
				break
			}
		}
		switch {
		case err != nil:
			return err
		case status.Exited() && id == pid:
			if status.ExitStatus() != 0 {
				return exit(status.ExitStatus())
			}
			return nil
		case status.Signaled() && id == pid:
			return exit(128 + int(status.Signal()))
		}
		if !status.Stopped() {
			delete(t.threads, id)
			signal = 0
			continue
		}
		if signal, err = t.stopped(id, status, &granted); err != nil {
			return fmt.Errorf("thread %d: %w", id, err)
		}
	}
}

// stopped is what to do with a thread that has stopped: the signal that it gets.
func (t *tracee) stopped(id int, status unix.WaitStatus, granted *bool) (signal int, err error) {
	one := t.threads[id]
	if one == nil {
		one = new(thread)
		t.threads[id] = one
	}
	const systemCall = unix.SIGTRAP | 0x80
	switch s := status.StopSignal(); {
	case s == systemCall:
		one.asking = !one.asking
		if one.asking {
			return 0, nil
		}
		var regs unix.PtraceRegs
		if err := unix.PtraceGetRegs(id, &regs); err != nil {
			return 0, gone(err)
		}
		const requestPermission, tileData = 0x1023, 18
		if regs.Orig_rax == unix.SYS_ARCH_PRCTL && regs.Rdi == requestPermission && regs.Rsi == tileData {
			*granted, regs.Rax = true, 0
			return 0, gone(unix.PtraceSetRegs(id, &regs))
		}
		return 0, nil
	case s == unix.SIGTRAP && status.TrapCause() > 0: // it has started another
		return 0, nil
	case s == unix.SIGSTOP && !one.started:
		one.started = true
		return 0, nil
	case s == unix.SIGILL:
		var regs unix.PtraceRegs
		if err := unix.PtraceGetRegs(id, &regs); err != nil {
			return 0, gone(err)
		}
		var code [15]byte
		n, _ := t.memory.ReadAt(code[:], int64(regs.Rip)) // fewer at the end of a page
		i, err := decode(code[:n])
		if err != nil { // not one of ours
			return int(s), nil
		}
		if err := one.tiles.do(i, registers(&regs), t.memory); err != nil {
			return 0, fmt.Errorf("%#x: %w", regs.Rip, err)
		}
		regs.Rip += uint64(i.size)
		return 0, gone(unix.PtraceSetRegs(id, &regs))
	default:
		return int(s), nil
	}
}

// gone is err, unless it is that the thread has been killed, which the next wait reports.
func gone(err error) error {
	if errors.Is(err, unix.ESRCH) {
		return nil
	}
	return err
}

// registers are the general registers in the order of their numbers.
func registers(r *unix.PtraceRegs) [16]uint64 {
	return [16]uint64{r.Rax, r.Rcx, r.Rdx, r.Rbx, r.Rsp, r.Rbp, r.Rsi, r.Rdi, r.R8, r.R9, r.R10, r.R11, r.R12, r.R13, r.R14, r.R15}
}
