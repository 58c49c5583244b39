package transport

import (
	"bufio"
	"encoding/binary"
	"io"
	"sync"
)

// Tap takes what goes over a connection apart, for who stands between its ends and passes it on, as package
// fault does. What is encrypted, and what goes on as RDMA, it gives as it comes. The zero value is for
// a connection that begins.
type Tap struct {
	mu     sync.Mutex
	ways   [2]tapped
	lanes  map[uint32]Purpose
	opaque bool // frames cannot be told apart
	said   bool // the end that dialled has said whether the connection moves to shared memory
}

// NewTap is for what a connection goes on through when its ends have greeted each other: frames, with checksums or without.
func NewTap(sums bool) *Tap {
	t := &Tap{said: true}
	for i := range t.ways {
		t.ways[i].greeted = true
		if sums {
			t.ways[i].features = featureSums
		}
	}
	return t
}

// tapped is one direction of a connection.
type tapped struct {
	greeted  bool
	features uint32
}

// Unit is a piece of what one end of a connection sends.
type Unit struct {
	Bytes   []byte  // of whoever called Next
	Frame   bool    // a whole frame; otherwise a hello, or what came
	Data    bool    // a frame with a piece of a message, or with an actor message
	Lane    uint32  // of a frame: number of its lane on the connection; 0 for actor messages
	Purpose Purpose // of that lane
}

// mostOpaque is the most bytes of a unit that is not a frame.
const mostOpaque = 64 << 10

// Next reads the next unit from r, which is what one end sends: back says the one that was dialled. Each
// way has a goroutine of its own. A frame of which the end is missing comes as it is.
func (t *Tap) Next(r *bufio.Reader, back bool) (Unit, error) {
	way := 0
	if back {
		way = 1
	}
	if u, err := t.next(r, way); len(u.Bytes) > 0 || err != nil {
		return u, err
	}
	if _, err := r.Peek(1); err != nil {
		return Unit{}, err
	}
	b := make([]byte, min(r.Buffered(), mostOpaque))
	_, err := io.ReadFull(r, b)
	return Unit{Bytes: b}, err
}

// next is nothing if the connection cannot be taken apart.
func (t *Tap) next(r *bufio.Reader, way int) (Unit, error) {
	if opaque, greeted, head := t.state(way); opaque {
		return Unit{}, nil
	} else if !greeted {
		return t.hello(r, way)
	} else {
		if _, err := r.Peek(1); err != nil { // when there is more, the other end's hello has passed
			return Unit{}, nil
		}
		if t.says(way) {
			return readUnit(r, 1)
		}
		return t.frame(r, head)
	}
}

// Opaque says whether frames cannot be told apart.
func (t *Tap) Opaque() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.opaque
}

// state is what the tap knows when something comes. Frames follow the hellos of both ends.
func (t *Tap) state(way int) (opaque, greeted bool, head int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	head = headerBytes
	if (t.ways[0].features|t.ways[1].features)&featureSums != 0 {
		head = mostHead
	}
	return t.opaque, t.ways[way].greeted, head
}

// says says that what comes next is whether the connection moves to shared memory.
func (t *Tap) says(way int) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if way != 0 || t.said || t.ways[0].features&t.ways[1].features&featureShared == 0 {
		return false
	}
	t.said = true
	return true
}

func (t *Tap) giveUp() (Unit, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.opaque = true
	return Unit{}, nil
}

func (t *Tap) hello(r *bufio.Reader, way int) (Unit, error) {
	prefix, err := r.Peek(helloPrefix)
	if err != nil {
		return Unit{}, nil // what there is passes
	}
	if string(prefix[:len(helloMagic)]) != helloMagic {
		return t.giveUp()
	}
	n := binary.LittleEndian.Uint32(prefix[8:])
	if n < 4 || n > maxHello {
		return t.giveUp()
	}
	u, err := readUnit(r, helloPrefix+int(n))
	if err != nil {
		return u, nil // the next call tells
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.ways[way].greeted = true
	t.ways[way].features = binary.LittleEndian.Uint32(u.Bytes[len(u.Bytes)-4:])
	if t.ways[0].features&t.ways[1].features&featureRDMA != 0 {
		t.opaque = true
	}
	return u, nil
}

func (t *Tap) frame(r *bufio.Reader, head int) (Unit, error) {
	b, err := r.Peek(head)
	if err != nil {
		return Unit{}, nil // what there is passes
	}
	h, err := parseHeader(b, MaxFrame)
	if err != nil {
		return t.giveUp()
	}
	u, err := readUnit(r, head+int(h.length))
	if err != nil {
		return u, nil // the next call tells
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if h.kind == frameOpen {
		if o, err := parseOpen(u.Bytes[head:]); err == nil {
			if t.lanes == nil {
				t.lanes = make(map[uint32]Purpose)
			}
			t.lanes[h.lane] = o.key.Purpose
		}
	}
	u.Frame, u.Data = true, h.kind == frameData || h.kind == frameEnvelope
	u.Lane, u.Purpose = h.lane, t.lanes[h.lane]
	return u, nil
}

// readUnit reads n bytes, or as many as there are.
func readUnit(r io.Reader, n int) (Unit, error) {
	b := make([]byte, n)
	n, err := io.ReadFull(r, b)
	return Unit{Bytes: b[:n]}, err
}
