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
	"github.com/orrery-ai/orrery/placement"
)

// localCluster is node processes on this machine, that live as long as this one wants them to.
type localCluster struct {
	processes []*process
	cpus      []cpusFlag // [nodes] the processors that each keeps to; nil if they do not
	full      bool       // they compute on all processors
	name      string
	device    orrery.DeviceChoice
	synch     orrery.Synch // as it was asked for
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
	startTimeout = time.Minute // measuring included, on a busy machine
	stopTimeout  = 5 * time.Second
)

// localOptions say how node processes on this machine are to be.
type localOptions struct {
	Nodes   int // at most len(nodeNames)
	Device  string
	Threads int   // of each; 0: as many as there are cores for each
	CPUs    []int // processors to keep to, if nodes are to keep apart; nil: those of this process
	Synch   orrery.Synch
	RDMA    rdmaFlags

	Unmeasured bool // nodes are taken to be alike, and none takes memory to measure what it can do
}

// startLocal starts node processes that share this machine's memory and cores, and waits until each is ready.
func startLocal(ctx context.Context, o localOptions, log *slog.Logger) (*localCluster, error) {
	n := o.Nodes
	choice, err := orrery.ChooseDevice(o.Device)
	if err != nil {
		return nil, err
	}
	for _, why := range choice.Without {
		log.Info("a GPU is not used", "because", why)
	}
	memory := choice.Share(n)
	threads := o.Threads
	if threads == 0 {
		threads = max(1, runtime.NumCPU()/n)
	}
	var cpus []cpusFlag
	full := false
	if choice.Kind == orrery.DeviceCPU {
		available := o.CPUs
		if available == nil {
			if available, err = processors(); err != nil {
				return nil, err
			}
		}
		cpus, full = keepApart(n, threads, available), n*threads >= len(available)
	}
	var measured []string // the flags that tell a node what it can do
	switch {
	case o.Unmeasured:
		measured = []string{"--calibrate", "off", "--bandwidth", "10GB"}
	case cpus == nil:
		if measured, err = o.measure(ctx, choice, threads, memory, log); err != nil {
			return nil, err
		}
	}
	asked := o.Synch
	if crowded := choice.Kind != orrery.DeviceCPU && n > choice.Count; o.Synch == orrery.SynchAuto && (crowded || n > runtime.NumCPU()) {
		o.Synch = orrery.SynchSafe // who spins, on a GPU too, takes the time of whom he waits for
	}
	l := &localCluster{cpus: cpus, full: full, device: choice, name: fmt.Sprintf("local-%d", os.Getpid()), synch: asked, rdma: o.RDMA}
	args := func(i int) []string {
		a := append([]string{"--log-level", "warn", "node", "--child", "--name", nodeNames[i : i+1], "--bind", "127.0.0.1:0", "--cluster", l.name,
			"--device", choice.Number(i), "--memory", strconv.FormatInt(memory, 10), "--threads", strconv.Itoa(threads), "--synch", o.Synch.String()}, o.RDMA.args()...)
		if cpus != nil {
			a = append(a, "--cpus", cpus[i].String())
		}
		return append(a, measured...)
	}
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	first, err := startProcess(ctx, args(0))
	if err != nil {
		return nil, err
	}
	l.processes = make([]*process, n)
	l.processes[0] = first
	if measured == nil {
		if measured, err = ratesFlags(first.Bandwidth, first.Rates); err != nil {
			l.stop()
			return nil, err
		}
	}
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

// keepApart is the processors for nodes of so many threads each, in turn. Without that a system may wake a node on
// the processor of the one that sent it something, which is computing, while another one is idle: of a virtual
// machine it cannot tell an idle processor from one that the host has taken away. It is nil if there is nothing to
// keep apart, or not a processor for each thread: then the system shares them out better, since it sees who computes.
func keepApart(nodes, threads int, available []int) []cpusFlag {
	if threads >= len(available) || nodes*threads > len(available) {
		return nil
	}
	cpus := make([]cpusFlag, nodes)
	for i := range cpus {
		cpus[i] = available[i*threads:][:threads]
	}
	return cpus
}

// measure is the flags that tell nodes what they can do, measured here for all of them. Nodes that measured at the
// same time would measure each other: they are alike, and share devices, or processors.
func (o *localOptions) measure(ctx context.Context, choice orrery.DeviceChoice, threads int, memory int64, log *slog.Logger) ([]string, error) {
	bandwidth, rates, err := orrery.Calibrate(ctx, orrery.Config{Device: choice.Kind, Threads: threads, Logger: log}, memory)
	if err != nil {
		return nil, err
	}
	if choice.Kind == orrery.DeviceCPU {
		bandwidth /= max(1, float64(o.Nodes*threads)/float64(runtime.NumCPU()))
	} else {
		bandwidth /= float64((o.Nodes + choice.Count - 1) / choice.Count)
	}
	if !rates.Known() {
		return []string{"--calibrate", "off", "--bandwidth", strconv.FormatInt(int64(bandwidth), 10)}, nil
	}
	return ratesFlags(bandwidth, rates)
}

// ratesFlags are the flags that tell a node what it can do.
func ratesFlags(bandwidth float64, rates placement.Rates) ([]string, error) {
	known, err := json.Marshal(rates)
	return []string{"--bandwidth", strconv.FormatInt(int64(bandwidth), 10), "--rates", string(known)}, err
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
		_ = p.cmd.Process.Kill() // it may be measuring for seconds, and has nothing to leave
		p.stop()
		if errors.Is(err, io.EOF) {
			return nil, errors.New("a node process ended before it was ready, and has said why")
		}
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

// join joins the local cluster, to drive it. Who drives computes nothing: without a processor of its own it takes one of the runtime's, so that no second thread of it wakes on
// another node's to look for work.
func (l *localCluster) join(ctx context.Context, log *slog.Logger) (*orrery.Cluster, error) {
	if l.full {
		runtime.GOMAXPROCS(1)
	}
	c, err := orrery.Start(ctx, orrery.Config{Name: fmt.Sprintf("client-%d", os.Getpid()), Cluster: l.name, Join: []string{l.processes[0].Addr}, RDMA: l.rdma.options(), Client: true, Synch: l.synch, Logger: log})
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
