package plan

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"

	"github.com/orrery-ai/orrery/placement"
	"github.com/orrery-ai/orrery/simulate"
)

// maxNodes bounds a described cluster.
const maxNodes = 1024

const (
	maxClusterSize = 1 << 20 // bytes of the file
	maxMemory      = 1 << 50 // bytes
	maxRate        = 1e18    // bytes/s
	maxFLOPS       = 1e24    // operations/s
	maxSeconds     = 60.0
)

// Cluster is machines and the ways between them, as described in a file.
type Cluster struct {
	Nodes   []placement.Node // in the order in which layers go through them
	Noise   simulate.Noise   // for simulations only
	links   map[string]simulate.Link
	regular string            // name of the link of all pairs but
	pairs   map[[2]int]string // these, lower node first

	measured *Measured // of all pairs, in place of those above; nil of a described cluster
}

// Measured is what was measured of a running cluster.
type Measured struct {
	Nodes    []placement.Node     // with Rates
	Links    [][]placement.Link   // [i][j] leads from node i to node j
	Ways     []placement.Link     // to each node from where steps are driven
	Turn     float64              // seconds that who drives takes from a step's result to the next step; 0 if that is not known
	Together []placement.Together // what each node is to the others of its machine
}

// Cluster is that cluster.
func (m *Measured) Cluster() (*Cluster, error) {
	n := len(m.Nodes)
	if n == 0 || n > maxNodes || len(m.Links) != n || len(m.Ways) != n || len(m.Together) != n {
		return nil, fmt.Errorf("%d nodes, links from %d, ways to %d and what %d are to each other: at least one node, at most %d, and all of the same number", n, len(m.Links), len(m.Ways), len(m.Together), maxNodes)
	}
	return &Cluster{Nodes: m.Nodes, measured: m}, nil
}

// tell gives a prediction what was measured around the nodes.
func (m *Measured) tell(c *placement.Cost) error {
	if m == nil {
		return nil
	}
	if err := c.DriveFrom(m.Ways, m.Turn); err != nil {
		return err
	}
	return c.ShareMemory(m.Together)
}

// described is the file.
type described struct {
	Nodes []struct {
		Name      string `yaml:"name"`
		Count     *int   `yaml:"count"`     // as many, name-1, name-2, …
		Memory    *size  `yaml:"memory"`    // of the machine
		Reserved  size   `yaml:"reserved"`  // of it, for everything else
		Bandwidth *rate  `yaml:"bandwidth"` // of memory
		FLOPS     *flops `yaml:"flops"`     // of matrix products, in the precision of activations
	} `yaml:"nodes"`
	Links map[string]struct {
		Latency   *seconds `yaml:"latency"` // one way
		Bandwidth *rate    `yaml:"bandwidth"`
		// For simulations:
		Jitter     seconds `yaml:"jitter"`      // mean of what is added to the latency
		PerMessage seconds `yaml:"per_message"` // for which a message occupies a port besides its bytes
	} `yaml:"links"`
	DefaultLink string `yaml:"default_link"`
	Pairs       []struct {
		Nodes []string `yaml:"nodes"`
		Link  string   `yaml:"link"`
	} `yaml:"pairs"`
	Noise struct { // for simulations: see simulate.Noise
		Stragglers float64  `yaml:"stragglers"`
		Slowdown   *float64 `yaml:"slowdown"`
		Uneven     float64  `yaml:"uneven"`
	} `yaml:"noise"`
}

// ParseCluster reads a cluster file. It is strict: an unknown field, a missing one, and a number that
// cannot be are errors that name it.
func ParseCluster(b []byte) (*Cluster, error) {
	if len(b) > maxClusterSize {
		return nil, fmt.Errorf("a cluster file of %d bytes is over %d", len(b), maxClusterSize)
	}
	var d described
	dec := yaml.NewDecoder(bytes.NewReader(b))
	dec.KnownFields(true)
	if err := dec.Decode(&d); err != nil {
		if errors.Is(err, io.EOF) {
			return nil, errors.New("the cluster file is empty")
		}
		return nil, plainer(err)
	}
	if err := dec.Decode(new(yaml.Node)); !errors.Is(err, io.EOF) {
		return nil, errors.New("the cluster file has more than one document")
	}
	c := &Cluster{links: map[string]simulate.Link{}, pairs: map[[2]int]string{}}
	if err := c.addNodes(&d); err != nil {
		return nil, err
	}
	if err := c.addLinks(&d); err != nil {
		return nil, err
	}
	if err := c.addNoise(&d); err != nil {
		return nil, err
	}
	return c, nil
}

// plainer is the first of the errors that YAML lists of a file, one for each line of some, without Go's types.
func plainer(err error) error {
	var all *yaml.TypeError
	if !errors.As(err, &all) || len(all.Errors) == 0 {
		return err
	}
	first := all.Errors[0]
	for _, of := range []string{" in type ", " into "} {
		first, _, _ = strings.Cut(first, of)
	}
	return errors.New(strings.Replace(first, "cannot unmarshal", "not expected here:", 1))
}

func (c *Cluster) addNodes(d *described) error {
	if len(d.Nodes) == 0 {
		return errors.New("nodes: there are none")
	}
	names := map[string]bool{}
	for i, n := range d.Nodes {
		count := 1
		if n.Count != nil {
			count = *n.Count
		}
		at := fmt.Sprintf("nodes[%d] (%s)", i, n.Name)
		switch {
		case n.Name == "" || len(n.Name) > 64 || strings.ContainsAny(n.Name, " \t\r\n,="):
			return fmt.Errorf("nodes[%d]: name %.70q is empty, longer than 64 bytes, or has a space, a comma or =", i, n.Name)
		case count < 1 || count > maxNodes-len(c.Nodes):
			return fmt.Errorf("%s: count %d is not positive, or makes more than %d nodes", at, count, maxNodes)
		}
		if err := cmp.Or(
			within(at+": memory", n.Memory, 1, maxMemory),
			within(at+": reserved", &n.Reserved, 0, maxMemory),
			within(at+": bandwidth", n.Bandwidth, 1, maxRate),
			within(at+": flops", n.FLOPS, 1, maxFLOPS),
		); err != nil {
			return err
		}
		if n.Reserved >= *n.Memory {
			return fmt.Errorf("%s: reserved is all of memory", at)
		}
		for k := range count {
			name := n.Name
			if n.Count != nil {
				name = fmt.Sprintf("%s-%d", n.Name, k+1)
			}
			if names[name] {
				return fmt.Errorf("%s: there are two nodes of the name %s", at, name)
			}
			names[name] = true
			c.Nodes = append(c.Nodes, placement.Node{Name: name, Memory: int64(*n.Memory) - int64(n.Reserved), Bandwidth: float64(*n.Bandwidth), FLOPS: float64(*n.FLOPS)})
		}
	}
	return nil
}

func (c *Cluster) addLinks(d *described) error {
	for _, name := range slices.Sorted(maps.Keys(d.Links)) {
		l := d.Links[name]
		at := "links." + name
		if err := cmp.Or(
			within(at+": latency", l.Latency, 0, maxSeconds),
			within(at+": bandwidth", l.Bandwidth, 1, maxRate),
			within(at+": jitter", &l.Jitter, 0, maxSeconds),
			within(at+": per_message", &l.PerMessage, 0, maxSeconds),
		); err != nil {
			return err
		}
		c.links[name] = simulate.Link{Link: placement.Link{Latency: float64(*l.Latency), Bandwidth: float64(*l.Bandwidth)},
			Jitter: float64(l.Jitter), PerMessage: float64(l.PerMessage)}
	}
	c.regular = d.DefaultLink
	if len(c.Nodes) > 1 || c.regular != "" {
		if err := c.known("default_link", c.regular); err != nil {
			return err
		}
	}
	for i, p := range d.Pairs {
		at := fmt.Sprintf("pairs[%d]", i)
		if len(p.Nodes) != 2 {
			return fmt.Errorf("%s: nodes has %d names, not two", at, len(p.Nodes))
		}
		a, b := c.index(p.Nodes[0]), c.index(p.Nodes[1])
		switch {
		case a < 0 || b < 0 || a == b:
			return fmt.Errorf("%s: %.40q and %.40q are not two nodes", at, p.Nodes[0], p.Nodes[1])
		case c.pairs[[2]int{min(a, b), max(a, b)}] != "":
			return fmt.Errorf("%s: %s and %s are there before", at, p.Nodes[0], p.Nodes[1])
		}
		if err := c.known(at+": link", p.Link); err != nil {
			return err
		}
		c.pairs[[2]int{min(a, b), max(a, b)}] = p.Link
	}
	return nil
}

// addNoise takes in what simulations vary.
func (c *Cluster) addNoise(d *described) error {
	const most = 1000
	n := &d.Noise
	slowdown := 1.0
	if n.Slowdown != nil {
		slowdown = *n.Slowdown
	}
	if (n.Stragglers != 0) != (n.Slowdown != nil) {
		return errors.New("noise: of stragglers and slowdown, how many and how slow, one is missing")
	}
	c.Noise = simulate.Noise{Stragglers: n.Stragglers, Slowdown: slowdown, Uneven: n.Uneven}
	return cmp.Or(
		within("noise: stragglers", &n.Stragglers, 0, 1),
		within("noise: slowdown", &slowdown, 1, most),
		within("noise: uneven", &n.Uneven, 0, most),
	)
}

// within checks a required number.
func within[T ~float64](name string, v *T, low, high float64) error {
	switch {
	case v == nil:
		return fmt.Errorf("%s is missing", name)
	case !(float64(*v) >= low && float64(*v) <= high):
		return fmt.Errorf("%s %g is not between %g and %g", name, float64(*v), low, high)
	}
	return nil
}

func (c *Cluster) index(name string) int {
	return slices.IndexFunc(c.Nodes, func(n placement.Node) bool { return n.Name == name })
}

func (c *Cluster) known(field, link string) error {
	if _, ok := c.links[link]; !ok {
		return fmt.Errorf("%s: there is no link %.40q; there are %s", field, link, strings.Join(c.linkNames(), ", "))
	}
	return nil
}

// linkNames are the kinds of link, sorted.
func (c *Cluster) linkNames() []string { return slices.Sorted(maps.Keys(c.links)) }

// link is the link of that name; the empty name is the default one.
func (c *Cluster) link(name string) (placement.Link, error) {
	if name == "" {
		name = c.regular
	}
	if len(c.Nodes) == 1 && name == "" {
		return placement.Link{}, nil
	}
	return c.links[name].Link, c.known("link", name)
}

// Matrix is the links of all pairs: links[i][j] leads from node i to node j. A name replaces every
// pair's link; empty leaves them as they are described.
func (c *Cluster) Matrix(name string) ([][]placement.Link, error) {
	if c.measured != nil {
		if name != "" {
			return nil, fmt.Errorf("link %.40q: the links of this cluster were measured, and have no names", name)
		}
		return c.measured.Links, nil
	}
	regular, err := c.link(name)
	if err != nil {
		return nil, err
	}
	links := make([][]placement.Link, len(c.Nodes))
	for i := range links {
		links[i] = slices.Repeat([]placement.Link{regular}, len(c.Nodes))
	}
	if name == "" {
		for p, link := range c.pairs {
			links[p[0]][p[1]], links[p[1]][p[0]] = c.links[link].Link, c.links[link].Link
		}
	}
	return links, nil
}
