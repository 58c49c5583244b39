package ca

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
)

// Description is one certificate of a directory.
type Description struct {
	File        string // its path
	Name        Name   // Node is empty for an authority
	Period      Period
	Fingerprint string // SHA-256 of the certificate, in hexadecimal
}

// Describe lists the certificates in the directory of an authority or of a node; a node's own comes first.
// It reads no secrets.
func Describe(dir string) ([]Description, error) {
	var ds []Description
	for _, name := range []string{nodeCert, authorityCert} {
		certs, names, err := readCertificates(dir, name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		for i, c := range certs {
			ds = append(ds, Description{filepath.Join(dir, name), names[i], Period{c.NotBefore, c.NotAfter}, Fingerprint(c)})
		}
	}
	if len(ds) == 0 {
		return nil, fmt.Errorf("%s has neither %s nor %s: orrery ca makes such directories", dir, nodeCert, authorityCert)
	}
	return ds, nil
}

// Fingerprint is the SHA-256 of a certificate, in hexadecimal.
func Fingerprint(c *x509.Certificate) string {
	sum := sha256.Sum256(c.Raw)
	return hex.EncodeToString(sum[:])
}
