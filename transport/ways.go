package transport

import (
	"cmp"
	"slices"

	"github.com/orrery-ai/orrery/device"
	"github.com/orrery-ai/orrery/transport/rdma"
)

// Over is what the frames of a connection go over.
type Over string

// What frames go over.
const (
	OverConnection   Over = "connection" // TCP
	OverSharedMemory Over = "shared memory"
	OverRDMA         Over = "RDMA"
)

// Way is how an endpoint exchanges small messages, on which a step waits, with a peer.
type Way struct {
	Peer   string
	Over   Over  // of the connection to the peer or, if there is none, of that from it
	Memory int64 // that the two share, in bytes: of connections in both directions, and of lanes of devices
}

// Ways is how the endpoint exchanges with each peer with which it has a connection for small messages, by their names.
func (e *Endpoint) Ways() []Way {
	e.mu.Lock()
	defer e.mu.Unlock()
	ways := make(map[string]*Way)
	at := func(peer string) *Way {
		if ways[peer] == nil {
			ways[peer] = &Way{Peer: peer}
		}
		return ways[peer]
	}
	for k, l := range e.in {
		if k.class == classSmall {
			at(k.node).Over = l.over()
		}
	}
	for k, d := range e.out {
		if k.class == classSmall && d.link != nil {
			at(k.node).Over = d.link.over()
		}
	}
	for k, w := range ways {
		for c := range numClasses {
			k := linkKey{k, c}
			if l := e.in[k]; l != nil {
				w.Memory += l.shared()
			}
			if d := e.out[k]; d != nil && d.link != nil {
				w.Memory += d.link.shared() + d.link.sharedLanes()
			}
		}
	}
	for k, r := range e.receivers {
		if w := ways[k.from]; w != nil && r.share != nil {
			w.Memory += int64(device.LaneBytes(r.share.size))
		}
	}
	all := make([]Way, 0, len(ways))
	for _, w := range ways {
		all = append(all, *w)
	}
	slices.SortFunc(all, func(x, y Way) int { return cmp.Compare(x.Peer, y.Peer) })
	return all
}

// over is what the link's frames go over.
func (l *link) over() Over {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch l.nc.(type) {
	case *mapped:
		return OverSharedMemory
	case *rdma.Conn:
		return OverRDMA
	}
	return OverConnection
}

// shared is the memory that the link goes through, in bytes.
func (l *link) shared() int64 {
	if l.over() != OverSharedMemory {
		return 0
	}
	return int64(streamRooms[l.class].Bytes())
}

// sharedLanes is the memory of lanes of devices that the link opened, in bytes.
func (l *outlink) sharedLanes() (n int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, s := range l.senders {
		if s.share != nil {
			n += int64(device.LaneBytes(s.share.size))
		}
	}
	return n
}
