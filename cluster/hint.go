package cluster

import (
	"net"
	"time"
)

// mostPings is how many pings must be unanswered, each for probeTimeout, before a node is given up.
const mostPings = 5

// Hint says that a transport connection to the named node was lost. It returns at once. The node is
// pinged, and when it does not answer in 0.75 s it is reported Lost here without waiting for the
// gossip to find out; see the package comment. Hints about unknown nodes and about nodes that are
// leaving anyway are ignored.
func (m *Membership) Hint(name string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	p := m.members[name]
	if p == nil || !p.alive || p.farewell || p.checking || m.closed {
		return
	}
	addr, err := net.ResolveUDPAddr("udp", p.node.Gossip)
	if err != nil {
		return // not so: Gossip is made from an IP address and a port
	}
	p.checking = true
	m.running.Add(1)
	go m.check(p, p.life, name, addr)
}

// check finds out whether p lives, and when it does not answer keeps it cut off until it does, or
// until memberlist agrees that it is gone.
func (m *Membership) check(p *member, life uint64, name string, addr *net.UDPAddr) {
	defer m.running.Done()
	defer func() {
		m.mu.Lock()
		p.checking = false
		m.mu.Unlock()
	}()
	if m.answers(name, addr) || !m.setCut(p, life, true) {
		return
	}
	m.log.Warn("node does not answer", "peer", name, "addr", addr.String())
	again := time.NewTicker(probeInterval)
	defer again.Stop()
	for {
		select {
		case <-again.C:
		case <-m.done:
			return
		}
		if _, err := m.list.Ping(name, addr); err == nil {
			m.setCut(p, life, false)
			return
		}
		m.mu.Lock()
		over := !p.cut || p.life != life
		m.mu.Unlock()
		if over {
			return
		}
	}
}

// answers pings a node, until the membership is closed.
func (m *Membership) answers(name string, addr net.Addr) bool {
	for range mostPings {
		select {
		case <-m.done:
			return false
		default:
		}
		if _, err := m.list.Ping(name, addr); err == nil {
			return true
		}
	}
	return false
}

// setCut marks p as cut off or back, unless that life of it is over.
func (m *Membership) setCut(p *member, life uint64, cut bool) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !p.alive || p.life != life || p.farewell || m.closed {
		return false
	}
	p.cut = cut
	if cut {
		p.end = Lost
	} else {
		p.life++
	}
	m.changed(p)
	return true
}
