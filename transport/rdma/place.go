package rdma

import (
	"fmt"
	"net"
	"net/netip"

	"github.com/orrery-ai/orrery/transport/verbs"
)

// place is where a connection leaves the machine.
type place struct {
	device *device
	port   int
	info   verbs.PortInfo
	gid    verbs.GID // zero where LIDs do
	index  int       // of gid in the port's table
}

// String names the device and the port.
func (p place) String() string { return fmt.Sprintf("%s port %d", p.device.name, p.port) }

// maxGIDs bounds how much of a port's table of addresses is looked at.
const maxGIDs = 256

// placeFor is the active port that has the address, or else the first InfiniBand port that is active; of a
// device that was asked for by name any active port will do.
func (p *Provider) placeFor(addr netip.Addr) (place, error) {
	var second *place
	for _, name := range p.names() {
		d := p.devices[name]
		for port := 1; port <= d.ports; port++ {
			info, err := d.ctx.Port(port)
			if err != nil || info.State != verbs.PortActive {
				continue
			}
			at := place{device: d, port: port, info: info}
			matches := at.chooseGID(addr)
			if matches {
				return at, nil
			}
			usable := info.Link == verbs.LinkInfiniBand && info.LID != 0 || p.want != "" && !at.gid.IsZero()
			if usable && second == nil {
				second = &at
			}
		}
	}
	if second == nil {
		return place{}, fmt.Errorf("no active RDMA port has the address %s of this connection", addr)
	}
	return *second, nil
}

// chooseGID takes the address itself from the port's table if it is there, and says whether it is; else, on
// a link that is not InfiniBand, another one. Of several that are alike it takes RoCE v2, which routers know,
// or if types are not known the last: v2 follows v1.
func (p *place) chooseGID(addr netip.Addr) bool {
	matches, best := false, -1
	for i := range min(p.info.GIDs, maxGIDs) {
		gid, kind, ok := p.device.ctx.GID(p.port, i)
		if !ok {
			continue
		}
		same, score := gid.IP() == addr, 0
		if same {
			score = 4
		} else if p.info.Link == verbs.LinkInfiniBand {
			continue
		}
		if gid.IP().Is4() {
			score += 2
		}
		if kind == verbs.GIDRoCEv2 {
			score++
		}
		if score >= best {
			matches, best = same, score
			p.gid, p.index = gid, i
		}
	}
	return matches
}

// localAddr is the address at which this end of nc is.
func localAddr(nc net.Conn) netip.Addr {
	a, err := netip.ParseAddrPort(nc.LocalAddr().String())
	if err != nil {
		return netip.Addr{}
	}
	return a.Addr().Unmap().WithZone("")
}
