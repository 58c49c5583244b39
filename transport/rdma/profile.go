package rdma

import (
	"runtime"

	"github.com/orrery-ai/orrery/transport/verbs"
)

// profile is what connections of a kind of adapter are like.
type profile struct {
	service   verbs.Service
	slotBytes int  // of a message, header included
	slots     int  // messages of data on the way in one direction
	whole     bool // messages always have slotBytes: a send and its receive must be of one size
	access    verbs.Access
	hops      uint8 // routers on the way, at most
}

// reliable is for InfiniBand and RoCE. A slot takes the largest frame of package transport's default, with its
// header; 8 of them, half a megabyte, keep 100 Gbit/s filled for 40 µs.
var reliable = profile{
	service: verbs.Reliable, slotBytes: 64<<10 + 64, slots: 8, access: verbs.LocalWrite, hops: 64,
}

// thunderbolt is for macOS. Others have measured there that messages of one frame of 4 KiB are the safe ones,
// that queues take less than 64 of them whatever they promise, and that memory is not accepted without
// every right; docs/rdma.md has the sources.
var thunderbolt = profile{
	service: verbs.Unreliable, slotBytes: 4 << 10, slots: 32, whole: true, hops: 1,
	access: verbs.LocalWrite | verbs.RemoteWrite | verbs.RemoteRead,
}

// systemProfile is that of the adapters that the system has.
func systemProfile() profile {
	if runtime.GOOS == "darwin" {
		return thunderbolt
	}
	return reliable
}

// Slots beyond those for data. To receive: two messages of credits, for a third cannot come before the first has
// been dealt with (each brings half of all credits), and a goodbye. To send: credits and a goodbye.
const (
	spareReceives = 3
	spareSends    = 2
)

func (p profile) sends() int    { return p.slots + spareSends }
func (p profile) receives() int { return p.slots + spareReceives }

// maxConnections bounds the connections of a device in this process, and so its registrations: one each. On
// Thunderbolt a device has room for about 100 registrations and 10 queue pairs.
const maxConnections = 64
