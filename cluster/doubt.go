package cluster

import (
	"net"
	"time"
)

// refuteWithin is how long a node that answers has to tell memberlist that it is not dead. The news of its death
// goes to it too, in a few gossip intervals, and its answer comes back as fast.
const refuteWithin = 3 * time.Second

// doubt asks a node whether it is dead, as memberlist says. It may be that it had no processor for a while, or that
// this node had none: then the answers that it has given lie unread, and the time for them is up. If it answers it stays,
// as long as it can take to be heard by memberlist as well.
func (m *Membership) doubt(p *member, life uint64, name, gossip string) {
	defer m.running.Done()
	addr, err := net.ResolveUDPAddr("udp", gossip)
	if err == nil && m.answers(name, addr) {
		m.log.Warn("node was held for dead, and answers", "peer", name, "addr", gossip)
		m.awaitRefutation(p, life)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if p.life == life && p.doubted {
		p.doubted = false
		m.changed(p)
	}
}

// awaitRefutation waits until p is alive for memberlist, but no longer than refuteWithin.
func (m *Membership) awaitRefutation(p *member, life uint64) {
	look := time.NewTicker(probeInterval / 3)
	defer look.Stop()
	for end := time.Now().Add(refuteWithin); time.Now().Before(end); {
		select {
		case <-look.C:
		case <-m.done:
			return
		}
		m.mu.Lock()
		over := p.life != life || !p.doubted
		m.mu.Unlock()
		if over {
			return
		}
	}
}
