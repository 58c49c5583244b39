package plan

import (
	"fmt"
	"strconv"
	"strings"

	"gopkg.in/yaml.v3"
)

// unit is a suffix and what it multiplies by.
type unit struct {
	suffix string
	factor float64
}

var (
	sizeUnits = []unit{{"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}, {"TiB", 1 << 40}, {"kB", 1e3}, {"KB", 1e3}, {"MB", 1e6}, {"GB", 1e9}, {"TB", 1e12}, {"B", 1}}
	rateUnits = []unit{{"MB/s", 1e6}, {"GB/s", 1e9}, {"TB/s", 1e12}, {"Mbit/s", 1e6 / 8}, {"Gbit/s", 1e9 / 8}, {"B/s", 1}}
	flopUnits = []unit{{"GFLOPS", 1e9}, {"TFLOPS", 1e12}, {"PFLOPS", 1e15}}
	timeUnits = []unit{{"ns", 1e-9}, {"us", 1e-6}, {"µs", 1e-6}, {"ms", 1e-3}, {"s", 1}}
)

// quantity reads a number with its unit, as 128GiB or 60 us. A whole number in whole units is exact.
func quantity(s string, units []unit) (float64, error) {
	for _, u := range units {
		number, ok := strings.CutSuffix(s, u.suffix)
		if !ok {
			continue
		}
		n, err := strconv.ParseFloat(strings.TrimSpace(number), 64)
		if err != nil {
			continue
		}
		return n * u.factor, nil
	}
	var names []string
	for _, u := range units {
		names = append(names, u.suffix)
	}
	return 0, fmt.Errorf("%.40q is not a number with a unit of %s", s, strings.Join(names, ", "))
}

// The quantities of a cluster file.
type (
	size    float64 // bytes
	rate    float64 // bytes/s
	flops   float64 // operations/s
	seconds float64
)

// UnmarshalYAML reads a number of bytes.
func (v *size) UnmarshalYAML(n *yaml.Node) error { return set(v, n, sizeUnits) }

// UnmarshalYAML reads a number of bytes a second.
func (v *rate) UnmarshalYAML(n *yaml.Node) error { return set(v, n, rateUnits) }

// UnmarshalYAML reads a number of operations a second.
func (v *flops) UnmarshalYAML(n *yaml.Node) error { return set(v, n, flopUnits) }

// UnmarshalYAML reads a time.
func (v *seconds) UnmarshalYAML(n *yaml.Node) error { return set(v, n, timeUnits) }

func set[T ~float64](v *T, n *yaml.Node, units []unit) error {
	q, err := quantity(n.Value, units)
	if err != nil {
		return fmt.Errorf("line %d: %w", n.Line, err)
	}
	*v = T(q)
	return nil
}
