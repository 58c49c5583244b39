package transport

import (
	"fmt"
	"io"
	"net"
	"sync"
	"testing"
)

var pingSizes = []int{64, 4 << 10, 32 << 10}

// BenchmarkPingPong is a message and its echo over two lanes, on loopback.
func BenchmarkPingPong(b *testing.B) {
	for _, n := range pingSizes {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			x, y := pair(b, Config{})
			pingPong(b, x, y, n)
		})
	}
}

func pingPong(b *testing.B, x, y *Endpoint, n int) {
	there, ping := lane(b, x, y, LaneKey{1, Query}, n)
	back, pong := lane(b, y, x, LaneKey{1, Partial}, n)
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() {
		for {
			m, err := ping.Next()
			if err != nil {
				return
			}
			if err := back.Send(soon(), m.Bytes); err != nil {
				b.Error(err)
			}
			m.Release()
		}
	})
	body := make([]byte, n)
	b.ReportAllocs()
	for b.Loop() {
		if err := there.Send(soon(), body); err != nil {
			b.Fatal(err)
		}
		m, err := pong.Receive(soon())
		if err != nil {
			b.Fatal(err)
		}
		m.Release()
	}
	there.Close()
}

// BenchmarkBarePingPong is the same with nothing but a connection: what the lanes are held to.
func BenchmarkBarePingPong(b *testing.B) {
	for _, n := range pingSizes {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			x, y := tcpPair(b)
			barePingPong(b, x, y, n)
		})
	}
}

func barePingPong(b *testing.B, x, y net.Conn, n int) {
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() {
		buf := make([]byte, n)
		for {
			if _, err := io.ReadFull(y, buf); err != nil {
				return
			}
			y.Write(buf)
		}
	})
	buf := make([]byte, n)
	for b.Loop() {
		if _, err := x.Write(buf); err != nil {
			b.Fatal(err)
		}
		if _, err := io.ReadFull(x, buf); err != nil {
			b.Fatal(err)
		}
	}
	x.Close()
}

// BenchmarkBulk sends 4 MiB messages one way.
func BenchmarkBulk(b *testing.B) {
	x, y := pair(b, Config{})
	bulk(b, x, y)
}

func bulk(b *testing.B, x, y *Endpoint) {
	const n = 4 << 20
	s, r := lane(b, x, y, LaneKey{1, KVMove}, n)
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			m, err := r.Next()
			if err != nil {
				return
			}
			m.Release()
		}
	})
	body := make([]byte, n)
	b.SetBytes(n)
	b.ReportAllocs()
	for b.Loop() {
		if err := s.Send(soon(), body); err != nil {
			b.Fatal(err)
		}
	}
	s.Close()
	wg.Wait()
}

// BenchmarkBareBulk is the same with nothing but a connection, in writes of 64 KiB.
func BenchmarkBareBulk(b *testing.B) {
	x, y := tcpPair(b)
	bareBulk(b, x, y)
}

func bareBulk(b *testing.B, x, y net.Conn) {
	const n = 4 << 20
	var wg sync.WaitGroup
	wg.Go(func() {
		buf := make([]byte, n)
		for {
			if _, err := io.ReadFull(y, buf); err != nil {
				return
			}
		}
	})
	body := make([]byte, n)
	b.SetBytes(n)
	for b.Loop() {
		for i := 0; i < n; i += 64 << 10 {
			if _, err := x.Write(body[i : i+64<<10]); err != nil {
				b.Fatal(err)
			}
		}
	}
	x.Close()
	wg.Wait()
}

func tcpPair(b *testing.B) (x, y net.Conn) {
	b.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer ln.Close()
	if x, err = net.Dial("tcp", ln.Addr().String()); err != nil {
		b.Fatal(err)
	}
	if y, err = ln.Accept(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { x.Close(); y.Close() })
	return x, y
}
