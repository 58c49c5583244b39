package transport

import (
	"bytes"
	"io"
	"math/rand/v2"
	"testing"
)

// scatter makes a reader fill several pieces of memory in one call.
type scatter struct{ io.Reader }

func (s scatter) readv(pieces [][]byte) (int, error) {
	room := 0
	for _, p := range pieces {
		room += len(p)
	}
	b := make([]byte, room)
	n, err := s.Read(b)
	b = b[:n]
	for _, p := range pieces {
		b = b[copy(p, b):]
	}
	return n, err
}

// twoLanes collects messages of two lanes, whose frames it expects in order.
type twoLanes struct {
	filling [2][]byte // of each lane
	filled  [2]int
	whole   [2][][]byte
}

func (c *twoLanes) begin(h header) ([]byte, error) {
	i := h.lane - 1
	if h.flags&flagFirst != 0 {
		c.filling[i], c.filled[i] = make([]byte, h.total), 0
	}
	at := c.filled[i]
	return c.filling[i][at : at+int(h.length)], nil // what follows is free until the message is whole
}

func (c *twoLanes) end(h header) error {
	i := h.lane - 1
	if c.filled[i] += int(h.length); h.flags&flagLast != 0 {
		c.whole[i] = append(c.whole[i], c.filling[i])
	}
	return nil
}

func (c *twoLanes) dry() error { return nil }

func TestReadingAheadPutsEveryFrameInItsPlace(t *testing.T) {
	for seed := range uint64(120) {
		r := rand.New(rand.NewPCG(seed, 2))
		var want [2][][]byte
		var rest [2][]byte // of the last message of a lane, not yet on the tape
		var tape []byte
		head := []int{headerBytes, mostHead}[seed%2]
		frameBytes := 300 + r.IntN(2000)
		for range 60 {
			lane := r.IntN(1 + r.IntN(2))
			for range 1 + r.IntN(6) {
				h := header{kind: frameData, lane: uint32(lane + 1)}
				if len(rest[lane]) == 0 {
					rest[lane] = randomBytes(r.Uint64(), 1+r.IntN(12*frameBytes))
					want[lane] = append(want[lane], rest[lane])
					h.flags = flagFirst
				}
				h.total = uint32(len(want[lane][len(want[lane])-1]))
				n := min(len(rest[lane]), frameBytes)
				if n < len(rest[lane]) && r.IntN(10) == 0 {
					n = 1 + r.IntN(n) // not as long as it was guessed
				}
				if n == len(rest[lane]) {
					h.flags |= flagLast
				}
				bare := frame(h, rest[lane][:n])
				tape = append(tape, bare[:headerBytes]...)
				if head == mostHead {
					sums := append(bare[:headerBytes:headerBytes], make([]byte, sumBytes)...)
					putSums(sums, addSum(0, rest[lane][:n]))
					tape = append(tape, sums[headerBytes:]...)
				}
				tape = append(tape, rest[lane][:n]...)
				rest[lane] = rest[lane][n:]
			}
		}
		c := new(twoLanes)
		src := &dribble{tape, r}
		f := frameReader{src: src, many: scatter{src}, limit: 2 * frameBytes, head: head, buf: make([]byte, head+r.IntN(200))}
		err := error(errNotYet)
		for err == nil || err == errNotYet {
			err = f.next(c)
		}
		if err != errHangup {
			t.Fatalf("seed %d: %v", seed, err)
		}
		for lane := range want {
			if len(rest[lane]) > 0 {
				want[lane] = want[lane][:len(want[lane])-1]
			}
			if len(c.whole[lane]) != len(want[lane]) {
				t.Fatalf("seed %d, lane %d: %d messages, want %d", seed, lane+1, len(c.whole[lane]), len(want[lane]))
			}
			for i := range want[lane] {
				if !bytes.Equal(c.whole[lane][i], want[lane][i]) {
					t.Fatalf("seed %d, lane %d: message %d changed", seed, lane+1, i)
				}
			}
		}
	}
}
