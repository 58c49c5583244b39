package transport

import (
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"sync"
	"testing"
)

// tlsPair is a bare TLS connection, made as the endpoints make theirs.
func tlsPair(b *testing.B) (x, y net.Conn) {
	b.Helper()
	raw, other := tcpPair(b)
	s := newSecurity(identity(b, authority(b, "test"), "a"))
	client, server := tls.Client(raw, s.client), tls.Server(other, s.server)
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := server.Handshake(); err != nil {
			b.Error(err)
		}
	})
	if err := client.Handshake(); err != nil {
		b.Error(err)
	}
	wg.Wait()
	return client, server
}

// BenchmarkTLSPingPong is BenchmarkPingPong under TLS.
func BenchmarkTLSPingPong(b *testing.B) {
	for _, n := range pingSizes {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			x, y := securePair(b, Config{})
			pingPong(b, x, y, n)
		})
	}
}

// BenchmarkBareTLSPingPong is what it is held to.
func BenchmarkBareTLSPingPong(b *testing.B) {
	for _, n := range pingSizes {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			x, y := tlsPair(b)
			barePingPong(b, x, y, n)
		})
	}
}

// BenchmarkTLSBulk is BenchmarkBulk under TLS.
func BenchmarkTLSBulk(b *testing.B) {
	x, y := securePair(b, Config{})
	bulk(b, x, y)
}

// BenchmarkBareTLSBulk is what it is held to.
func BenchmarkBareTLSBulk(b *testing.B) {
	x, y := tlsPair(b)
	bareBulk(b, x, y)
}

// BenchmarkHandshake is how long it takes to agree on a connection.
func BenchmarkHandshake(b *testing.B) {
	s := newSecurity(identity(b, authority(b, "test"), "a"))
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			nc, err := ln.Accept()
			if err != nil {
				return
			}
			if err := tls.Server(nc, s.server).Handshake(); err != nil {
				b.Error(err)
			}
			io.Copy(io.Discard, nc)
			nc.Close()
		}
	})
	for b.Loop() {
		nc, err := net.Dial("tcp", ln.Addr().String())
		if err != nil {
			b.Fatal(err)
		}
		if _, err := s.dialled(nc); err != nil {
			b.Fatal(err)
		}
		nc.Close()
	}
	ln.Close()
	wg.Wait()
}
