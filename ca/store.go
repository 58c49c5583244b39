package ca

import (
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
)

// The files of an authority's directory, and of a node's.
const (
	authorityCert   = "ca.crt" // in a node's: all authorities that it trusts
	authorityKey    = "ca.key"
	authoritySecret = "gossip.secret"
	nodeCert        = "node.crt"
	nodeKey         = "node.key"
	nodeGossip      = "gossip.key"
)

// Save writes the authority to a directory. None of its files may be there already.
func (a *Authority) Save(dir string) error {
	key, err := encodeKey(a.key)
	if err == nil {
		err = writeAll(dir, false, []file{
			{authorityCert, encodeCertificates(a.cert)},
			{authorityKey, key},
			{authoritySecret, encodeSecrets(a.secret)},
		})
	}
	if err != nil {
		return fmt.Errorf("saving the authority: %w", err)
	}
	return nil
}

// Open reads an authority that was saved.
func Open(dir string) (*Authority, error) {
	certs, names, err := readCertificates(dir, authorityCert)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			err = fmt.Errorf("%w: orrery ca init makes an authority", err)
		}
		return nil, fmt.Errorf("authority: %w", err)
	}
	if len(certs) != 1 || names[0].Node != "" {
		return nil, fmt.Errorf("authority: %s: not the one certificate of an authority", filepath.Join(dir, authorityCert))
	}
	key, err := readKey(dir, authorityKey, certs[0])
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			err = fmt.Errorf("%w: this is the directory of a node, not of the authority", err)
		}
		return nil, fmt.Errorf("authority: %w", err)
	}
	secrets, err := readSecrets(dir, authoritySecret, secretBytes)
	if err == nil && len(secrets) > 1 {
		err = fmt.Errorf("%s has %d secrets, want one", filepath.Join(dir, authoritySecret), len(secrets))
	}
	if err != nil {
		return nil, fmt.Errorf("authority: %w", err)
	}
	return &Authority{cluster: names[0].Cluster, cert: certs[0], key: key, secret: secrets[0]}, nil
}

// Save writes the identity to a directory. If replace is not set, none of its files may be there already.
func (id *Identity) Save(dir string, replace bool) error {
	key, err := encodeKey(id.key)
	if err == nil {
		err = writeAll(dir, replace, []file{
			{authorityCert, encodeCertificates(id.trusted...)},
			{nodeCert, encodeCertificates(id.cert)},
			{nodeKey, key},
			{nodeGossip, encodeSecrets(id.gossip...)},
		})
	}
	if err != nil {
		return fmt.Errorf("saving the certificate of %s: %w", id.name, err)
	}
	return nil
}

// Load reads the directory of a node. Whether its certificate is still valid is for [Identity.Check].
func Load(dir string) (*Identity, error) {
	id, err := load(dir)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			err = fmt.Errorf("%w: orrery ca issue makes the directory of a node", err)
		}
		return nil, fmt.Errorf("certificate: %w", err)
	}
	return id, nil
}

func load(dir string) (*Identity, error) {
	id := new(Identity)
	certs, names, err := readCertificates(dir, nodeCert)
	if err != nil {
		return nil, err
	}
	path := filepath.Join(dir, nodeCert)
	if len(certs) != 1 || names[0].Node == "" {
		return nil, fmt.Errorf("%s: not the one certificate of a node", path)
	}
	id.name = names[0]
	id.cert = certs[0]
	if id.key, err = readKey(dir, nodeKey, id.cert); err != nil {
		return nil, err
	}
	id.trusted, names, err = readCertificates(dir, authorityCert)
	if err != nil {
		return nil, err
	}
	for _, n := range names {
		if n.Node != "" || n.Cluster != id.name.Cluster {
			return nil, fmt.Errorf("%s: a certificate of %s is not of an authority of cluster %s", filepath.Join(dir, authorityCert), n, id.name.Cluster)
		}
	}
	// In its time, that is: Check says whether this is it.
	if _, err := id.cert.Verify(x509.VerifyOptions{DNSName: ServerName, Roots: id.Roots(), CurrentTime: id.cert.NotBefore}); err != nil {
		return nil, fmt.Errorf("%s: not issued by an authority in %s: %w", path, filepath.Join(dir, authorityCert), err)
	}
	id.gossip, err = readSecrets(dir, nodeGossip, gossipBytes)
	return id, err
}
