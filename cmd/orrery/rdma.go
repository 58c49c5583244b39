package main

import (
	"encoding/csv"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"github.com/jedib0t/go-pretty/v6/table"

	"github.com/orrery-ai/orrery/transport"
	"github.com/orrery-ai/orrery/transport/rdma"
)

// rdmaFlags say what takes the place of TCP.
type rdmaFlags struct {
	RDMA            string `name:"rdma" help:"Move connections to RDMA where both ends can: off, auto, or the name of an adapter (default: ${default})." default:"off" placeholder:"off|auto|DEVICE"`
	RDMAUnencrypted bool   `name:"rdma-unencrypted" help:"Use RDMA for encrypted connections too, where it carries everything in the clear."`
	NoShm           bool   `name:"no-shm" help:"Do not exchange with nodes on the same machine through memory that both share: over connections, as between machines."`
}

func (f rdmaFlags) options() transport.RDMA {
	return transport.RDMA{Use: f.RDMA, Unencrypted: f.RDMAUnencrypted}
}

// args are the flags for a process of ours.
func (f rdmaFlags) args() []string {
	return []string{"--rdma=" + f.RDMA, "--rdma-unencrypted=" + strconv.FormatBool(f.RDMAUnencrypted), "--no-shm=" + strconv.FormatBool(f.NoShm)}
}

type rdmaCmd struct {
	Format string `help:"What is printed: text, json or csv." enum:"text,json,csv" default:"text"`
}

// Help is shown below the flags' summary.
func (rdmaCmd) Help() string {
	return `Lists the RDMA adapters of this machine and their ports, or says why there
are none. A node uses the port that has the address it listens on. Encrypted
connections stay with TCP unless --rdma-unencrypted allows RDMA for them too.

Examples:
  orrery rdma
  orrery rdma --format json
  orrery node --tls a.tls --bind 192.168.1.10:7946 --rdma auto \
      --rdma-unencrypted

ORRERY_VERBS_LIBRARY names a library to use instead of the system's libibverbs
(Linux) or librdma (macOS). docs/rdma.md says what has been tried.`
}

// rdmaReport is what the command prints.
type rdmaReport struct {
	Library  string         `json:"library,omitempty"`
	Problem  string         `json:"problem,omitempty"` // why there are no adapters
	Adapters []rdma.Adapter `json:"adapters"`
}

// Run lists.
func (c *rdmaCmd) Run() error {
	r := rdmaReport{Adapters: []rdma.Adapter{}}
	library, adapters, err := rdma.Inventory("")
	r.Library = library
	switch {
	case err != nil:
		r.Problem = err.Error()
	case len(adapters) == 0:
		r.Problem = fmt.Sprintf("%s finds no RDMA adapter: there is none, or its driver is not loaded", library)
	default:
		r.Adapters = adapters
	}
	return writeReport(os.Stdout, c.Format, &r)
}

// writeCSV is a line for each port.
func (r *rdmaReport) writeCSV(w io.Writer) error {
	c := csv.NewWriter(w)
	rows := [][]string{{"adapter", "port", "state", "link", "gbit_per_second", "mtu", "lid", "addresses"}}
	for _, a := range r.Adapters {
		for _, p := range a.Ports {
			rows = append(rows, []string{a.Name, fmt.Sprint(p.Number), p.State, p.Link, fmt.Sprint(p.Gbits), fmt.Sprint(p.MTU), fmt.Sprint(p.LID),
				strings.Join(addresses(p), " ")})
		}
	}
	return c.WriteAll(rows)
}

func (r *rdmaReport) text() string {
	if r.Problem != "" {
		return fmt.Sprintf("No RDMA here: %s.\nConnections use TCP.\n", r.Problem)
	}
	t := newTable("adapter", "port", "state", "link", "Gbit/s", "MTU", "addresses")
	for _, a := range r.Adapters {
		if a.CannotBeOpened != "" {
			t.AppendRow(table.Row{a.Name, "-", a.CannotBeOpened})
		}
		for _, p := range a.Ports {
			rate := "-"
			if p.Gbits > 0 {
				rate = fmt.Sprintf("%.4g", p.Gbits)
			}
			t.AppendRow(table.Row{a.Name, p.Number, p.State, p.Link, rate, p.MTU, strings.Join(addresses(p), "\n")})
		}
	}
	return fmt.Sprintf("%s\n%s\n", r.Library, t.Render())
}

// addresses are a port's, each once.
func addresses(p rdma.Port) []string {
	var all []string
	seen := map[string]bool{}
	for _, a := range p.Addresses {
		if !seen[a.IP] {
			all = append(all, a.IP)
		}
		seen[a.IP] = true
	}
	return all
}
