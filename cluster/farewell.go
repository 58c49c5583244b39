package cluster

import (
	"errors"
	"strconv"
	"time"

	"github.com/hashicorp/memberlist"
)

// A leaving node tells every member by a packet, and again until each has acknowledged or the time
// is over. A packet is its kind and the sender's name.
const (
	farewellMsg byte = 1
	acceptedMsg byte = 2

	farewellEvery  = 40 * time.Millisecond
	farewellWithin = 500 * time.Millisecond
)

// sayFarewell returns when everyone present has acknowledged, or after the given time.
func (m *Membership) sayFarewell(within time.Duration) {
	waiting := map[string]string{} // name: gossip address
	for _, n := range m.Nodes() {
		if n.Name != m.name {
			waiting[n.Name] = n.Gossip
		}
	}
	over := time.NewTimer(within)
	defer over.Stop()
	again := time.NewTicker(farewellEvery)
	defer again.Stop()
	for len(waiting) > 0 {
		for name, addr := range waiting {
			m.send(farewellMsg, name, addr)
		}
		for next := false; !next && len(waiting) > 0; {
			select {
			case name := <-m.accepted:
				delete(waiting, name)
			case <-again.C:
				next = true
			case <-over.C:
				return
			case <-m.done:
				return
			}
		}
	}
}

// tellLeaving has memberlist gossip that this node leaves, and returns when that is out, or nobody is left to hear
// it. memberlist's own Leave waits for packets that it no longer sends once all others have left too, as nodes do
// that one program started: so it is only asked to begin, and the packets are counted here.
func (m *Membership) tellLeaving(end time.Time) error {
	enough := uint64(retransmitMult * len(strconv.Itoa(m.list.NumMembers())))
	before := m.packets.Load()
	_ = m.list.Leave(time.Nanosecond) // the time is always over
	look := time.NewTicker(gossipInterval / 5)
	defer look.Stop()
	for m.list.NumMembers() > 0 && m.packets.Load()-before < enough {
		if time.Now().After(end) {
			return errors.New("cluster: leave: the news was not out in time")
		}
		<-look.C
	}
	return nil
}

func (m *Membership) send(kind byte, name, addr string) {
	err := m.list.SendToAddress(memberlist.Address{Name: name, Addr: addr}, append([]byte{kind}, m.name...))
	if err != nil {
		m.log.Debug("gossip: packet not sent", "peer", name, "addr", addr, "reason", err.Error())
	}
}

// receive takes a packet of another node.
func (m *Membership) receive(b []byte) {
	select {
	case <-m.ready:
	default:
		return // it will be sent again
	}
	if len(b) < 2 {
		return
	}
	name := string(b[1:])
	switch b[0] {
	case farewellMsg:
		m.mu.Lock()
		p := m.members[name]
		var addr string
		if p != nil {
			addr = p.node.Gossip
			p.farewell = p.alive
		}
		m.mu.Unlock()
		if p != nil {
			m.send(acceptedMsg, name, addr)
		}
	case acceptedMsg:
		select {
		case m.accepted <- name:
		default: // it will be asked again
		}
	}
}
