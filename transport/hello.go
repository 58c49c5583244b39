package transport

import (
	"encoding/binary"
	"fmt"
	"io"

	"github.com/orrery-ai/orrery/transport/shm"
)

// The first thing on a connection is a hello in each direction. Its first 12 bytes are the same in all
// versions of the protocol, so that nodes of different versions can at least refuse each other:
//
//	0  magic    "ORRY"
//	4  version  u16
//	6  kind     u8   hello (from the one who dialled), accept or refuse
//	7  class    u8
//	8  length   u32  bytes that follow, at most 1024
//
// The version counts what changes in what nodes tell each other over lanes, too: the steps and answers of package engine.
//
// Then come reason, cluster, from, to and memory, each a u16 length and bytes, and frameBytes, window and
// features, u32.
const (
	helloMagic   = "ORRY"
	helloVersion = 6
	helloPrefix  = 12
	maxHello     = 1024
)

type helloKind uint8

const (
	helloAsk helloKind = iota + 1
	helloAccept
	helloRefuse
)

const (
	// featureRDMA says that the node can go on over RDMA. If both do, that is what follows the hellos: see
	// rdma.Provider.Upgrade.
	featureRDMA = 1 << iota
	// featureSums says that the node wants checksums. If one of them does, frames carry them over TCP.
	featureSums
	// featureShared says that the node can go on through shared memory. If both do, the one that has dialled says whether it does.
	featureShared
)

type hello struct {
	version    uint16
	kind       helloKind
	class      class
	reason     string // of a refusal
	cluster    string
	from, to   string // nodes
	memory     string // an shm.Offer of from's, or nothing
	frameBytes int    // largest data frame that from takes
	window     int    // frames that from takes on a lane without crediting them
	features   uint32 // that from offers
}

func (h hello) append(b []byte) []byte {
	b = append(b, helloMagic...)
	b = binary.LittleEndian.AppendUint16(b, h.version)
	b = append(b, byte(h.kind), byte(h.class), 0, 0, 0, 0)
	start := len(b)
	for _, s := range []string{h.reason, h.cluster, h.from, h.to, h.memory} {
		s = s[:min(len(s), maxReason)]
		b = binary.LittleEndian.AppendUint16(b, uint16(len(s)))
		b = append(b, s...)
	}
	b = binary.LittleEndian.AppendUint32(b, uint32(h.frameBytes))
	b = binary.LittleEndian.AppendUint32(b, uint32(h.window))
	b = binary.LittleEndian.AppendUint32(b, h.features)
	binary.LittleEndian.PutUint32(b[start-4:], uint32(len(b)-start))
	return b
}

// readHello reads one hello. One of another version comes back with only version, kind and class, and
// no error: the caller has to look at the version first.
func readHello(r io.Reader) (hello, error) {
	var h hello
	prefix := make([]byte, helloPrefix, maxHello)
	if _, err := io.ReadFull(r, prefix); err != nil {
		return h, fmt.Errorf("reading the hello: %w", err)
	}
	if isTLS(prefix) {
		return h, errTLS
	}
	if string(prefix[:4]) != helloMagic {
		return h, protocolError("not a hello: %q", prefix[:4])
	}
	h.version = binary.LittleEndian.Uint16(prefix[4:])
	h.kind, h.class = helloKind(prefix[6]), class(prefix[7])
	n := binary.LittleEndian.Uint32(prefix[8:])
	if n > maxHello {
		return h, protocolError("a hello of %d bytes, the largest allowed is %d", n, maxHello)
	}
	b := prefix[:n]
	if _, err := io.ReadFull(r, b); err != nil {
		return h, fmt.Errorf("reading the hello: %w", err)
	}
	if h.version != helloVersion {
		return h, nil
	}
	for _, s := range []*string{&h.reason, &h.cluster, &h.from, &h.to, &h.memory} {
		if len(b) < 2 || len(b)-2 < int(binary.LittleEndian.Uint16(b)) {
			return h, protocolError("hello is cut short")
		}
		end := 2 + int(binary.LittleEndian.Uint16(b))
		*s, b = string(b[2:end]), b[end:]
	}
	if n := len(h.memory); n != 0 && n != shm.OfferBytes {
		return h, protocolError("hello with an offer of memory of %d bytes", n)
	}
	if len(b) != 12 {
		return h, protocolError("hello has %d bytes after its names, want 12", len(b))
	}
	h.frameBytes = int(binary.LittleEndian.Uint32(b))
	h.window = int(binary.LittleEndian.Uint32(b[4:]))
	h.features = binary.LittleEndian.Uint32(b[8:])
	return h, nil
}

// refusal is why the node that expects want turns h down; empty if it does not. A field that is empty
// in want is not compared.
func (h hello) refusal(want hello) string {
	switch {
	case h.version != want.version:
		return fmt.Sprintf("protocol version %d, want %d", h.version, want.version)
	case h.kind != want.kind:
		return fmt.Sprintf("hello of kind %d, want %d", h.kind, want.kind)
	case h.cluster != want.cluster:
		return fmt.Sprintf("cluster %q, want %q", h.cluster, want.cluster)
	case h.to != want.to:
		return fmt.Sprintf("the node dialled is %q, not %q", want.to, h.to)
	case want.from != "" && h.from != want.from:
		return fmt.Sprintf("the answer is from node %q, not %q", h.from, want.from)
	case checkName("node", h.from) != nil:
		return fmt.Sprintf("bad node name %q", h.from)
	case h.from == h.to:
		return fmt.Sprintf("node %q cannot connect to itself: another node has its name", h.from)
	case h.class == 0 || h.class >= numClasses || want.class != 0 && h.class != want.class:
		return fmt.Sprintf("connection of class %d", h.class)
	case h.frameBytes < MinFrame || h.frameBytes > MaxFrame:
		return fmt.Sprintf("frames of %d bytes, want %d to %d", h.frameBytes, MinFrame, MaxFrame)
	case h.window < 1 || h.window > maxWindow:
		return fmt.Sprintf("a window of %d frames, want 1 to %d", h.window, maxWindow)
	}
	return ""
}
