package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/orrery-ai/orrery/device/cpu"
)

// benchReadCmd is a process of its own, so that it can keep to the processor of a node.
type benchReadCmd struct {
	CPUs    cpusFlag    `name:"cpus" help:"Processors to keep to, from 0 (Linux only)." placeholder:"N,…"`
	Threads threadsFlag `help:"Threads that read." default:"1"`
	For     waitFlag    `help:"How long." default:"300ms"`
}

// readReport is how fast memory was read.
type readReport struct {
	BytesPerSecond float64 `json:"bytes_per_second"`
}

// Run reads memory for a while.
func (c *benchReadCmd) Run() error {
	if len(c.CPUs) > 0 {
		if err := pin(c.CPUs); err != nil {
			return err
		}
	}
	rate, err := cpu.MeasureBandwidth(int(c.Threads), time.Duration(c.For))
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(readReport{rate})
}

// readers are processes that read memory as the threads of nodes would: one for each node.
type readers struct {
	processes int
	threads   int
	cpus      [][]int // [processes] the processors that each keeps to; nil: none does
}

// readTries is how often memory is read, of which the fastest counts: what disturbs it says nothing about it.
const readTries = 3

// alone is how fast one of them reads while the others wait, in bytes/s: the mean over all.
func (r *readers) alone(ctx context.Context) (float64, error) {
	sum := 0.0
	for i := range r.processes {
		best := 0.0
		for range readTries {
			n, err := r.read(ctx, i)
			if err != nil {
				return 0, err
			}
			best = max(best, n)
		}
		sum += best
	}
	return sum / float64(r.processes), nil
}

// together is how fast all read at the same time, in bytes/s.
func (r *readers) together(ctx context.Context) (best float64, err error) {
	for range readTries {
		n, err := r.atOnce(ctx)
		if err != nil {
			return 0, err
		}
		best = max(best, n)
	}
	return best, nil
}

func (r *readers) atOnce(ctx context.Context) (float64, error) {
	rates := make([]float64, r.processes)
	g, ctx := errgroup.WithContext(ctx)
	for i := range r.processes {
		g.Go(func() (err error) {
			rates[i], err = r.read(ctx, i)
			return err
		})
	}
	err := g.Wait()
	sum := 0.0
	for _, n := range rates {
		sum += n
	}
	return sum, err
}

func (r *readers) read(ctx context.Context, i int) (float64, error) {
	self, err := os.Executable()
	if err != nil {
		return 0, err
	}
	args := []string{"bench", "read", "--threads", strconv.Itoa(r.threads)}
	if r.cpus != nil {
		args = append(args, "--cpus", cpusFlag(r.cpus[i]).String())
	}
	cmd := exec.CommandContext(ctx, self, args...)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return 0, fmt.Errorf("reading memory: %w", err)
	}
	var report readReport
	if err := json.Unmarshal(out, &report); err != nil {
		return 0, fmt.Errorf("reading memory: %w", err)
	}
	return report.BytesPerSecond, nil
}
