package ca

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"net/url"
	"time"
)

// Period is a time in which a certificate is valid, both ends included.
type Period struct{ From, Until time.Time }

// Days is the period from an hour before now, for clocks that differ, to the given number of days after it.
func Days(now time.Time, days int) Period {
	return Period{now.Add(-time.Hour), now.AddDate(0, 0, days)}
}

func (p Period) check() error {
	if !p.From.Before(p.Until) {
		return fmt.Errorf("a certificate from %s until %s would never be valid", date(p.From), date(p.Until))
	}
	return nil
}

func date(t time.Time) string { return t.Format(time.DateTime) }

// Authority signs the certificates of one cluster.
type Authority struct {
	cluster string
	cert    *x509.Certificate
	key     *ecdsa.PrivateKey
	secret  []byte // secretBytes, from which the key of the gossip comes
}

// New makes the authority of a cluster, with keys of its own.
func New(cluster string, valid Period) (*Authority, error) {
	if err := CheckName(cluster); err != nil {
		return nil, fmt.Errorf("cluster: %w", err)
	}
	if err := valid.check(); err != nil {
		return nil, err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	name := Name{Cluster: cluster}
	template := &x509.Certificate{
		Subject:               pkix.Name{CommonName: name.String()},
		URIs:                  []*url.URL{name.uri()},
		NotBefore:             valid.From,
		NotAfter:              valid.Until,
		KeyUsage:              x509.KeyUsageCertSign,
		BasicConstraintsValid: true,
		IsCA:                  true,
		MaxPathLenZero:        true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return nil, err
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	a := &Authority{cluster: cluster, cert: cert, key: key, secret: make([]byte, secretBytes)}
	rand.Read(a.secret) // never fails
	return a, nil
}

// Cluster is the name of the cluster.
func (a *Authority) Cluster() string { return a.cluster }

// Period is when the authority is valid.
func (a *Authority) Period() Period { return Period{a.cert.NotBefore, a.cert.NotAfter} }

// Issue makes the identity of a node. It trusts, and reads the gossip of, the authorities in also as well:
// others of the same cluster, from which or to which the cluster is passing.
func (a *Authority) Issue(node string, valid Period, also ...*Authority) (*Identity, error) {
	if err := CheckName(node); err != nil {
		return nil, fmt.Errorf("node: %w", err)
	}
	if err := valid.check(); err != nil {
		return nil, err
	}
	valid = Period{valid.From.Truncate(time.Second), valid.Until.Truncate(time.Second)} // as certificates hold it
	if own := a.Period(); valid.From.Before(own.From) || valid.Until.After(own.Until) {
		return nil, fmt.Errorf("a certificate from %s until %s would outlast its authority, which is valid from %s until %s",
			date(valid.From), date(valid.Until), date(own.From), date(own.Until))
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	id := &Identity{name: Name{a.cluster, node}, key: key}
	template := &x509.Certificate{
		Subject:               pkix.Name{CommonName: id.name.String()},
		URIs:                  []*url.URL{id.name.uri()},
		DNSNames:              []string{ServerName},
		NotBefore:             valid.From,
		NotAfter:              valid.Until,
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, &key.PublicKey, a.key)
	if err != nil {
		return nil, err
	}
	if id.cert, err = x509.ParseCertificate(der); err != nil {
		return nil, err
	}
	for _, trusted := range append([]*Authority{a}, also...) {
		if trusted.cluster != a.cluster {
			return nil, fmt.Errorf("an authority of cluster %s cannot be trusted in cluster %s", trusted.cluster, a.cluster)
		}
		gossip, err := trusted.gossipKey()
		if err != nil {
			return nil, err
		}
		id.trusted = append(id.trusted, trusted.cert)
		id.gossip = append(id.gossip, gossip)
	}
	return id, nil
}
