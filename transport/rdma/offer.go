package rdma

import (
	"encoding/binary"
	"fmt"
	"io"

	"github.com/orrery-ai/orrery/transport/verbs"
)

// What the ends say to each other over TCP before they use RDMA: an offer, then twice whether all is well so
// far. All three have the same form, of which the last two use only the reason. Integers are little-endian.
//
//	 0  magic      "ORDM"
//	 4  step       u8   1 offer, 2 connected, 3 tried
//	 5  service    u8   verbs.Service
//	 6  mtu        u8   verbs.MTU
//	 7             u8   zero
//	 8  queue pair u32  its number
//	12  psn        u32  the number of its first packet
//	16  slot       u32  bytes of a slot for receives
//	20  slots      u16  receives for data
//	22  lid        u16
//	24  gid        16 bytes, all zero if there is none
//	40  reason     u16 length, and bytes: why this end cannot; empty if it can
const (
	offerMagic = "ORDM"
	offerBytes = 42
	maxReason  = 256

	maxSlots     = 1024
	minSlotBytes = 256
	maxSlotBytes = 2 << 20
)

type step uint8

const (
	stepOffer step = iota + 1
	stepConnected
	stepTried
)

type offer struct {
	step      step
	service   verbs.Service
	mtu       verbs.MTU
	qp, psn   uint32
	slotBytes int
	slots     int
	lid       uint16
	gid       verbs.GID
	reason    string
}

func (o offer) append(b []byte) []byte {
	b = append(b, offerMagic...)
	b = append(b, byte(o.step), byte(o.service), byte(o.mtu), 0)
	b = binary.LittleEndian.AppendUint32(b, o.qp)
	b = binary.LittleEndian.AppendUint32(b, o.psn)
	b = binary.LittleEndian.AppendUint32(b, uint32(o.slotBytes))
	b = binary.LittleEndian.AppendUint16(b, uint16(o.slots))
	b = binary.LittleEndian.AppendUint16(b, o.lid)
	b = append(b, o.gid[:]...)
	reason := o.reason[:min(len(o.reason), maxReason)]
	b = binary.LittleEndian.AppendUint16(b, uint16(len(reason)))
	return append(b, reason...)
}

// readOffer reads what the peer says at a step, and checks all that can be known without this end's offer.
func readOffer(r io.Reader, want step) (offer, error) {
	b := make([]byte, offerBytes, offerBytes+maxReason)
	if _, err := io.ReadFull(r, b); err != nil {
		return offer{}, fmt.Errorf("reading the peer's offer: %w", err)
	}
	o := offer{
		step: step(b[4]), service: verbs.Service(b[5]), mtu: verbs.MTU(b[6]),
		qp: binary.LittleEndian.Uint32(b[8:]), psn: binary.LittleEndian.Uint32(b[12:]),
		slotBytes: int(binary.LittleEndian.Uint32(b[16:])), slots: int(binary.LittleEndian.Uint16(b[20:])),
		lid: binary.LittleEndian.Uint16(b[22:]), gid: verbs.GID(b[24:40]),
	}
	n := int(binary.LittleEndian.Uint16(b[40:]))
	switch {
	case string(b[:4]) != offerMagic:
		return o, fmt.Errorf("%w: not an offer: %q", ErrProtocol, b[:4])
	case o.step != want:
		return o, fmt.Errorf("%w: step %d where %d was due", ErrProtocol, o.step, want)
	case n > maxReason:
		return o, fmt.Errorf("%w: a reason of %d bytes, the longest allowed is %d", ErrProtocol, n, maxReason)
	}
	if _, err := io.ReadFull(r, b[offerBytes:offerBytes+n]); err != nil {
		return o, fmt.Errorf("reading the peer's offer: %w", err)
	}
	o.reason = string(b[offerBytes : offerBytes+n])
	if o.step != stepOffer || o.reason != "" {
		return o, nil
	}
	const number = 1 << 24
	switch {
	case o.service != verbs.Reliable && o.service != verbs.Unreliable:
		return o, fmt.Errorf("%w: an offer of %v", ErrProtocol, o.service)
	case o.mtu.Bytes() == 0:
		return o, fmt.Errorf("%w: an offer with MTU code %d", ErrProtocol, o.mtu)
	case o.qp >= number || o.psn >= number:
		return o, fmt.Errorf("%w: an offer of queue pair %d, packet %d", ErrProtocol, o.qp, o.psn)
	case o.slotBytes < minSlotBytes || o.slotBytes > maxSlotBytes || o.slots < 1 || o.slots > maxSlots:
		return o, fmt.Errorf("%w: an offer of %d slots of %d bytes", ErrProtocol, o.slots, o.slotBytes)
	}
	return o, nil
}

// fits is why the ends cannot use RDMA, of which both have offered one; empty if they can. Both come to the
// same result.
func (o offer) fits(peer offer) string {
	switch {
	case o.service != peer.service:
		return fmt.Sprintf("one end has only a %v, the other a %v", min(o.service, peer.service), max(o.service, peer.service))
	case o.service == verbs.Unreliable && (o.slotBytes != peer.slotBytes || o.slots != peer.slots):
		return "unreliable connections need the same slots at both ends"
	case o.gid.IsZero() != peer.gid.IsZero():
		return "one end has a global address, the other only a local one"
	case o.gid.IsZero() && (o.lid == 0 || peer.lid == 0):
		return "an end has no address"
	}
	return ""
}
