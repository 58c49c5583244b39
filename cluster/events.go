package cluster

import (
	"slices"
	"strings"

	"github.com/hashicorp/memberlist"
)

// EventKind is what happened to a node.
type EventKind uint8

// The kinds of events.
const (
	Joined  EventKind = iota + 1 // it is a member now
	Updated                      // it offers something else
	Left                         // it left of its own accord
	Lost                         // it died, or cannot be reached
)

// String names the kind.
func (k EventKind) String() string {
	switch k {
	case Joined:
		return "joined"
	case Updated:
		return "updated"
	case Left:
		return "left"
	case Lost:
		return "lost"
	}
	return "unknown"
}

// Event is a change in the cluster. Node is as it is now, or for Left and Lost as it was last told.
type Event struct {
	Kind EventKind
	Node Node
}

// member is another node: what is known of it, and what the reader of events was told.
type member struct {
	node     Node      // as last gossiped
	alive    bool      // as memberlist has it
	doubted  bool      // dead for memberlist, and asked whether it is
	cut      bool      // alive for memberlist, but it has not answered since a hint
	farewell bool      // it has said that it will leave
	checking bool      // a hint is being followed up
	life     uint64    // counts joins, so that a death between two deliveries shows
	end      EventKind // how its last life ended
	queued   bool      // waits in Membership.queue

	told     bool // the reader knows it as present,
	toldLife uint64
	toldNode Node // like this
}

func (p *member) present() bool { return (p.alive || p.doubted) && !p.cut }

// next is the event that brings the reader nearer to what is known of p, if one is due.
func (p *member) next() (Event, bool) {
	switch {
	case p.told && (!p.present() || p.life != p.toldLife):
		p.told = false
		return Event{p.end, p.toldNode}, true
	case !p.told && p.present():
		p.told, p.toldLife, p.toldNode = true, p.life, p.node
		return Event{Joined, p.node}, true
	case p.told && p.node != p.toldNode:
		p.toldNode = p.node
		return Event{Updated, p.node}, true
	}
	return Event{}, false
}

// changed queues a member whose state changed. The caller holds mu.
func (m *Membership) changed(p *member) {
	if p.queued {
		return
	}
	p.queued = true
	m.queue = append(m.queue, p.node.Name)
	select {
	case m.wake <- struct{}{}:
	default:
	}
}

// nextEvent takes the next event due, if there is one.
func (m *Membership) nextEvent() (Event, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for len(m.queue) > 0 {
		name := m.queue[0]
		p := m.members[name]
		e, due := p.next()
		m.queue = m.queue[1:]
		if due {
			m.queue = append(m.queue, name) // a death may be followed by a join
			return e, true
		}
		p.queued = false
		if !p.alive && !p.doubted {
			delete(m.members, name)
		}
	}
	m.queue = nil
	return Event{}, false
}

// deliver hands events to the reader until the membership is closed.
func (m *Membership) deliver() {
	defer m.running.Done()
	defer close(m.events)
	for {
		e, ok := m.nextEvent()
		if !ok {
			select {
			case <-m.wake:
				continue
			case <-m.done:
				return
			}
		}
		select {
		case m.events <- e:
		case <-m.done:
			return
		}
	}
}

// Events gives what happens to the other nodes, from Start on; the node itself has no events. There
// is one stream, for one reader. Close ends it.
func (m *Membership) Events() <-chan Event { return m.events }

// Nodes is everyone present, this node included, sorted by name. It may be ahead of Events.
func (m *Membership) Nodes() []Node {
	m.mu.Lock()
	nodes := make([]Node, 0, len(m.members)+1)
	nodes = append(nodes, m.self)
	for _, p := range m.members {
		if p.present() {
			nodes = append(nodes, p.node)
		}
	}
	m.mu.Unlock()
	slices.SortFunc(nodes, func(a, b Node) int { return strings.Compare(a.Name, b.Name) })
	return nodes
}

// observer keeps members as memberlist reports them. Its methods run with memberlist's lock held:
// they must not block, nor call memberlist.
type observer struct{ m *Membership }

// NotifyJoin implements memberlist.EventDelegate.
func (o observer) NotifyJoin(n *memberlist.Node) {
	o.see(n, func(p *member, was Node) {
		refuted := p.doubted && was.Gossip == p.node.Gossip && was.Transport == p.node.Transport
		p.alive, p.doubted, p.cut, p.farewell = true, false, false, false
		if !refuted {
			p.life++
		}
	})
}

// NotifyUpdate implements memberlist.EventDelegate.
func (o observer) NotifyUpdate(n *memberlist.Node) { o.see(n, func(*member, Node) {}) }

// NotifyLeave implements memberlist.EventDelegate.
func (o observer) NotifyLeave(n *memberlist.Node) {
	m := o.m
	m.mu.Lock()
	defer m.mu.Unlock()
	p := m.members[n.Name]
	if p == nil {
		return // ourselves
	}
	p.end = Lost
	if p.farewell {
		p.end = Left
	}
	if p.alive && !p.cut && !p.farewell && !m.closed && !m.leaving {
		p.doubted = true
		m.running.Add(1)
		go m.doubt(p, p.life, n.Name, p.node.Gossip)
	}
	p.alive, p.cut = false, false
	m.changed(p)
}

// see takes over what a node offers, and applies change, which is told what it offered before.
func (o observer) see(n *memberlist.Node, change func(p *member, was Node)) {
	m := o.m
	if n.Name == m.name {
		return
	}
	node, err := m.admit(n)
	if err != nil {
		m.once.warn("peer ignored", err)
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	p := m.members[n.Name]
	if p == nil {
		p = &member{}
		m.members[n.Name] = p
	}
	was := p.node
	p.node = node
	change(p, was)
	m.changed(p)
}
