package ca

import (
	"crypto/ecdsa"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"time"
)

// Identity is what a node proves itself with, and whom it trusts. It comes from [Load] or
// [Authority.Issue], and is not changed afterwards.
type Identity struct {
	name    Name
	cert    *x509.Certificate
	key     *ecdsa.PrivateKey
	trusted []*x509.Certificate // authorities; the first has issued cert
	gossip  [][]byte            // keys, one for each authority
}

// Name is the node's, and its cluster's.
func (id *Identity) Name() Name { return id.name }

// Certificate is the node's, with its private key.
func (id *Identity) Certificate() tls.Certificate {
	return tls.Certificate{Certificate: [][]byte{id.cert.Raw}, PrivateKey: id.key, Leaf: id.cert}
}

// Roots are the authorities that the node trusts.
func (id *Identity) Roots() *x509.CertPool {
	pool := x509.NewCertPool()
	for _, c := range id.trusted {
		pool.AddCert(c)
	}
	return pool
}

// GossipKeys are keys of 32 bytes: gossip is encrypted with the first, and read with all.
func (id *Identity) GossipKeys() [][]byte { return id.gossip }

// Period is when the certificate is valid.
func (id *Identity) Period() Period { return Period{id.cert.NotBefore, id.cert.NotAfter} }

// Check says what is wrong with the certificate at a time. Other nodes refuse one that is not valid.
func (id *Identity) Check(now time.Time) error {
	p := id.Period()
	switch {
	case now.Before(p.From):
		return fmt.Errorf("the certificate of %s is not valid before %s: is this machine's clock, %s, right?", id.name, date(p.From), date(now))
	case now.After(p.Until):
		return fmt.Errorf("the certificate of %s has expired on %s: issue a new one with orrery ca issue %s", id.name, date(p.Until), id.name.Node)
	}
	return nil
}
