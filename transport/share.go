package transport

import (
	"errors"
	"time"

	"github.com/orrery-ai/orrery/device"
	"github.com/orrery-ai/orrery/transport/shm"
)

// Where both ends of a lane of devices are on one machine, and spin, the lane is memory that both have mapped: what
// one device writes the other sees, and no host has anything to do with it. The receiving end makes that memory. The
// sending end asks for it, with what the answer to its hello says, and then opens the lane as one whose messages come
// that way. The connection stays for what else there is to say of a lane: that it is open, that it ends, and that the
// other process has gone.

// MakeLane makes a device's end of a lane for messages of size bytes, in the memory given or, if that is nil, in
// memory of the device's own. If it succeeds the device calls free, unless that is nil, when it needs the memory no
// more.
type MakeLane func(size int, memory []byte, free func()) (*device.Lane, error)

// LaneSizes are the largest messages of a lane of devices, in bytes.
type LaneSizes struct {
	Sent   int // over a connection
	Shared int // through shared memory: not less
}

// shared is what an end of a lane has of memory that the other end has, too.
type shared struct {
	memory *shm.Memory
	size   int              // of the largest message
	words  device.LaneWords // of this end
	out    bool
	handed bool // the other end has it; of a receiver, which locks it
	bound  bool // messages come through it; of a receiver
}

// used says that messages come through the memory of a receiver.
func (s *shared) used() bool { return s != nil && s.bound }

// use has messages come through it, if the sender has asked for it.
func (s *shared) use() bool {
	if s != nil && s.handed {
		s.bound = true
	}
	return s.used()
}

// count is how many messages the sender has signalled.
func (s *shared) count() uint64 {
	if s.out {
		return uint64(s.words.Done.Load())
	}
	return uint64(s.words.Ready.Load())
}

// beginSharing lets peers ask for memory.
func (e *Endpoint) beginSharing() {
	if e.c.NoSharedMemory {
		return
	}
	s, err := shm.Listen(e.handOut)
	if err != nil {
		level := e.c.Logger.Warn
		if errors.Is(err, shm.ErrUnsupported) {
			level = e.c.Logger.Debug
		}
		level("memory is not shared with nodes of this machine", "reason", err)
		return
	}
	e.mu.Lock()
	e.memory = s
	e.mu.Unlock()
}

// handOut finds the memory that a peer asks for.
func (e *Endpoint) handOut(ask shm.Secret, request []byte) (*shm.Memory, shm.Secret, error) {
	e.mu.Lock()
	l := e.offers[ask]
	e.mu.Unlock()
	if l == nil {
		return nil, shm.Secret{}, errors.New("the secret is not known")
	}
	var m *shm.Memory
	var err error
	if len(request) == 0 {
		m, err = e.streamOf(l)
	} else {
		m, err = e.memoryOf(l.node, request)
	}
	if err != nil {
		e.c.Logger.Debug("a request for memory is refused", "peer", l.node, "reason", err)
	}
	return m, l.offer.Answer, err
}

// memoryOf is the memory of the lane that a peer's request names.
func (e *Endpoint) memoryOf(peer string, request []byte) (*shm.Memory, error) {
	if len(request) != openBytes {
		return nil, protocolError("a request of %d bytes for memory", len(request))
	}
	o, err := parseOpen(request)
	if err != nil {
		return nil, err
	}
	r := e.receiver(peer, o.key)
	if r == nil {
		return nil, &ErrNoReceiver{Node: e.c.Node, Lane: o.key, Reason: "nobody is registered for it"}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.share == nil:
		return nil, errors.New("the lane shares no memory")
	case r.cause != nil || r.bound || int64(o.max) != int64(r.max):
		return nil, errors.New("the lane has failed, is open, or is for messages of another size")
	}
	r.share.handed = true
	return r.share.memory, nil
}

// newShared takes memory for a lane that comes in; nil if none is shared.
func (e *Endpoint) newShared(size int) *shared {
	if e.memory == nil || e.Synch() != Fast || e.c.Share != nil {
		return nil
	}
	m, err := shm.New(device.LaneBytes(size))
	if err != nil {
		e.logNoSharing(err)
		return nil
	}
	return &shared{memory: m, size: size}
}

// fetchShared asks a peer for the memory of the lane to it; nil if it is elsewhere, or has none for it.
func (e *Endpoint) fetchShared(to string, key LaneKey, size int) *shared {
	if e.memory == nil || e.Synch() != Fast || e.c.Share != nil || to == e.c.Node {
		return nil
	}
	l, err := e.connect(to, key.Purpose.class())
	if err != nil || l.offer == nil {
		return nil // opening the lane tells why
	}
	request := open{key: key, max: uint32(size), shared: true}.append(nil)
	m, err := shm.Fetch(time.Now().Add(e.c.DialTimeout), *l.offer, request, device.LaneBytes(size))
	if err != nil {
		e.c.Logger.Debug("no memory is shared", "peer", to, "lane", key, "reason", err)
		return nil
	}
	return &shared{memory: m, size: size, out: true}
}

// makeLane makes a device's end of a lane in memory that is shared, if there is some and the device can. It gives
// what it has used of it, and the size of the largest message.
func (e *Endpoint) makeLane(lane MakeLane, s *shared, most int) (*device.Lane, *shared, int, error) {
	if s != nil {
		l, err := lane(s.size, s.memory.Bytes(), func() { s.memory.Close() })
		if err == nil {
			s.words = l.Words
			return l, s, s.size, nil
		}
		s.memory.Close()
		e.logNoSharing(err)
	}
	l, err := lane(most, nil, nil)
	return l, nil, most, err
}

// logNoSharing says, once, why lanes are not in shared memory.
func (e *Endpoint) logNoSharing(err error) {
	e.noSharing.Do(func() {
		e.c.Logger.Warn("devices exchange over connections, not through shared memory", "reason", err)
	})
}
