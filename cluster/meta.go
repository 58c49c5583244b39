package cluster

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"unicode/utf8"

	"github.com/hashicorp/memberlist"

	"github.com/orrery-ai/orrery/placement"
)

// Protocol is the version of what nodes say to each other. Nodes of different versions refuse each
// other.
const Protocol = 7

// The metadata of a node, which rides in every alive message:
//
//	uvarint protocol · string cluster                 the same in every version
//	byte role · string transport · uvarint memory · uvarint promised · uvarint short
//	8 bytes bandwidth (IEEE 754, little-endian)
//	uvarint cores · string device · string version · string machine · string CPUs
//	byte rates: whether they follow · each number of the rates, in 4 bytes (IEEE 754 single, little-endian)
//
// where a string is its length as uvarint, and UTF-8. Name and gossip address come from memberlist.
type meta struct {
	protocol uint64
	cluster  string
	node     Node // without Name and Gossip
}

const maxCores = 1 << 20

var errMeta = errors.New("malformed node metadata")

// encode packs m, or fails when a field cannot be sent or the whole is over memberlist's limit.
func (m *meta) encode() ([]byte, error) {
	n := &m.node
	if err := checkNode(n); err != nil {
		return nil, err
	}
	b := make([]byte, 0, 128)
	b = binary.AppendUvarint(b, m.protocol)
	b = appendString(b, m.cluster)
	b = append(b, byte(n.Role))
	b = appendString(b, n.Transport)
	b = binary.AppendUvarint(b, uint64(n.Memory))
	b = binary.AppendUvarint(b, uint64(n.Promised))
	b = binary.AppendUvarint(b, uint64(n.Short))
	b = binary.LittleEndian.AppendUint64(b, math.Float64bits(n.Bandwidth))
	b = binary.AppendUvarint(b, uint64(n.Cores))
	b = appendString(b, n.Device)
	b = appendString(b, n.Version)
	b = appendString(b, n.Machine)
	b = appendString(b, n.CPUs)
	b = appendRates(b, &n.Rates)
	if len(b) > memberlist.MetaMaxSize {
		return nil, fmt.Errorf("node metadata has %d bytes, at most %d: shorten cluster (%d), transport (%d), device (%d) or version (%d)",
			len(b), memberlist.MetaMaxSize, len(m.cluster), len(n.Transport), len(n.Device), len(n.Version))
	}
	return b, nil
}

// decodeMeta unpacks b. When the protocol is another one, only protocol and cluster are filled in.
func decodeMeta(b []byte) (meta, error) {
	d := decoder{b: b}
	m := meta{protocol: d.uvarint(), cluster: d.string()}
	if d.bad {
		return meta{}, errMeta
	}
	if m.protocol != Protocol {
		return m, nil
	}
	n := &m.node
	n.Role = Role(d.byte())
	n.Transport = d.string()
	memory, promised, short := d.uvarint(), d.uvarint(), d.uvarint()
	n.Bandwidth = math.Float64frombits(d.uint64())
	cores := d.uvarint()
	n.Device = d.string()
	n.Version = d.string()
	n.Machine = d.string()
	n.CPUs = d.string()
	n.Rates = d.rates()
	if d.bad || len(d.b) > 0 || max(memory, promised, short) > math.MaxInt64 || cores > maxCores {
		return meta{}, errMeta
	}
	n.Memory, n.Promised, n.Short, n.Cores = int64(memory), int64(promised), int64(short), int(cores)
	if err := checkNode(n); err != nil {
		return meta{}, fmt.Errorf("%w: %w", errMeta, err)
	}
	return m, nil
}

// checkNode holds the fields that travel in the metadata to their ranges.
func checkNode(n *Node) error {
	switch {
	case n.Role > Client:
		return fmt.Errorf("role %d is unknown", n.Role)
	case n.Memory < 0 || n.Promised < 0 || n.Short < 0:
		return fmt.Errorf("memory %d, promised %d or short %d is negative", n.Memory, n.Promised, n.Short)
	case !(n.Bandwidth >= 0) || math.IsInf(n.Bandwidth, 1):
		return fmt.Errorf("bandwidth %v is not a finite, non-negative number", n.Bandwidth)
	case n.Cores < 0 || n.Cores > maxCores:
		return fmt.Errorf("cores %d is not in 0..%d", n.Cores, maxCores)
	}
	if err := n.Rates.Check(); err != nil {
		return err
	}
	for _, s := range []string{n.Transport, n.Device, n.Version, n.Machine, n.CPUs} {
		if !utf8.ValidString(s) {
			return fmt.Errorf("%q is not UTF-8", s)
		}
	}
	return nil
}

func appendString(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

func appendRates(b []byte, r *placement.Rates) []byte {
	if !r.Known() {
		return append(b, 0)
	}
	b = append(b, 1)
	for _, v := range r.Numbers() {
		b = binary.LittleEndian.AppendUint32(b, math.Float32bits(float32(*v)))
	}
	return b
}

// decoder reads from the front of b; after the first failure it yields zeros and stays bad.
type decoder struct {
	b   []byte
	bad bool
}

func (d *decoder) take(n uint64) []byte {
	if d.bad || n > uint64(len(d.b)) {
		d.bad = true
		return nil
	}
	p := d.b[:n]
	d.b = d.b[n:]
	return p
}

func (d *decoder) byte() byte {
	if p := d.take(1); p != nil {
		return p[0]
	}
	return 0
}

func (d *decoder) rates() (r placement.Rates) {
	switch d.byte() {
	case 0:
	case 1:
		for _, v := range r.Numbers() {
			*v = float64(math.Float32frombits(d.uint32()))
		}
	default:
		d.bad = true
	}
	return r
}

func (d *decoder) uint32() uint32 {
	if p := d.take(4); p != nil {
		return binary.LittleEndian.Uint32(p)
	}
	return 0
}

func (d *decoder) uint64() uint64 {
	if p := d.take(8); p != nil {
		return binary.LittleEndian.Uint64(p)
	}
	return 0
}

func (d *decoder) uvarint() uint64 {
	v, n := binary.Uvarint(d.b)
	if n <= 0 {
		d.bad = true
		return 0
	}
	d.take(uint64(n))
	return v
}

func (d *decoder) string() string { return string(d.take(d.uvarint())) }
