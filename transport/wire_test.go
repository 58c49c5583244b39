package transport

import (
	"bytes"
	"errors"
	"io"
	"log/slog"
	"net"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/orrery-ai/orrery/transport/shm"
)

func TestHeaderRoundTrip(t *testing.T) {
	for _, h := range []header{
		{kind: frameData, flags: flagFirst, lane: 1, seq: 1 << 40, length: 64 << 10, total: 1 << 31},
		{kind: frameOpen, lane: 7, length: openBytes},
		{kind: frameFinish, flags: flagCut, lane: 1<<32 - 1},
		{kind: frameCredit, lane: 3, total: 8},
		{kind: frameRefuse, lane: 3, length: maxReason},
		{kind: frameEnvelope, length: maxEnvelope},
	} {
		var b [headerBytes]byte
		h.put(b[:])
		if got, err := parseHeader(b[:], 64<<10); err != nil || got != h {
			t.Errorf("%+v came back as %+v, %v", h, got, err)
		}
	}
}

func TestBadHeadersAreFound(t *testing.T) {
	for name, h := range map[string]header{
		"kind zero":              {},
		"unknown kind":           {kind: numFrameKinds},
		"payload over the frame": {kind: frameData, length: 64<<10 + 1, total: 1 << 20},
		"frame over the message": {kind: frameData, length: 2, total: 1},
		"flags of another kind":  {kind: frameData, flags: 4, length: 1, total: 1},
		"credit with payload":    {kind: frameCredit, length: 1},
		"open too short":         {kind: frameOpen, length: openBytes - 1},
		"open too long":          {kind: frameOpen, length: openBytes + 1},
		"endless reason":         {kind: frameRefuse, length: maxReason + 1},
		"empty envelope":         {kind: frameEnvelope},
		"envelope too large":     {kind: frameEnvelope, length: maxEnvelope + 1},
	} {
		var b [headerBytes]byte
		h.put(b[:])
		if _, err := parseHeader(b[:], 64<<10); !errors.Is(err, ErrProtocol) {
			t.Errorf("%s: %v", name, err)
		}
	}
	var b [headerBytes]byte
	header{kind: frameCredit}.put(b[:])
	b[3] = 1
	if _, err := parseHeader(b[:], 64<<10); !errors.Is(err, ErrProtocol) {
		t.Errorf("reserved byte set: %v", err)
	}
}

func TestFramesThatDoNotFollowAreFound(t *testing.T) {
	const first, last = flagFirst, flagLast
	good := []header{
		{seq: 0, flags: first | last},
		{seq: 1, flags: first, length: 10, total: 30},
		{seq: 1, length: 10, total: 30},
		{seq: 1, flags: last, length: 10, total: 30},
		{seq: 2, flags: first, length: 1, total: 2},
	}
	start := func(n int) *arrival {
		a := &arrival{max: 30, window: 5}
		for _, h := range good[:n] {
			if err := a.accept(h); err != nil {
				t.Fatalf("good frame %+v: %v", h, err)
			}
		}
		return a
	}
	for name, c := range map[string]struct {
		after int
		bad   header
	}{
		"message skipped":           {1, header{seq: 2, flags: first | last}},
		"message again":             {1, header{seq: 0, flags: first | last}},
		"no first flag":             {1, header{seq: 1, length: 1, total: 2}},
		"first flag again":          {2, header{seq: 1, flags: first, length: 10, total: 30}},
		"too large":                 {1, header{seq: 1, flags: first, length: 10, total: 31}},
		"size changed":              {2, header{seq: 1, length: 10, total: 29}},
		"runs over":                 {2, header{seq: 1, flags: last, length: 21, total: 30}},
		"last too early":            {2, header{seq: 1, flags: last, length: 19, total: 30}},
		"no last flag":              {2, header{seq: 1, length: 20, total: 30}},
		"empty frame in a message":  {2, header{seq: 1, total: 30}},
		"more frames than credited": {5, header{seq: 2, flags: last, length: 1, total: 2}},
	} {
		if err := start(c.after).accept(c.bad); !errors.Is(err, ErrProtocol) {
			t.Errorf("%s: %v", name, err)
		}
	}
	start(len(good))
}

func TestHelloRoundTrip(t *testing.T) {
	want := hello{
		version: helloVersion, kind: helloRefuse, class: classBulk, reason: "because", cluster: "c",
		from: "x", to: "y", memory: strings.Repeat("m", shm.OfferBytes), frameBytes: 4096, window: 3,
	}
	got, err := readHello(bytes.NewReader(want.append(nil)))
	if err != nil || got != want {
		t.Errorf("came back as %+v, %v", got, err)
	}
	b := want.append(nil)
	for n := range b {
		if _, err := readHello(bytes.NewReader(b[:n])); err == nil {
			t.Errorf("a hello of %d bytes, cut after %d, passes", len(b), n)
		}
	}
}

func TestAHelloWithHalfAnOfferOfMemoryIsRefused(t *testing.T) {
	h := hello{version: helloVersion, kind: helloAccept, class: classSmall, cluster: "c", from: "x", to: "y", memory: strings.Repeat("m", shm.OfferBytes-1)}
	if _, err := readHello(bytes.NewReader(h.append(nil))); !errors.Is(err, ErrProtocol) {
		t.Errorf("the error is %v", err)
	}
}

func FuzzOpen(f *testing.F) {
	f.Add(open{key: LaneKey{1, Step}, max: 5}.append(nil))
	f.Add(open{key: LaneKey{1 << 40, PartialAhead}, max: 1 << 31, shared: true}.append(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) != openBytes {
			return
		}
		if o, err := parseOpen(b); err == nil && !bytes.Equal(o.append(nil), b) {
			t.Errorf("%x is read as %+v", b, o)
		}
	})
}

func FuzzHello(f *testing.F) {
	f.Add(hello{version: helloVersion, kind: helloAsk, class: classSmall, cluster: "c", from: "x", to: "y"}.append(nil))
	f.Add(hello{version: helloVersion, kind: helloRefuse, class: classBulk, reason: "why", cluster: "c", from: "x", to: "y+1"}.append(nil))
	f.Add([]byte("GET / HTTP/1.1\r\n\r\n"))
	f.Add([]byte{0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		h, err := readHello(bytes.NewReader(b))
		if err != nil || h.version != helloVersion {
			return
		}
		if len(h.reason) > maxReason || len(h.cluster) > maxReason || len(h.from) > maxReason || len(h.to) > maxReason {
			return // append cuts what no endpoint sends
		}
		again, err := readHello(bytes.NewReader(h.append(nil)))
		if err != nil || !reflect.DeepEqual(h, again) {
			t.Errorf("%+v became %+v, %v", h, again, err)
		}
	})
}

// tape is a connection on which the peer has already said everything.
type tape struct {
	io.Reader
	net.Conn
}

func (c tape) Read(b []byte) (int, error)     { return c.Reader.Read(b) }
func (tape) Write(b []byte) (int, error)      { return len(b), nil }
func (tape) SetWriteDeadline(time.Time) error { return nil }
func (tape) Close() error                     { return nil }
func (tape) LocalAddr() net.Addr              { return new(net.TCPAddr) }
func (tape) RemoteAddr() net.Addr             { return new(net.TCPAddr) }

const mostRead = 3000 // bytes of a message in FuzzFrameReader

// FuzzFrameReader feeds a receiving end with arbitrary frames. Whatever comes, the reader must end
// with an error, hold no more than it promises, and hand out only whole messages of allowed size.
func FuzzFrameReader(f *testing.F) {
	begin := frame(header{kind: frameOpen, lane: 1}, open{key: LaneKey{1, Step}, max: mostRead}.append(nil))
	half := frame(header{kind: frameData, lane: 1, flags: flagFirst, total: 2000}, make([]byte, 1000))
	rest := frame(header{kind: frameData, lane: 1, flags: flagLast, total: 2000}, make([]byte, 1000))
	end := frame(header{kind: frameFinish, lane: 1}, nil)
	join := func(parts ...[]byte) []byte { return bytes.Join(parts, nil) }
	f.Add(join(begin, half, rest, end))
	f.Add(join(begin, half, end))
	f.Add(join(begin, half, half))
	f.Add(join(begin, begin))
	f.Add(join(half))
	f.Add(join(begin, frame(header{kind: frameEnvelope}, []byte{1})))
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, ahead := range []bool{false, true} {
			readsAll(t, b, ahead)
		}
	})
}

// readsAll feeds a receiving end with what is on b.
func readsAll(t *testing.T, b []byte, ahead bool) {
	c, err := Config{
		Cluster: "c", Node: "b", FrameBytes: MinFrame, Window: 4, Logger: slog.New(slog.DiscardHandler),
	}.withDefaults()
	if err != nil {
		t.Fatal(err)
	}
	e := newEndpoint(c)
	defer e.cancel()
	r, err := e.Receiver("a", LaneKey{1, Step}, mostRead)
	if err != nil {
		t.Fatal(err)
	}
	nc := tape{Reader: bytes.NewReader(b)}
	l := newInlink(e, "a", classSmall, nc)
	if ahead {
		l.frames.many, l.frames.buf = scatter{nc}, make([]byte, 2*headerBytes)
	}
	cause := l.serve()
	if cause == nil {
		t.Fatal("the reader stopped without an error")
	}
	held := 0
	for _, p := range r.queue {
		held += cap(p.bytes)
	}
	if held > 2*c.Window*c.FrameBytes {
		t.Errorf("%d bytes queued", held)
	}
	l.tell(cause)
	r.fail(cause) // in case it was never opened
	for seq := uint64(0); ; seq++ {
		m, err := r.Next()
		if err != nil {
			break
		}
		if m.Seq != seq || len(m.Bytes) > mostRead || seq >= messagesPerLane {
			t.Fatalf("message %d of %d bytes in place of message %d", m.Seq, len(m.Bytes), seq)
		}
	}
}

// FuzzFirstBytes feeds endpoints with and without a certificate with what a stranger may say first. Nobody
// gets as far as a hello that counts without proving who he is.
func FuzzFirstBytes(f *testing.F) {
	quiet := slog.New(slog.DiscardHandler)
	plain, err := Config{Cluster: "c", Node: "b", Logger: quiet}.withDefaults()
	if err != nil {
		f.Fatal(err)
	}
	safe := plain
	safe.Identity = identity(f, authority(f, "c"), "b")
	ask := hello{version: helloVersion, kind: helloAsk, class: classSmall, cluster: "c", from: "x", to: "b", frameBytes: MinFrame, window: 1}
	f.Add(ask.append(nil))
	f.Add([]byte{0x16, 3, 1, 0, 5, 1, 0, 0, 1, 0, 0x16, 3, 1})
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, c := range []Config{plain, safe} {
			e := newEndpoint(c)
			defer e.cancel()
			if _, h, err := e.meet(tape{Reader: bytes.NewReader(b)}); err == nil && (e.security != nil || isTLS(b)) {
				t.Errorf("%q passes for a hello: %+v", b, h)
			}
		}
	})
}

// FuzzAnswerReader feeds the end that sends with arbitrary frames from the other. Whatever comes, its lane
// never has more credits than its window.
func FuzzAnswerReader(f *testing.F) {
	const window = 4
	credit := frame(header{kind: frameCredit, lane: 1, total: 2}, nil)
	refuse := frame(header{kind: frameRefuse, lane: 1}, []byte("gone"))
	f.Add(bytes.Repeat(credit, 3))
	f.Add(append(credit, refuse...))
	f.Add(frame(header{kind: frameData, lane: 1}, nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := Config{Cluster: "c", Node: "a", Logger: slog.New(slog.DiscardHandler)}.withDefaults()
		if err != nil {
			t.Fatal(err)
		}
		e := newEndpoint(c)
		defer e.cancel()
		l := newOutlink(e, "b", classSmall, tape{Reader: bytes.NewReader(b)}, MinFrame, window)
		s := &Sender{e: e, to: "b", key: LaneKey{1, Step}, link: l, wake: make(chan struct{}, 1), dead: make(chan struct{})}
		if err := l.add(s); err != nil {
			t.Fatal(err)
		}
		cause := l.serve()
		if cause == nil {
			t.Fatal("the reader stopped without an error")
		}
		if n := s.credits.Load(); n < 0 || n > window {
			t.Errorf("%d credits over a window of %d", n, window)
		}
		l.tell(cause)
		if s.failure() == nil {
			t.Error("the lane goes on without its link")
		}
	})
}
