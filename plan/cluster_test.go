package plan

import (
	"math"
	"os"
	"strings"
	"testing"

	"github.com/orrery-ai/orrery/simulate"
)

const small = `
nodes:
  - {name: big, count: 2, memory: 128GiB, reserved: 8GiB, bandwidth: 546GB/s, flops: 18.4TFLOPS}
  - {name: little, memory: 36 GiB, bandwidth: 273GB/s, flops: 9200GFLOPS}
links:
  fast: {latency: 30us, bandwidth: 6.7GB/s}
  slow: {latency: 0.2ms, bandwidth: 10Gbit/s}
default_link: fast
pairs:
  - {nodes: [big-1, little], link: slow}
`

// alike allows for the rounding of decimal units.
func alike(a, b float64) bool { return math.Abs(a/b-1) < 1e-12 }

func TestAClusterIsWhatItsFileSays(t *testing.T) {
	c, err := ParseCluster([]byte(small))
	if err != nil {
		t.Fatal(err)
	}
	if len(c.Nodes) != 3 || c.Nodes[1].Name != "big-2" || c.Nodes[1].Memory != 120<<30 || c.Nodes[2].Bandwidth != 273e9 || c.Nodes[2].FLOPS != 9.2e12 {
		t.Errorf("nodes %+v", c.Nodes)
	}
	links, err := c.Matrix("")
	if err != nil {
		t.Fatal(err)
	}
	if links[0][2] != links[2][0] || !alike(links[0][2].Latency, 0.2e-3) || links[0][2].Bandwidth != 1.25e9 || !alike(links[0][1].Latency, 30e-6) {
		t.Errorf("links %+v", links)
	}
	if links, err = c.Matrix("slow"); err != nil || !alike(links[0][1].Latency, 0.2e-3) {
		t.Errorf("links %+v, %v", links, err)
	}
	if _, err := c.Matrix("pigeon"); err == nil || !strings.Contains(err.Error(), "fast, slow") {
		t.Errorf("a link that is not there gives %v", err)
	}
}

func TestWhatSimulationsVaryIsInTheFile(t *testing.T) {
	const noise = "noise: {stragglers: 0.02, slowdown: 1.5, uneven: 0.03}\n"
	c, err := ParseCluster([]byte(strings.Replace(small, "latency: 30us", "latency: 30us, jitter: 4us, per_message: 0.5us", 1) + noise))
	if err != nil {
		t.Fatal(err)
	}
	fast := c.links["fast"]
	if !alike(fast.Jitter, 4e-6) || !alike(fast.PerMessage, 0.5e-6) || c.links["slow"].Jitter != 0 {
		t.Errorf("links %+v", c.links)
	}
	if want := (simulate.Noise{Stragglers: 0.02, Slowdown: 1.5, Uneven: 0.03}); c.Noise != want {
		t.Errorf("noise %+v, want %+v", c.Noise, want)
	}
	if c, err = ParseCluster([]byte(small)); err != nil || c.Noise != (simulate.Noise{Slowdown: 1}) {
		t.Errorf("without noise it is %+v, %v", c.Noise, err)
	}
}

func TestOneNodeNeedsNoLink(t *testing.T) {
	c, err := ParseCluster([]byte("nodes: [{name: a, memory: 1GiB, bandwidth: 1GB/s, flops: 1GFLOPS}]"))
	if err != nil {
		t.Fatal(err)
	}
	if links, err := c.Matrix(""); err != nil || len(links) != 1 {
		t.Errorf("%v, %v", links, err)
	}
}

func TestBadClustersNameTheField(t *testing.T) {
	for want, change := range map[string][2]string{
		"field reserve not found":           {"reserved:", "reserve:"},
		"already defined":                   {"reserved: 8GiB", "memory: 8GiB"},
		"nodes[0] (big): memory":            {"memory: 128GiB", "memory: -1GiB"},
		"nodes[0] (big): memory is missing": {"memory: 128GiB, ", ""},
		"nodes[0] (big): memory 2":          {"memory: 128GiB", "memory: 2000000TiB"},
		`"128GIB" is not`:                   {"memory: 128GiB", "memory: 128GIB"},
		`"128" is not`:                      {"memory: 128GiB", "memory: 128"},
		"reserved is all":                   {"reserved: 8GiB", "reserved: 128GiB"},
		"bandwidth NaN":                     {"546GB/s", "NaNGB/s"},
		"count 0":                           {"count: 2", "count: 0"},
		"more than 1024 nodes":              {"count: 2", "count: 1024"},
		"count 9223372036854775807":         {"name: little", "name: little, count: 9223372036854775807"},
		"two nodes of the name little":      {"name: big, count: 2", "name: little"},
		"a comma":                           {"name: little", `name: "a,b"`},
		"links.fast: latency":               {"latency: 30us", "latency: -30us"},
		"links.fast: bandwidth is missing":  {", bandwidth: 6.7GB/s", ""},
		"links.slow: jitter -":              {"latency: 0.2ms", "latency: 0.2ms, jitter: -10us"},
		`"fast" is not a number`:            {"latency: 0.2ms", "latency: 0.2ms, jitter: fast"},
		"links.slow: per_message 61":        {"latency: 0.2ms", "latency: 0.2ms, per_message: 61s"},
		"noise: stragglers 1.5":             {"default_link: fast", "default_link: fast\nnoise: {stragglers: 1.5, slowdown: 2}"},
		"noise: stragglers NaN":             {"default_link: fast", "default_link: fast\nnoise: {stragglers: .nan, slowdown: 2}"},
		"noise: slowdown 0.5":               {"default_link: fast", "default_link: fast\nnoise: {stragglers: 0.5, slowdown: 0.5}"},
		"noise: of stragglers and slowdown": {"default_link: fast", "default_link: fast\nnoise: {stragglers: 0.1}"},
		"noise: uneven -1":                  {"default_link: fast", "default_link: fast\nnoise: {uneven: -1}"},
		"field uneve not found":             {"default_link: fast", "default_link: fast\nnoise: {uneve: 0.1}"},
		"default_link":                      {"default_link: fast", "default_link: fat"},
		"pairs[0]: link":                    {"link: slow", "link: slaw"},
		"pairs[0]: nodes has 1":             {"[big-1, little]", "[big-1]"},
		"not two nodes":                     {"[big-1, little]", "[little, little]"},
		"there are none":                    {small, "nodes: []"},
		"more than one document":            {"default_link: fast", "default_link: fast\n---\nnodes: []\n---"},
		"empty":                             {small, ""},
	} {
		b := strings.Replace(small, change[0], change[1], 1)
		if b == small {
			t.Fatalf("%q changes nothing", change)
		}
		if _, err := ParseCluster([]byte(b)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want %q, got %v", want, err)
		}
	}
	twice := small + "  - {nodes: [little, big-1], link: fast}\n"
	if _, err := ParseCluster([]byte(twice)); err == nil || !strings.Contains(err.Error(), "there before") {
		t.Errorf("a pair twice gives %v", err)
	}
}

func FuzzParseCluster(f *testing.F) {
	f.Add([]byte(small))
	f.Add([]byte("nodes: &a [*a]"))
	f.Add([]byte(strings.Replace(small, "name: little", "name: little, count: 9223372036854775807", 1)))
	f.Add([]byte("nodes:\n  ! 0\n00008:\n  0: 0\n"))
	for _, file := range []string{"m4-cluster", "m4-scale", "h100-scale"} {
		b, err := os.ReadFile("../research/" + file + ".yaml")
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := ParseCluster(b)
		if err != nil {
			return
		}
		if _, err := c.Matrix(""); err != nil || len(c.Nodes) == 0 {
			t.Fatalf("%d nodes, links: %v", len(c.Nodes), err)
		}
	})
}
