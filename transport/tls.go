package transport

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/orrery-ai/orrery/ca"
)

// recordBytes is the most plaintext that one TLS record takes.
const recordBytes = 16 << 10

// security is what an endpoint with an identity makes its connections with.
type security struct {
	server, client *tls.Config
}

// newSecurity is mutual TLS 1.3, in which both ends are verified by crypto/tls itself against the identity's
// own authorities. Nothing is resumed: every connection shows a certificate that is valid then.
func newSecurity(id *ca.Identity) *security {
	cert := id.Certificate()
	return &security{
		server: &tls.Config{
			MinVersion:                  tls.VersionTLS13,
			Certificates:                []tls.Certificate{cert},
			ClientAuth:                  tls.RequireAndVerifyClientCert,
			ClientCAs:                   id.Roots(),
			SessionTicketsDisabled:      true,
			DynamicRecordSizingDisabled: true,
		},
		client: &tls.Config{
			MinVersion: tls.VersionTLS13,
			// Shown whatever authorities the peer says that it trusts, so that it can say which one it does not.
			GetClientCertificate:        func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &cert, nil },
			RootCAs:                     id.Roots(),
			ServerName:                  ca.ServerName,
			DynamicRecordSizingDisabled: true,
		},
	}
}

// dialled makes TLS of a connection that this node has dialled. The deadlines are those of raw.
func (s *security) dialled(raw net.Conn) (*secured, error) {
	return handshake(raw, tls.Client(raw, s.client))
}

// accepted makes TLS of a connection that a peer has dialled, and from which head was read.
func (s *security) accepted(raw net.Conn, head []byte) (*secured, error) {
	return handshake(raw, tls.Server(&begun{raw, head}, s.server))
}

func handshake(raw net.Conn, c *tls.Conn) (*secured, error) {
	if err := c.Handshake(); err != nil {
		return nil, err
	}
	peer, err := ca.NameOf(c.ConnectionState().PeerCertificates[0])
	if err != nil {
		return nil, err
	}
	return &secured{Conn: c, raw: raw, peer: peer, record: make([]byte, 0, recordBytes)}, nil
}

// begun is a connection of which the first bytes have been read.
type begun struct {
	net.Conn
	head []byte
}

// Read gives those bytes first.
func (b *begun) Read(p []byte) (int, error) {
	if len(b.head) > 0 {
		n := copy(p, b.head)
		b.head = b.head[n:]
		return n, nil
	}
	return b.Conn.Read(p)
}

// secured is a connection under TLS.
type secured struct {
	*tls.Conn
	raw    net.Conn
	peer   ca.Name // whom the peer's certificate names
	record []byte  // empty between calls of writev
}

// Close closes the socket. It does not wait to say so to the peer, as TLS would: what ends in order is
// said in frames.
func (s *secured) Close() error { return s.raw.Close() }

// writev writes bufs in as few records as will hold them. TLS would make at least one record, and one
// system call, of each.
func (s *secured) writev(bufs net.Buffers) error {
	r := s.record
	for _, b := range bufs {
		for len(b) > 0 {
			n := len(b) - len(b)%recordBytes
			if len(r) > 0 || n == 0 {
				n = min(len(b), recordBytes-len(r))
				if r = append(r, b[:n]...); len(r) == recordBytes {
					if _, err := s.Write(r); err != nil {
						return err
					}
					r = r[:0]
				}
			} else if _, err := s.Write(b[:n]); err != nil {
				return err
			}
			b = b[n:]
		}
	}
	if len(r) == 0 {
		return nil
	}
	_, err := s.Write(r)
	return err
}

// wholeRecords is the largest frame of at most n bytes of payload that, with the head bytes before it, fills
// its records.
func wholeRecords(n, head int) int {
	if n < recordBytes {
		return n
	}
	return (n+head)/recordBytes*recordBytes - head
}

// mismatch is why who holds the certificate is not the node of a cluster; empty if it is.
func (s *secured) mismatch(cluster, node string) string {
	if s.peer.Cluster != cluster || !s.peer.Covers(node) {
		return fmt.Sprintf("the certificate is of %s, not of %s of cluster %s", s.peer, node, cluster)
	}
	return ""
}

// What the two ends tell each other, where one uses TLS and the other does not.
const (
	wantsTLS = "this node talks TLS alone: issue a certificate with orrery ca issue, and give it with --tls"
	hasNoTLS = "this node has no certificate, and does not talk TLS: issue one with orrery ca issue, and give it with --tls"
)

// errTLS says that a peer wants TLS of an endpoint that has none.
var errTLS = protocolError("a TLS handshake, and this node has no certificate")

// isTLS says that a connection begins as TLS does: with a handshake record.
func isTLS(head []byte) bool { return head[0] == 0x16 && head[1] == 3 }

// tlsReason says why TLS was not agreed on, in terms of certificates; empty if err is about something else.
func tlsReason(err error) string {
	var theirs *tls.CertificateVerificationError
	var ours *net.OpError
	var plain tls.RecordHeaderError
	switch {
	case errors.As(err, &theirs):
		return "the peer's certificate is not good: " + certificateFault(theirs)
	case errors.As(err, &ours) && ours.Op == "remote error":
		return "the peer turned down this node's certificate: " + alertMeaning(ours.Err.Error())
	case errors.As(err, &plain) && string(plain.RecordHeader[:len(helloMagic)]) == helloMagic:
		return "the peer does not talk TLS: it has no certificate"
	case err != nil && err.Error() == "tls: client didn't provide a certificate": // an error of no type
		return "the peer has no certificate"
	}
	return ""
}

// certificateFault is what is wrong with a certificate that was not accepted.
func certificateFault(e *tls.CertificateVerificationError) string {
	c := e.UnverifiedCertificates[0]
	who := "it names nobody"
	if name, err := ca.NameOf(c); err == nil {
		who = "that of " + name.String()
	}
	var unknown x509.UnknownAuthorityError
	var invalid x509.CertificateInvalidError
	now := time.Now()
	switch {
	case errors.As(e.Err, &unknown):
		return who + ", from another authority than this node trusts"
	case errors.As(e.Err, &invalid) && invalid.Reason == x509.Expired && now.After(c.NotAfter):
		return who + ", expired on " + c.NotAfter.Format(time.DateTime)
	case errors.As(e.Err, &invalid) && invalid.Reason == x509.Expired && now.Before(c.NotBefore):
		return who + ", not valid before " + c.NotBefore.Format(time.DateTime)
	}
	return who + ", " + e.Err.Error()
}

// alertMeaning is what the peer means by a TLS alert.
func alertMeaning(alert string) string {
	switch alert {
	case "tls: unknown certificate authority":
		return "it does not trust the authority that issued it"
	case "tls: expired certificate":
		return "it has expired, or the clocks differ"
	case "tls: certificate required":
		return "there was none"
	case "tls: bad certificate":
		return "it is of an authority that the peer does not trust, or has expired"
	}
	return alert
}

// hangUp closes a connection on which something may be left to read, after the peer has had time to read
// what was written: closing resets it then, and what is on its way would be lost.
func hangUp(raw *socket) {
	defer raw.Close()
	if c, ok := raw.Conn.(*net.TCPConn); ok && c.CloseWrite() == nil {
		raw.SetReadDeadline(time.Now().Add(hangUpWithin))
		io.CopyN(io.Discard, raw, maxHangUp)
	}
}

const (
	hangUpWithin = 250 * time.Millisecond
	maxHangUp    = 64 << 10 // bytes
)

// secure makes TLS of an inbound connection. Whoever begins without it is told that it is wanted.
func (e *Endpoint) secure(raw net.Conn) (*secured, error) {
	head := make([]byte, len(helloMagic))
	if _, err := io.ReadFull(raw, head); err != nil {
		return nil, fmt.Errorf("reading the first bytes: %w", err)
	}
	if string(head) == helloMagic {
		h, err := readHello(io.MultiReader(bytes.NewReader(head), raw))
		if err == nil {
			e.answer(raw, h, wantsTLS, nil)
			err = &ErrRefused{Peer: h.from, Reason: "it talks without TLS: it has no certificate"}
		}
		return nil, err
	}
	s, err := e.security.accepted(raw, head)
	return s, asRefusal(err, "")
}

// asRefusal makes a refusal of an error by which one of the ends turned down the other's certificate.
func asRefusal(err error, peer string) error {
	if reason := tlsReason(err); reason != "" {
		return &ErrRefused{Peer: peer, Reason: reason}
	}
	return err
}
