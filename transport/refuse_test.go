package transport

import (
	"bytes"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"
)

// stranger is a connection to an endpoint, made by hand.
func stranger(t *testing.T, e *Endpoint) net.Conn {
	t.Helper()
	nc, err := net.Dial("tcp", e.Addr())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { nc.Close() })
	nc.SetDeadline(soon())
	return nc
}

func say(t *testing.T, nc net.Conn, b []byte) {
	t.Helper()
	if _, err := nc.Write(b); err != nil {
		t.Fatal(err)
	}
}

// wantClosed waits until the endpoint has closed nc.
func wantClosed(t *testing.T, nc net.Conn) {
	t.Helper()
	_, err := io.Copy(io.Discard, nc)
	if t, ok := err.(net.Error); ok && t.Timeout() {
		err = errors.New("it was left open")
	} else {
		err = nil
	}
	if err != nil {
		t.Fatal(err)
	}
}

// wantAlive checks that an endpoint still works with an honest peer.
func wantAlive(t *testing.T, b *Endpoint) {
	t.Helper()
	a, _ := endpoint(t, "honest", Config{})
	a.SetPeer("b", b.Addr())
	s, r := lane(t, a, b, LaneKey{77, Step}, 10)
	if err := s.Send(soon(), []byte("well")); err != nil {
		t.Error(err)
	}
	receive(t, r)
	r.Close()
}

// goodHello is what node a says to node b.
func goodHello() hello {
	return hello{
		version: helloVersion, kind: helloAsk, class: classSmall, cluster: "test", from: "a", to: "b",
		frameBytes: 64 << 10, window: 8,
	}
}

func TestWrongHelloIsRefusedWithTheReason(t *testing.T) {
	b, log := endpoint(t, "b", Config{})
	for reason, change := range map[string]func(*hello){
		"protocol version 9, want 6":     func(h *hello) { h.version = 9 },
		"cluster \"other\", want":        func(h *hello) { h.cluster = "other" },
		"the node dialled is \"b\", not": func(h *hello) { h.to = "z" },
		"cannot connect to itself":       func(h *hello) { h.from = "b" },
		"bad node name \"x\\ny\"":        func(h *hello) { h.from = "x\ny" },
		"bad node name \"\"":             func(h *hello) { h.from = "" },
		"connection of class 9":          func(h *hello) { h.class = 9 },
		"connection of class 0":          func(h *hello) { h.class = 0 },
		"hello of kind 2":                func(h *hello) { h.kind = helloAccept },
		"frames of 5 bytes":              func(h *hello) { h.frameBytes = 5 },
		"a window of 0 frames":           func(h *hello) { h.window = 0 },
	} {
		h := goodHello()
		change(&h)
		nc := stranger(t, b)
		say(t, nc, h.append(nil))
		answer, err := readHello(nc)
		if err != nil || answer.kind != helloRefuse || !strings.Contains(answer.reason, reason) {
			t.Errorf("want a refusal: %s; got %+v, %v", reason, answer, err)
		}
		wantClosed(t, nc)
		if quoted := strings.ReplaceAll(strings.ReplaceAll(reason, `\`, `\\`), `"`, `\"`); !log.contains(quoted) {
			t.Errorf("not logged: %s", reason)
		}
	}
	wantAlive(t, b)
}

func TestDiallerLearnsWhyItWasRefused(t *testing.T) {
	a, log := endpoint(t, "a", Config{})
	other, _ := endpoint(t, "b", Config{Cluster: "other"})
	misnamed, _ := endpoint(t, "c", Config{})
	for reason, e := range map[string]*Endpoint{"cluster": other, "the node dialled": misnamed} {
		a.SetPeer("b", e.Addr())
		_, err := a.Sender("b", LaneKey{1, Step}, 1)
		var refused *ErrRefused
		if !errors.As(err, &refused) || refused.Peer != "b" || !strings.Contains(refused.Reason, reason) {
			t.Errorf("error is %v, want a refusal over %s", err, reason)
		}
		if !log.contains(reason) {
			t.Errorf("not logged by the one who dialled: %s", reason)
		}
	}
}

func TestDiallerRefusesAWrongAnswer(t *testing.T) {
	a, _ := endpoint(t, "a", Config{})
	good := hello{
		version: helloVersion, kind: helloAccept, class: classSmall, cluster: "test", from: "b", to: "a",
		frameBytes: 64 << 10, window: 8,
	}
	for reason, change := range map[string]func(*hello){
		"version":     func(h *hello) { h.version = 1 },
		"from node":   func(h *hello) { h.from = "c" },
		"class":       func(h *hello) { h.class = classBulk },
		"a window of": func(h *hello) { h.window = maxWindow + 1 },
	} {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		h := good
		change(&h)
		done := make(chan struct{})
		go func() {
			defer close(done)
			nc, err := ln.Accept()
			if err != nil {
				return
			}
			defer nc.Close()
			if _, err := readHello(nc); err == nil {
				nc.Write(h.append(nil))
			}
			io.Copy(io.Discard, nc)
		}()
		a.SetPeer("b", ln.Addr().String())
		_, err = a.Sender("b", LaneKey{1, Step}, 1)
		var refused *ErrRefused
		if !errors.As(err, &refused) || !strings.Contains(refused.Reason, reason) {
			t.Errorf("error is %v, want a refusal over %s", err, reason)
		}
		<-done
		ln.Close()
	}
}

func TestWhatIsNoHelloIsHungUpOn(t *testing.T) {
	b, log := endpoint(t, "b", Config{DialTimeout: 100 * time.Millisecond})
	long := goodHello().append(nil)
	long[8], long[9] = 0xff, 0xff
	trailing := goodHello().append(nil)
	trailing[8]++
	for name, words := range map[string][]byte{
		"garbage": randomBytes(1, 1000),
		"http":    []byte("GET / HTTP/1.1\r\nHost: b\r\n\r\n"),
		"long":    long,
		"odd":     append(trailing, 0),
		"cut":     goodHello().append(nil)[:20], // ended by the deadline
		"nothing": nil,
	} {
		nc := stranger(t, b)
		say(t, nc, words)
		wantClosed(t, nc)
		if !log.contains("connection without a good hello") {
			t.Errorf("%s: not logged", name)
		}
	}
	wantAlive(t, b)
}

func TestConnectionsWithoutHelloAreBounded(t *testing.T) {
	b, log := endpoint(t, "b", Config{MaxHandshakes: 2, DialTimeout: time.Hour})
	stranger(t, b)
	stranger(t, b)
	eventually(t, "both wait for a hello", func() bool { return len(b.handshakes) == 2 })
	wantClosed(t, stranger(t, b))
	if !log.contains("too many connections without a hello") {
		t.Error("not logged")
	}
}

func TestConnectionsAreBounded(t *testing.T) {
	b, _ := endpoint(t, "b", Config{MaxConnections: 1})
	for i, want := range []helloKind{helloAccept, helloRefuse} {
		h := goodHello()
		h.class = class(i) + classSmall
		nc := stranger(t, b)
		say(t, nc, h.append(nil))
		if answer, err := readHello(nc); err != nil || answer.kind != want {
			t.Errorf("connection %d: %+v, %v", i, answer, err)
		}
	}
}

func frame(h header, payload []byte) []byte {
	var b [headerBytes]byte
	h.length = uint32(len(payload))
	h.put(b[:])
	return append(b[:], payload...)
}

func TestProtocolErrorsCostOnlyTheConnection(t *testing.T) {
	opening := frame(header{kind: frameOpen, lane: 1}, open{key: LaneKey{1, Step}, max: 5000}.append(nil))
	whole := func(seq uint64) []byte {
		return frame(header{kind: frameData, lane: 1, seq: seq, flags: flagFirst | flagLast, total: 3}, []byte("abc"))
	}
	oversize := make([]byte, headerBytes)
	header{kind: frameData, lane: 1, flags: flagFirst, length: 1 << 30, total: 1 << 31}.put(oversize)
	truncated := frame(header{kind: frameData, lane: 1, flags: flagFirst | flagLast, total: 100}, make([]byte, 100))
	for name, c := range map[string]struct {
		words []byte
		err   string // in the log
		lane  bool   // whether the lane was open, and so learns of it
	}{
		"garbage":           {randomBytes(2, 5000), "protocol error", false},
		"unknown lane":      {whole(0), "data for lane 1, which is not open", false},
		"lane skipped":      {frame(header{kind: frameOpen, lane: 2}, opening[headerBytes:]), "opening of lane 2 where 1 was due", false},
		"lane twice":        {append(bytes.Clone(opening), opening...), "opening of lane 1 where 2 was due", true},
		"wrong connection":  {frame(header{kind: frameOpen, lane: 1}, open{key: LaneKey{1, KVMove}, max: 1}.append(nil)), "lane kv-move/1 on a small connection", false},
		"no such purpose":   {frame(header{kind: frameOpen, lane: 1}, open{key: LaneKey{1, 99}, max: 1}.append(nil)), "purpose 99", false},
		"wrong number":      {append(bytes.Clone(opening), whole(5)...), "lane step/1: protocol error: message 5 where 0 was due", true},
		"message too large": {append(bytes.Clone(opening), frame(header{kind: frameData, lane: 1, flags: flagFirst, total: 5001}, []byte("x"))...), "lane step/1: protocol error: message 0 of 5001 bytes", true},
		"frame too large":   {append(bytes.Clone(opening), oversize...), "length 1073741824", true},
		"credit":            {frame(header{kind: frameCredit, lane: 1}, nil), "frame of kind 4 from a sender", false},
		"envelope":          {frame(header{kind: frameEnvelope}, []byte("?")), "frame of kind 6 on a small connection", false},
		"end of nothing":    {frame(header{kind: frameFinish, lane: 9}, nil), "end of lane 9", false},
		"cut in a payload":  {append(bytes.Clone(opening), truncated[:50]...), "message 0 of lane 1: unexpected EOF", true},
		"cut in a header":   {append(bytes.Clone(opening), truncated[:10]...), "unexpected EOF", true},
	} {
		t.Run(name, func(t *testing.T) {
			b, log := endpoint(t, "b", Config{})
			r, err := b.Receiver("a", LaneKey{1, Step}, 5000)
			if err != nil {
				t.Fatal(err)
			}
			nc := stranger(t, b)
			say(t, nc, goodHello().append(nil))
			if answer, err := readHello(nc); err != nil || answer.kind != helloAccept {
				t.Fatalf("answer is %+v, %v", answer, err)
			}
			say(t, nc, c.words)
			nc.(*net.TCPConn).CloseWrite()
			wantClosed(t, nc)
			eventually(t, "the loss is logged", func() bool {
				return log.contains("connection lost") && log.contains("peer=a") && log.contains(c.err)
			})
			if c.lane {
				_, err := r.Next()
				wantLost(t, err, "a", LaneKey{1, Step})
			}
			wantAlive(t, b)
		})
	}
}

func TestWindowIsEnforced(t *testing.T) {
	b, log := endpoint(t, "b", Config{Window: 4})
	if _, err := b.Receiver("a", LaneKey{1, Step}, 10); err != nil {
		t.Fatal(err)
	}
	nc := stranger(t, b)
	words := goodHello().append(nil)
	words = append(words, frame(header{kind: frameOpen, lane: 1}, open{key: LaneKey{1, Step}, max: 10}.append(nil))...)
	for seq := range uint64(20) {
		words = append(words, frame(header{kind: frameData, lane: 1, seq: seq, flags: flagFirst | flagLast, total: 1}, []byte("x"))...)
	}
	say(t, nc, words)
	wantClosed(t, nc)
	eventually(t, "it is logged", func() bool { return log.contains("more than 4 frames without credit") })
}

func TestCreditsOutOfNowhereCostTheConnection(t *testing.T) {
	for name, words := range map[string][]byte{
		"too many":     frame(header{kind: frameCredit, lane: 1, total: 1 << 31}, nil),
		"none":         frame(header{kind: frameCredit, lane: 1}, nil),
		"unknown lane": frame(header{kind: frameCredit, lane: 5, total: 1}, nil),
		"data":         frame(header{kind: frameData, lane: 1, flags: flagFirst | flagLast}, nil),
	} {
		a, log := endpoint(t, "a", Config{})
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		done := make(chan struct{})
		go func() {
			defer close(done)
			nc, err := ln.Accept()
			if err != nil {
				return
			}
			defer nc.Close()
			h, _ := readHello(nc)
			h.kind, h.from, h.to = helloAccept, "b", "a"
			nc.Write(h.append(nil))
			io.ReadFull(nc, make([]byte, headerBytes+openBytes))
			nc.Write(words)
			io.Copy(io.Discard, nc)
		}()
		a.SetPeer("b", ln.Addr().String())
		_, err = a.Sender("b", LaneKey{1, Step}, 1)
		wantLost(t, err, "b", LaneKey{1, Step})
		if !errors.Is(err, ErrProtocol) {
			t.Errorf("%s: %v", name, err)
		}
		<-done
		ln.Close()
		eventually(t, "it is logged", func() bool { return log.contains("protocol error") })
	}
}
