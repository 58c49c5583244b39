package transport

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"testing"
)

// whole collects the frames that came whole.
type whole struct {
	collector
	ended int
}

func (w *whole) end(header) error { w.ended++; return nil }

func TestAFlippedBitIsFoundWhereverItIs(t *testing.T) {
	var want [][]byte
	var tape []byte
	for i := range 3 {
		b := randomBytes(uint64(i), 40*i) // the first one is empty
		head := make([]byte, mostHead)
		header{kind: frameData, lane: 1, seq: uint64(i), length: uint32(len(b)), total: 5000}.put(head)
		putSums(head, addSum(0, b))
		want, tape = append(want, b), append(append(tape, head...), b...)
	}
	for bit := -1; bit < 8*len(tape); bit++ {
		flipped := bytes.Clone(tape)
		if bit >= 0 {
			flipped[bit/8] ^= 1 << (bit % 8)
		}
		w := new(whole)
		f := frameReader{src: bytes.NewReader(flipped), limit: 5000, head: mostHead, buf: make([]byte, 2*mostHead)}
		var err error
		for err == nil {
			err = f.next(w)
		}
		if bit < 0 != (err == errHangup) || bit >= 0 && !errors.Is(err, ErrChecksum) {
			t.Fatalf("bit %d: %v", bit, err)
		}
		for i, b := range w.frames[:w.ended] {
			if !bytes.Equal(b, want[i]) {
				t.Fatalf("bit %d: frame %d changed and came whole", bit, i)
			}
		}
	}
}

func TestChecksumsAreUsedIfEitherEndWantsThem(t *testing.T) {
	for _, ends := range [][2]Checksums{{ChecksumsAuto, ChecksumsOff}, {ChecksumsOn, ChecksumsOff}, {ChecksumsOff, ChecksumsOn}, {ChecksumsOn, ChecksumsOn}} {
		for _, secure := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s and %s, TLS %t", ends[0], ends[1], secure), func(t *testing.T) {
				root := authority(t, "test")
				c := Config{Checksums: ends[0], RDMA: RDMA{Use: "off"}}
				d := Config{Checksums: ends[1], RDMA: RDMA{Use: "off"}}
				if secure {
					c.Identity, d.Identity = identity(t, root, "a"), identity(t, root, "b")
				}
				a, _ := endpoint(t, "a", c)
				b, _ := endpoint(t, "b", d)
				a.SetPeer("b", b.Addr())
				want := ends[0] == ChecksumsOn || ends[1] == ChecksumsOn
				for _, purpose := range []Purpose{Partial, KVMove} {
					s, r := lane(t, a, b, LaneKey{1, purpose}, 1<<20)
					if s.link.sums() != want || r.link.Load().sums() != want {
						t.Errorf("%s: checksums %t and %t, want %t", purpose, s.link.sums(), r.link.Load().sums(), want)
					}
					for i := range uint64(30) {
						b := randomBytes(i, int(i*i*i*37))
						if err := s.Send(soon(), b[:len(b)/3], b[len(b)/3:]); err != nil {
							t.Fatal(err)
						}
						if got, _ := receive(t, r); !bytes.Equal(got, b) {
							t.Fatalf("message %d changed", i)
						}
					}
				}
			})
		}
	}
}

// addresses is a connection between two of them.
type addresses struct {
	net.Conn
	here, there string
}

func (a addresses) LocalAddr() net.Addr  { return &net.TCPAddr{IP: net.ParseIP(a.here), Port: 1} }
func (a addresses) RemoteAddr() net.Addr { return &net.TCPAddr{IP: net.ParseIP(a.there), Port: 2} }

func TestChecksumsAreWantedWhereFramesLeaveTheMachineBare(t *testing.T) {
	e, _ := endpoint(t, "a", Config{})
	for _, c := range []struct {
		here, there string
		want        bool
	}{
		{"127.0.0.1", "127.0.0.1", false},
		{"127.0.0.1", "127.0.0.2", false},
		{"::1", "::1", false},
		{"10.0.0.1", "10.0.0.1", false},
		{"10.0.0.1", "10.0.0.2", true},
		{"fd00::1", "fd00::2", true},
	} {
		nc := addresses{here: c.here, there: c.there}
		if got := e.wantsSums(nc); got != c.want {
			t.Errorf("%s to %s: %t", c.here, c.there, got)
		}
	}
	if e.wantsSums(&secured{}) {
		t.Error("wanted under TLS")
	}
}

func TestActorsTalkWithChecksums(t *testing.T) {
	_, b, sa, sb := actorPair(t, Config{Checksums: ChecksumsOn})
	to := spawn(t, b, sb, "echo", echo)
	for i := range 10 {
		want := fmt.Sprintf("message %d", i)
		if got, err := ask(sa, to, want); err != nil || got != want+" from b" {
			t.Fatalf("%q, %v, want %q", got, err, want)
		}
	}
}
