package transport

import "encoding/binary"

// A frame is a header of 24 bytes and a payload. Integers are little-endian.
//
//	 0  kind    u8
//	 1  flags   u8
//	 2          u16  zero
//	 4  lane    u32  number of the lane on this connection, from 1; 0 for envelopes
//	 8  seq     u64  number of the message in its lane, from 0
//	16  length  u32  bytes of payload in this frame
//	20  total   u32  bytes of the whole message; for a credit, the number of frames credited
const headerBytes = 24

type frameKind uint8

// From the one who dialled come open, data, finish and envelope; from the other end credit and refuse.
const (
	frameOpen     frameKind = iota + 1 // payload: model u64, purpose u8, whether it is in shared memory u8, 2 zero bytes, largest message u32
	frameData                          // a piece of a message
	frameFinish                        // no more messages on this lane
	frameCredit                        // total more frames may be sent; the first one says that the lane is open
	frameRefuse                        // no more messages are wanted; payload: the reason
	frameEnvelope                      // payload: an Envelope
	numFrameKinds
)

const (
	flagFirst = 1 << iota // data: the first frame of its message
	flagLast              // data: the last frame of its message
	flagCut               // finish: the last message is incomplete
)

// Bounds of Config.FrameBytes.
const (
	MinFrame = 1 << 10
	MaxFrame = 1 << 20
)

const (
	maxWindow = 256
	openBytes = 16
	maxReason = 256
	// maxEnvelope bounds one actor message, envelope included, in bytes.
	maxEnvelope = 1 << 20
)

type header struct {
	kind   frameKind
	flags  uint8
	lane   uint32
	seq    uint64
	length uint32
	total  uint32
}

// put writes h into b, which has headerBytes.
func (h header) put(b []byte) {
	b[0], b[1], b[2], b[3] = byte(h.kind), h.flags, 0, 0
	binary.LittleEndian.PutUint32(b[4:], h.lane)
	binary.LittleEndian.PutUint64(b[8:], h.seq)
	binary.LittleEndian.PutUint32(b[16:], h.length)
	binary.LittleEndian.PutUint32(b[20:], h.total)
}

// parseHeader reads the header in b, which has headerBytes, and checks all that can be known without
// the lane. frameBytes is the most payload of a data frame that this node has agreed to.
func parseHeader(b []byte, frameBytes int) (header, error) {
	h := header{
		kind:   frameKind(b[0]),
		flags:  b[1],
		lane:   binary.LittleEndian.Uint32(b[4:]),
		seq:    binary.LittleEndian.Uint64(b[8:]),
		length: binary.LittleEndian.Uint32(b[16:]),
		total:  binary.LittleEndian.Uint32(b[20:]),
	}
	if b[2] != 0 || b[3] != 0 {
		return h, protocolError("reserved bytes of a frame are not zero")
	}
	var flags uint8
	low, high := uint32(0), uint32(0)
	switch h.kind {
	case frameOpen:
		low, high = openBytes, openBytes
	case frameData:
		flags, high = flagFirst|flagLast, uint32(frameBytes)
	case frameFinish:
		flags = flagCut
	case frameCredit:
	case frameRefuse:
		high = maxReason
	case frameEnvelope:
		low, high = 1, maxEnvelope
	default:
		return h, protocolError("frame of unknown kind %d", h.kind)
	}
	switch {
	case h.flags&^flags != 0:
		return h, protocolError("frame of kind %d with flags %#x", h.kind, h.flags)
	case h.length < low || h.length > high:
		return h, protocolError("frame of kind %d, lane %d: length %d, want %d to %d", h.kind, h.lane, h.length, low, high)
	case h.kind == frameData && h.length > h.total:
		return h, protocolError("lane %d: a frame of %d bytes in a message of %d", h.lane, h.length, h.total)
	}
	return h, nil
}

// open is the payload of a frameOpen, and the request for a lane's memory.
type open struct {
	key    LaneKey
	max    uint32
	shared bool // messages go through memory that both ends share
}

func (o open) append(b []byte) []byte {
	b = binary.LittleEndian.AppendUint64(b, o.key.Model)
	shared := byte(0)
	if o.shared {
		shared = 1
	}
	b = append(b, byte(o.key.Purpose), shared, 0, 0)
	return binary.LittleEndian.AppendUint32(b, o.max)
}

// parseOpen reads b, which has openBytes.
func parseOpen(b []byte) (open, error) {
	o := open{
		key:    LaneKey{Model: binary.LittleEndian.Uint64(b), Purpose: Purpose(b[8])},
		max:    binary.LittleEndian.Uint32(b[12:]),
		shared: b[9] != 0,
	}
	if o.key.Purpose == Control || o.key.Purpose >= numPurposes || b[9] > 1 || b[10]|b[11] != 0 {
		return o, protocolError("a lane of purpose %d", b[8])
	}
	return o, nil
}

// arrival is where a lane stands in the stream of its data frames: pure bookkeeping, which finds every
// frame that does not follow from those before it.
type arrival struct {
	seq        uint64 // the message that comes next, or is under way
	offset     uint32 // bytes of it that have come
	total      uint32
	max        uint32 // largest message allowed
	uncredited int    // frames that came and were not yet credited
	window     int
}

// accept checks a data frame and moves on behind it.
func (a *arrival) accept(h header) error {
	first, last := h.flags&flagFirst != 0, h.flags&flagLast != 0
	switch {
	case h.seq != a.seq:
		return protocolError("message %d where %d was due", h.seq, a.seq)
	case first && a.offset != 0, !first && a.offset == 0:
		return protocolError("message %d: first flag is %t after %d bytes", h.seq, first, a.offset)
	case h.total > a.max:
		return protocolError("message %d of %d bytes, the largest allowed is %d", h.seq, h.total, a.max)
	case !first && h.total != a.total:
		return protocolError("message %d changed its size from %d to %d bytes", h.seq, a.total, h.total)
	case h.length > h.total-a.offset:
		return protocolError("message %d runs over its %d bytes", h.seq, h.total)
	case last != (a.offset+h.length == h.total):
		return protocolError("message %d: last flag is %t at %d of %d bytes", h.seq, last, a.offset+h.length, h.total)
	case !last && h.length == 0:
		return protocolError("message %d: an empty frame", h.seq)
	case a.uncredited == a.window:
		return protocolError("message %d: more than %d frames without credit", h.seq, a.window)
	}
	a.uncredited++
	a.total, a.offset = h.total, a.offset+h.length
	if last {
		a.seq, a.offset = a.seq+1, 0
	}
	return nil
}
