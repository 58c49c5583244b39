package cluster

import (
	"errors"
	"fmt"

	"github.com/hashicorp/memberlist"
)

// Why a peer is refused. memberlist passes errors on as text, so each has a phrase of its own by
// which Join knows it again.
var (
	ErrCluster   = errors.New("belongs to another cluster")
	ErrProtocol  = errors.New("speaks another protocol version")
	ErrNameTaken = errors.New("has a name that is taken")
	ErrKey       = errors.New("gossip keys do not match")
)

// admission decides who may be a member. memberlist asks it about every alive message
// (NotifyAlive, with its lock held) and, on both sides of a join, about everyone whom the other
// side knows (NotifyMerge).
type admission struct {
	m *Membership
}

// NotifyAlive implements memberlist.AliveDelegate.
func (a admission) NotifyAlive(peer *memberlist.Node) error {
	if peer.Name == a.m.name {
		return nil // our own; a second node of our name is a conflict
	}
	_, err := a.m.admit(peer)
	if err != nil {
		a.m.once.warn("peer refused", err)
	}
	return err
}

// NotifyMerge implements memberlist.MergeDelegate.
func (a admission) NotifyMerge(peers []*memberlist.Node) error {
	select {
	case <-a.m.ready:
	case <-a.m.done:
		return errClosed
	}
	for _, p := range peers {
		if p.State == memberlist.StateDead || p.State == memberlist.StateLeft {
			continue
		}
		_, err := a.m.admit(p)
		if err == nil {
			err = a.m.nameFree(p)
		}
		if err != nil {
			a.m.once.warn("join refused", err)
			return err
		}
	}
	return nil
}

// NotifyConflict implements memberlist.ConflictDelegate.
func (a admission) NotifyConflict(existing, other *memberlist.Node) {
	a.m.once.warn("peer refused", nameTaken(other, existing.Address()))
}

// admit checks a peer's name, protocol and cluster, and gives what it offers.
func (m *Membership) admit(peer *memberlist.Node) (Node, error) {
	if err := CheckName(peer.Name); err != nil {
		return Node{}, fmt.Errorf("node at %s: %w", peer.Address(), err)
	}
	meta, err := decodeMeta(peer.Meta)
	switch {
	case err != nil:
		return Node{}, fmt.Errorf("node %s at %s: %w", peer.Name, peer.Address(), err)
	case meta.protocol != Protocol:
		return Node{}, fmt.Errorf("node %s at %s %w: %d, here %d", peer.Name, peer.Address(), ErrProtocol, meta.protocol, Protocol)
	case meta.cluster != m.cluster:
		return Node{}, fmt.Errorf("node %s at %s %w: %q, here %q", peer.Name, peer.Address(), ErrCluster, meta.cluster, m.cluster)
	}
	n := meta.node
	n.Name, n.Gossip = peer.Name, peer.Address()
	return n, nil
}

// nameFree fails when another address is known under the peer's name.
func (m *Membership) nameFree(peer *memberlist.Node) error {
	known := m.addr
	if peer.Name != m.name {
		m.mu.Lock()
		if p := m.members[peer.Name]; p != nil && p.alive {
			known = p.node.Gossip
		} else {
			known = peer.Address()
		}
		m.mu.Unlock()
	}
	if known != peer.Address() {
		return nameTaken(peer, known)
	}
	return nil
}

func nameTaken(peer *memberlist.Node, by string) error {
	return fmt.Errorf("node %s at %s %w by the node at %s", peer.Name, peer.Address(), ErrNameTaken, by)
}
