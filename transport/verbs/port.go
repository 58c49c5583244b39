package verbs

import (
	"fmt"
	"net/netip"
	"unsafe"
)

// PortState is the state of a port; only an active one carries data.
type PortState int32

// The states of a port: enum ibv_port_state.
const (
	PortNop PortState = iota
	PortDown
	PortInit
	PortArmed
	PortActive
	PortActiveDefer
)

// String is the state in a word.
func (s PortState) String() string {
	return word([]string{"no change", "down", "initializing", "armed", "active", "active, deferred"}, int(s), "state")
}

// LinkLayer is what a port's cable carries.
type LinkLayer uint8

// The link layers: IBV_LINK_LAYER_*.
const (
	LinkUnspecified LinkLayer = iota
	LinkInfiniBand
	LinkEthernet
)

// String names the link layer.
func (l LinkLayer) String() string {
	return word([]string{"unspecified", "InfiniBand", "Ethernet"}, int(l), "link layer")
}

// MTU is the largest packet of a path: enum ibv_mtu.
type MTU int32

// The MTUs that there are.
const (
	MTU256 MTU = iota + 1
	MTU512
	MTU1024
	MTU2048
	MTU4096
)

// Bytes is the MTU in bytes, or 0 if there is no such MTU.
func (m MTU) Bytes() int {
	if m < MTU256 || m > MTU4096 {
		return 0
	}
	return 128 << m
}

// PortInfo is the state of a port and its place in the network.
type PortInfo struct {
	State     PortState
	Link      LinkLayer
	ActiveMTU MTU
	GIDs      int    // length of the table of addresses
	LID       uint16 // address in an InfiniBand subnet; 0 elsewhere
	Width     uint8  // code of the number of lanes
	Speed     uint8  // code of the speed of a lane
}

// Rate is the port's signalling rate in Gbit/s, 0 if the codes are not known. The codes are those of the
// InfiniBand specification's PortInfo, and mean the same on other links.
func (p PortInfo) Rate() float64 {
	lanes := map[uint8]float64{1: 1, 2: 4, 4: 8, 8: 12, 16: 2}[p.Width]
	each := map[uint8]float64{1: 2.5, 2: 5, 4: 10, 8: 10, 16: 14, 32: 25, 64: 50, 128: 100}[p.Speed]
	return lanes * each
}

// Port asks for the state of a port, numbered from 1.
func (c *Context) Port(port int) (PortInfo, error) {
	a := new(cPortAttr)
	if err := status("ibv_query_port", c.l.queryPort, c.ptr, uintptr(uint8(port)), uintptr(unsafe.Pointer(a))); err != nil {
		return PortInfo{}, fmt.Errorf("port %d: %w", port, err)
	}
	return PortInfo{
		State: PortState(a.state), Link: LinkLayer(a.linkLayer), ActiveMTU: MTU(a.activeMTU),
		GIDs: int(a.gidTblLen), LID: a.lid, Width: a.activeWidth, Speed: a.activeSpeed,
	}, nil
}

// GIDType is how packets with an address travel.
type GIDType uint32

// The types of addresses: enum ibv_gid_type; GIDUnknown where the library does not tell.
const (
	GIDInfiniBand GIDType = iota
	GIDRoCEv1
	GIDRoCEv2
	GIDUnknown GIDType = 1<<32 - 1
)

// String names the type.
func (t GIDType) String() string {
	if t == GIDUnknown {
		return "unknown"
	}
	return word([]string{"InfiniBand", "RoCE v1", "RoCE v2"}, int(t), "type")
}

// GID is a port's global address, in the form of an IPv6 address. That of an Ethernet port is its IP
// address; IPv4 is mapped.
type GID [16]byte

// IP is the GID as an IP address.
func (g GID) IP() netip.Addr { return netip.AddrFrom16(g).Unmap() }

// IsZero says that there is no address.
func (g GID) IsZero() bool { return g == GID{} }

// GID reads entry index of a port's table of addresses, and its type; false if the entry is empty.
func (c *Context) GID(port, index int) (GID, GIDType, bool) {
	if c.l.queryGIDEx != 0 {
		e := new(cGIDEntry)
		err := status("ibv_query_gid_ex", c.l.queryGIDEx, c.ptr, uintptr(uint32(port)), uintptr(uint32(index)),
			uintptr(unsafe.Pointer(e)), 0, unsafe.Sizeof(*e))
		if err == nil {
			return e.gid, GIDType(e.gidType), !e.gid.IsZero()
		}
	}
	g := new(GID)
	err := status("ibv_query_gid", c.l.queryGID, c.ptr, uintptr(uint8(port)), uintptr(int32(index)), uintptr(unsafe.Pointer(g)))
	return *g, GIDUnknown, err == nil && !g.IsZero()
}

// word is the name of a value of an enumeration.
func word(names []string, i int, what string) string {
	if i >= 0 && i < len(names) {
		return names[i]
	}
	return fmt.Sprintf("%s %d", what, i)
}
