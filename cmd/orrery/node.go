package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"os"
	"runtime/debug"
	"strings"

	"github.com/orrery-ai/orrery"
	"github.com/orrery-ai/orrery/placement"
)

type nodeCmd struct {
	Name      nameFlag      `help:"Name of the node, unique in the cluster: letters, digits, - _ and . (default: from the host's name)." placeholder:"NAME"`
	Bind      addressFlag   `help:"Address of gossip, TCP and UDP (default: 127.0.0.1:7946; with --join any free port of the address that reaches it)." placeholder:"HOST:PORT"`
	Listen    addressFlag   `help:"Address of tensors and actors, TCP (default: any free port of the host of --bind)." placeholder:"HOST:PORT"`
	Advertise string        `help:"Host that the other nodes reach this one by, if not that of --bind." placeholder:"HOST"`
	Join      []addressFlag `help:"Nodes to join; one that answers is enough." placeholder:"HOST:PORT"`
	DataDir   string        `help:"Directory in which models named without a path are looked for." type:"existingdir" placeholder:"DIR"`
	Memory    sizeFlag      `help:"Memory to offer, of the GPU if one computes (default: what is free)." placeholder:"SIZE"`
	Bandwidth sizeFlag      `help:"Memory bandwidth a second (default: measured at the start)." placeholder:"SIZE"`
	Threads   threadsFlag   `help:"Threads to compute on (default: all cores)." placeholder:"N"`
	Calibrate string        `help:"Directory in which is kept what was measured of this machine, or off to measure only the bandwidth (default: orrery in the user's cache directory)." placeholder:"DIR|off"`
	Synch     synchFlag     `help:"How to wait for the small messages of a step: safe in the kernel, fast spinning for up to 2 ms first, auto fast on several cores." default:"auto" placeholder:"WAY"`
	deviceFlags
	securityFlags
	rdmaFlags
	wireFlags

	CPUs  cpusFlag  `name:"cpus" hidden:"" help:"Processors to keep to, from 0 (Linux only)." placeholder:"N,…"`
	Child bool      `hidden:"" help:"Print the address as JSON when ready, and leave when standard input ends."`
	Rates ratesFlag `hidden:"" help:"What was measured of this machine, as JSON."`
}

// defaultBind is where the first node of a cluster listens for gossip.
const defaultBind = "127.0.0.1:7946"

// Help is shown below the flags' summary.
func (nodeCmd) Help() string {
	return `Examples:
  orrery node
  orrery node --tls a.tls --bind 192.168.1.10:7946
  orrery node --tls b.tls --join 192.168.1.10:7946 --data-dir /models
  orrery node --device cuda:1 --memory 60GiB

A node that other machines can reach needs a certificate: orrery ca --help.
Ctrl-C leaves the cluster gracefully.`
}

// AfterApply looks at the files that the flags name.
func (c *nodeCmd) AfterApply() error { return c.TLS.load() }

// ready is what a child prints for who started it.
type ready struct {
	Name, Addr string
	Bandwidth  float64         `json:",omitempty"` // of memory, bytes/s; of a node
	Rates      placement.Rates // what it measured, or was told
}

// gcPercent is what a node lets its Go heap grow by before it collects, unless GOGC says otherwise. The heap
// is some MB of bookkeeping, for what is large lies outside of it: collecting often costs next to nothing, and
// keeps the process at the size that placement counts.
const gcPercent = 25

// Run runs the node until it is interrupted.
func (c *nodeCmd) Run(ctx context.Context, log *slog.Logger) error {
	choice, err := orrery.ChooseDevice(string(c.Device))
	if err != nil {
		return err
	}
	if choice.Kind == orrery.DeviceCPU { // a GPU's host naps for less
		coarsenTimers(log)
	}
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
	if len(c.CPUs) > 0 {
		if err := pin(c.CPUs); err != nil {
			return err
		}
	}
	bind, join := string(c.Bind), addressesOf(c.Join)
	if bind == "" && len(join) == 0 {
		bind = defaultBind
	} else if bind == "" {
		bind = bindTowards(ctx, join)
	}
	cfg := orrery.Config{Name: string(c.Name), Bind: bind, Listen: string(c.Listen), Advertise: c.Advertise, Join: join,
		Memory: int64(c.Memory), Bandwidth: float64(c.Bandwidth), Threads: int(c.Threads), Device: string(c.Device), DataDir: c.DataDir, Rates: placement.Rates(c.Rates),
		RDMA: c.options(), NoSharedMemory: c.NoShm, Synch: orrery.Synch(c.Synch), Logger: log}
	if cfg.NoCalibration = c.Calibrate == "off"; !cfg.NoCalibration {
		cfg.CalibrationDir = c.Calibrate
	}
	c.apply(&cfg)
	if !c.Child {
		cfg.Device = choice.Kind
		sayWithout(os.Stdout, choice)
	}
	defer c.wire(&cfg, log)()
	if c.Child && !cfg.NoCalibration && !cfg.Rates.Known() {
		var err error
		if cfg.Bandwidth, cfg.Rates, err = orrery.Calibrate(ctx, cfg, cfg.Memory); err != nil {
			return err
		}
	}
	n, err := orrery.Start(ctx, cfg)
	if err != nil {
		return err
	}
	if c.Child {
		return serveParent(n, ready{n.Name(), n.Addr(), cfg.Bandwidth, cfg.Rates})
	}
	for _, self := range n.Nodes() {
		if self.Name == n.Name() {
			fmt.Printf("node %s: %s, %s offered, read at %s\n", self.Name, self.Device, placement.FormatBytes(self.Memory), gigabytes(self.Bandwidth))
		}
	}
	fmt.Printf("gossip on %s; join it with --join %s; ctrl-C leaves\n", n.Addr(), n.Addr())
	<-ctx.Done()
	fmt.Println("leaving")
	return n.Close()
}

// sayWithout says why the CPU computes, where a GPU would have come first.
func sayWithout(w io.Writer, choice orrery.DeviceChoice) {
	for _, why := range choice.Without {
		fmt.Fprintf(w, "%s; the %s computes\n", why, strings.ToUpper(choice.Kind))
	}
}

// serveParent runs the node for the process that started it: until that closes our standard input, which
// also happens when it dies.
func serveParent(n *orrery.Cluster, r ready) error {
	if err := json.NewEncoder(os.Stdout).Encode(r); err != nil {
		return err
	}
	awaitParent()
	return n.Close()
}

// awaitParent returns when whoever started this process closes our standard input. An interrupt from the
// terminal reaches the whole group: the parent decides when to end.
func awaitParent() { _, _ = io.Copy(io.Discard, os.Stdin) }
