package main

import (
	"cmp"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"

	"github.com/orrery-ai/orrery/ca"
)

// caCmd makes and shows certificates.
type caCmd struct {
	Init  caInitCmd  `cmd:"" help:"Make the certificate authority of a cluster."`
	Issue caIssueCmd `cmd:"" help:"Make the certificate of a node, or of a machine that drives the cluster."`
	Show  caShowCmd  `cmd:"" help:"Say what certificates a directory has, and how long they are valid."`
}

// Help is shown below the list of commands.
func (caCmd) Help() string {
	return `Example:
  orrery ca init --dir ca
  orrery ca issue a --dir ca --out a.tls
  orrery node --tls a.tls --bind 192.168.1.10:7946

The authority's directory can let anybody into the cluster: keep it off the nodes.`
}

type caInitCmd struct {
	Dir     string    `help:"Directory to make." default:"ca" type:"path" placeholder:"DIR"`
	Cluster string    `help:"Name of the cluster (default: ${default})." default:"orrery" placeholder:"NAME"`
	Days    countFlag `help:"Days that the authority is valid for (default: ${default})." default:"3650" placeholder:"N"`
}

// Help is shown below the flags' summary.
func (caInitCmd) Help() string {
	return `Example:
  orrery ca init --dir ca --cluster home`
}

// maxDays bounds the life of a certificate: a century.
const maxDays = 36500

func checkDays(days countFlag) error {
	if days > maxDays {
		return fmt.Errorf("--days: %d is more than %d", days, maxDays)
	}
	return nil
}

// Validate looks at the flags.
func (c *caInitCmd) Validate() error { return cmp.Or(checkDays(c.Days), ca.CheckName(c.Cluster)) }

// Run makes the authority.
func (c *caInitCmd) Run() error {
	a, err := ca.New(c.Cluster, ca.Days(time.Now(), int(c.Days)))
	if err != nil {
		return err
	}
	if err := a.Save(c.Dir); err != nil {
		return err
	}
	fmt.Printf("%s: the authority of cluster %s, until %s\n", c.Dir, a.Cluster(), a.Period().Until.Format(time.DateOnly))
	fmt.Printf("keep it off the nodes, and give each a certificate: orrery ca issue NODE --dir %s --out NODE.tls\n", c.Dir)
	return nil
}

type caIssueCmd struct {
	Node    string    `arg:"" help:"Name of the node: letters, digits, - _ and ."`
	Dir     string    `help:"Directory of the authority (default: ${default})." default:"ca" type:"path" placeholder:"DIR"`
	Out     string    `help:"Directory to make (default: the node's name and .tls)." type:"path" placeholder:"DIR"`
	Days    countFlag `help:"Days that the certificate is valid for (default: 365, or as long as the authority)." placeholder:"N"`
	Also    []string  `help:"Directories of other authorities of the cluster to trust as well: those from which, or to which, it is passing." type:"path" placeholder:"DIR"`
	Replace bool      `help:"Replace a certificate that is there."`
}

// defaultDays is how long a node's certificate is valid.
const defaultDays = 365

// Help is shown below the flags' summary.
func (caIssueCmd) Help() string {
	return `Examples:
  orrery ca issue a --dir ca --out a.tls
  orrery ca issue laptop
  orrery ca issue a --dir ca --also new-ca --out a.tls --replace

The directory holds all that the node needs: its certificate and key, the
authority's certificate, and the key of the gossip. Take it there by a way that
you trust, as scp.`
}

// Validate looks at the flags.
func (c *caIssueCmd) Validate() error {
	if c.Node == "" {
		return nil // which the parser reports
	}
	return cmp.Or(checkDays(c.Days), ca.CheckName(c.Node))
}

// Run makes the certificate.
func (c *caIssueCmd) Run() error {
	a, err := ca.Open(c.Dir)
	if err != nil {
		return err
	}
	var also []*ca.Authority
	for _, dir := range c.Also {
		other, err := ca.Open(dir)
		if err != nil {
			return err
		}
		also = append(also, other)
	}
	days := int(c.Days)
	if days == 0 {
		days = defaultDays
	}
	valid := ca.Days(time.Now(), days)
	if end := a.Period().Until; valid.Until.After(end) {
		if c.Days > 0 {
			return fmt.Errorf("--days: %d is too long: the authority itself is valid until %s", c.Days, end.Format(time.DateOnly))
		}
		valid.Until = end
	}
	id, err := a.Issue(c.Node, valid, also...)
	if err != nil {
		return err
	}
	out := c.Out
	if out == "" {
		out = c.Node + ".tls"
	}
	if err := id.Save(out, c.Replace); errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("%w: --replace replaces it", err)
	} else if err != nil {
		return err
	}
	fmt.Printf("%s: the certificate of %s, until %s\n", out, id.Name(), id.Period().Until.Format(time.DateOnly))
	fmt.Printf("take it to the machine by a way that you trust, as scp, and use it: orrery node --tls %s --bind HOST:7946\n", out)
	return nil
}

type caShowCmd struct {
	Dir    string `arg:"" help:"Directory of an authority or of a node." type:"path"`
	Format string `help:"text, or json or csv for programs." enum:"text,json,csv" default:"text"`
}

// Help is shown below the flags' summary.
func (caShowCmd) Help() string {
	return `Example:
  orrery ca show a.tls`
}

// Run shows the certificates.
func (c *caShowCmd) Run() error {
	found, err := ca.Describe(c.Dir)
	if err != nil {
		return err
	}
	return writeCertificates(os.Stdout, c.Format, found, time.Now())
}

// certificateReport is a certificate, for programs.
type certificateReport struct {
	File        string    `json:"file"`
	Kind        string    `json:"kind"`
	Node        string    `json:"node,omitempty"`
	Cluster     string    `json:"cluster"`
	From        time.Time `json:"valid_from"`
	Until       time.Time `json:"valid_until"`
	State       string    `json:"state"`
	Fingerprint string    `json:"sha256"`
}

func writeCertificates(w io.Writer, format string, found []ca.Description, now time.Time) error {
	reports := make([]certificateReport, len(found))
	for i, d := range found {
		r := certificateReport{File: d.File, Kind: "node", Node: d.Name.Node, Cluster: d.Name.Cluster,
			From: d.Period.From.UTC(), Until: d.Period.Until.UTC(), State: "valid", Fingerprint: d.Fingerprint}
		if d.Name.Node == "" {
			r.Kind = "authority"
		}
		switch {
		case now.Before(d.Period.From):
			r.State = "not yet valid"
		case now.After(d.Period.Until):
			r.State = "expired"
		}
		reports[i] = r
	}
	switch format {
	case "json":
		return encodeJSON(w, reports)
	case "csv":
		rows := [][]string{{"file", "kind", "node", "cluster", "valid_from", "valid_until", "state", "sha256"}}
		for _, r := range reports {
			rows = append(rows, []string{r.File, r.Kind, r.Node, r.Cluster, r.From.Format(time.RFC3339), r.Until.Format(time.RFC3339), r.State, r.Fingerprint})
		}
		return csv.NewWriter(w).WriteAll(rows)
	}
	t := newTable("file", "of", "from", "until", "state", "SHA-256")
	for i, r := range reports {
		t.AppendRow([]any{r.File, found[i].Name, r.From.Format(time.DateOnly), r.Until.Format(time.DateOnly), r.State, r.Fingerprint[:16] + "…"})
	}
	_, err := fmt.Fprintln(w, t.Render())
	return err
}
