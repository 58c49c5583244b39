package ca

import (
	"crypto/hkdf"
	"crypto/sha256"
)

const (
	secretBytes = 32 // of an authority's secret
	gossipBytes = 32 // of a gossip key: AES-256
)

// gossipKey is the key of the cluster's gossip: HKDF-SHA256 (RFC 5869) of the authority's secret. The secret
// itself leaves the authority's directory in no form, so that other keys can come from it.
func (a *Authority) gossipKey() ([]byte, error) {
	return hkdf.Key(sha256.New, a.secret, nil, "orrery gossip 1 "+a.cluster, gossipBytes)
}
