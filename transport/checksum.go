package transport

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"net"
)

// Checksums says whether the frames of a connection carry checksums. If either end wants them, they do. RDMA
// adapters check what they carry themselves, and frames over RDMA have none.
type Checksums uint8

const (
	// ChecksumsAuto wants them where frames cross a network that nothing else protects: TCP's own sum has 16
	// bits, and does not see what an adapter or a switch changes in its memory. Under TLS every record is
	// authenticated, and what stays on this machine meets no network.
	ChecksumsAuto Checksums = iota
	// ChecksumsOn wants them on every connection.
	ChecksumsOn
	// ChecksumsOff wants them on none.
	ChecksumsOff
)

var checksumNames = [...]string{"auto", "on", "off"}

// String is the name, as flags have it.
func (c Checksums) String() string { return checksumNames[c] }

// ParseChecksums reads a name.
func ParseChecksums(name string) (Checksums, error) {
	for i, n := range checksumNames {
		if n == name {
			return Checksums(i), nil
		}
	}
	return ChecksumsAuto, fmt.Errorf("%.20q is not auto, on or off", name)
}

// ErrChecksum is in the chain of errors about a frame that came otherwise than it was sent. The connection
// is given up, for nothing on it can be trusted any more.
var ErrChecksum = errors.New("the checksum does not fit: the data changed on the way")

// On a connection with checksums the header of a frame is followed by two, little-endian:
//
//	24  CRC32C of the header   u32
//	28  CRC32C of the payload  u32
//
// The header has one of its own so that no wrong length is waited for.
const sumBytes = 8

// mostHead is what comes before the payload of a frame, at most, in bytes.
const mostHead = headerBytes + sumBytes

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// addSum is the checksum of what has the checksum sum, followed by b.
func addSum(sum uint32, b []byte) uint32 { return crc32.Update(sum, castagnoli, b) }

// putSums writes the checksums into head, which has mostHead bytes, behind the header there.
func putSums(head []byte, payload uint32) {
	binary.LittleEndian.PutUint32(head[headerBytes:], addSum(0, head[:headerBytes]))
	binary.LittleEndian.PutUint32(head[headerBytes+4:], payload)
}

// checkHead looks at the header in head, and gives the checksum of the payload.
func checkHead(head []byte) (payload uint32, err error) {
	if binary.LittleEndian.Uint32(head[headerBytes:]) != addSum(0, head[:headerBytes]) {
		return 0, ErrChecksum
	}
	return binary.LittleEndian.Uint32(head[headerBytes+4:]), nil
}

// wantsSums says whether this end wants checksums on a connection.
func (e *Endpoint) wantsSums(nc net.Conn) bool {
	switch e.c.Checksums {
	case ChecksumsOn:
		return true
	case ChecksumsOff:
		return false
	}
	if _, encrypted := nc.(*secured); encrypted {
		return false
	}
	here, ok := nc.LocalAddr().(*net.TCPAddr)
	there, ok2 := nc.RemoteAddr().(*net.TCPAddr)
	return ok && ok2 && !there.IP.IsLoopback() && !there.IP.Equal(here.IP)
}
