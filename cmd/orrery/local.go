package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/orrery-ai/orrery"
	"github.com/orrery-ai/orrery/cluster"
)

// localCluster is node processes on this machine, that live as long as this one wants them to.
type localCluster struct {
	processes []*process
	name      string
	rdma      rdmaFlags
}

// process is one node process.
type process struct {
	ready
	cmd     *exec.Cmd
	stdin   io.Closer
	stopped sync.Once
}

// Times of local node processes.
const (
	startTimeout = 20 * time.Second
	stopTimeout  = 5 * time.Second
)

// startLocal starts n node processes that share this machine's memory and cores, and waits until each
// is ready.
func startLocal(ctx context.Context, n int, synch orrery.Synch, rdma rdmaFlags, log *slog.Logger) (*localCluster, error) {
	if n < 1 || n > len(nodeNames) {
		return nil, fmt.Errorf("--nodes: %d is not between 1 and %d", n, len(nodeNames))
	}
	memory, err := cluster.AvailableMemory()
	if err != nil {
		return nil, err
	}
	// Nodes that measured at the same time would measure each other: they are alike, and share what there is.
	threads := max(1, runtime.NumCPU()/n)
	all, rates, err := orrery.Calibrate(ctx, orrery.Config{Threads: threads, Logger: log}, memory/int64(n))
	if err != nil {
		return nil, err
	}
	bandwidth := all / float64(n)
	known, err := json.Marshal(rates)
	if err != nil {
		return nil, err
	}
	if synch == orrery.SynchAuto && n > runtime.NumCPU() {
		synch = orrery.SynchSafe
	}
	l := &localCluster{name: fmt.Sprintf("local-%d", os.Getpid()), rdma: rdma}
	args := func(i int) []string {
		return append([]string{"--log-level", "warn", "node", "--child", "--name", nodeNames[i : i+1], "--bind", "127.0.0.1:0", "--cluster", l.name,
			"--memory", strconv.FormatInt(memory/int64(n), 10), "--bandwidth", strconv.FormatInt(int64(bandwidth), 10), "--threads", strconv.Itoa(threads),
			"--rates", string(known), "--synch", synch.String()}, rdma.args()...)
	}
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	first, err := startProcess(ctx, args(0))
	if err != nil {
		return nil, err
	}
	l.processes = make([]*process, n)
	l.processes[0] = first
	var g errgroup.Group
	for i := 1; i < n; i++ {
		g.Go(func() (err error) {
			l.processes[i], err = startProcess(ctx, append(args(i), "--join", first.Addr))
			return err
		})
	}
	if err := g.Wait(); err != nil {
		l.stop()
		return nil, err
	}
	log.Debug("local nodes are ready", "nodes", n)
	return l, nil
}

// nodeNames are the names of local nodes, a letter each.
const nodeNames = "abcdefghijklmnop"

// startProcess runs this program as a node, and waits until it says that it is ready.
func startProcess(ctx context.Context, args []string) (p *process, err error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(self, args...)
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting a node: %w", err)
	}
	p = &process{cmd: cmd, stdin: stdin}
	said := make(chan error, 1)
	go func() {
		line, err := bufio.NewReader(stdout).ReadBytes('\n')
		if err == nil {
			err = json.Unmarshal(line, &p.ready)
		}
		said <- err
	}()
	select {
	case err = <-said:
	case <-ctx.Done():
		err = context.Cause(ctx)
	}
	if err != nil {
		p.stop()
		return nil, fmt.Errorf("a node process did not get ready: %w", err)
	}
	return p, nil
}

// stop lets the process leave, and kills it if it does not.
func (p *process) stop() {
	p.stopped.Do(func() {
		p.stdin.Close()
		kill := time.AfterFunc(stopTimeout, func() { _ = p.cmd.Process.Kill() })
		defer kill.Stop()
		_ = p.cmd.Wait() // how it ended no longer matters
	})
}

// peaks is the most memory that each node has had resident, in bytes, by name.
func (l *localCluster) peaks() (map[string]int64, error) {
	peaks := map[string]int64{}
	for _, p := range l.processes {
		n, err := p.peak()
		if err != nil {
			return nil, fmt.Errorf("memory of node %s: %w", p.Name, err)
		}
		peaks[p.Name] = n
	}
	return peaks, nil
}

// stop ends all processes.
func (l *localCluster) stop() {
	var g errgroup.Group
	for _, p := range l.processes {
		if p != nil {
			g.Go(func() error { p.stop(); return nil })
		}
	}
	_ = g.Wait()
}

// join joins the local cluster, to drive it.
func (l *localCluster) join(ctx context.Context, log *slog.Logger) (*orrery.Cluster, error) {
	c, err := orrery.Start(ctx, orrery.Config{Name: fmt.Sprintf("client-%d", os.Getpid()), Cluster: l.name, Join: []string{l.processes[0].Addr}, RDMA: l.rdma.options(), Client: true, Logger: log})
	if err != nil {
		return nil, err
	}
	wait, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	if err := c.WaitNodes(wait, len(l.processes)); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}
