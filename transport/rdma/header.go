package rdma

import (
	"encoding/binary"
	"fmt"
)

// A message is a header and bytes of the stream. Integers are little-endian.
//
//	0  length   u32  bytes of the stream
//	4  credits  u16  receives that the sender has posted again
//	6  kind     u8
//	7           u8   zero
//	8  seq      u64  number of the message in its direction, from 0
const headerBytes = 16

type kind uint8

const (
	kindData    kind = iota + 1 // bytes of the stream
	kindCredit                  // credits only
	kindGoodbye                 // the sender has closed: the stream ends here
	kindProbe                   // to see whether messages arrive; before any other
)

type header struct {
	length  uint32
	credits uint16
	kind    kind
	seq     uint64
}

func (h header) put(b []byte) {
	binary.LittleEndian.PutUint32(b, h.length)
	binary.LittleEndian.PutUint16(b[4:], h.credits)
	b[6], b[7] = byte(h.kind), 0
	binary.LittleEndian.PutUint64(b[8:], h.seq)
}

// parseHeader reads the header of a message of so many bytes in b, which is its slot. With whole, what
// follows the stream's bytes is filling.
func parseHeader(b []byte, bytes int, whole bool) (header, error) {
	if bytes < headerBytes || bytes > len(b) {
		return header{}, fmt.Errorf("%w: a message of %d bytes", ErrProtocol, bytes)
	}
	h := header{
		length:  binary.LittleEndian.Uint32(b),
		credits: binary.LittleEndian.Uint16(b[4:]),
		kind:    kind(b[6]),
		seq:     binary.LittleEndian.Uint64(b[8:]),
	}
	room := uint32(bytes - headerBytes)
	switch {
	case h.kind < kindData || h.kind > kindProbe || b[7] != 0:
		return h, fmt.Errorf("%w: a message of kind %d", ErrProtocol, h.kind)
	case h.length > room || !whole && h.length != room:
		return h, fmt.Errorf("%w: %d bytes of data in a message of %d", ErrProtocol, h.length, bytes)
	case (h.kind == kindData) != (h.length > 0):
		return h, fmt.Errorf("%w: %d bytes of data in a message of kind %d", ErrProtocol, h.length, h.kind)
	}
	return h, nil
}
