package ca

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

const maxFile = 1 << 16 // bytes: what is read here is far smaller

// file is one of those that make up a directory.
type file struct {
	name string
	data []byte
}

// writeAll writes files that only this user may read to dir, which is made if it is not there. Unless
// replace is set, none of them may be there already; what has been written is then taken back.
func writeAll(dir string, replace bool, files []file) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	if !replace {
		for _, f := range files {
			if _, err := os.Lstat(filepath.Join(dir, f.name)); err == nil {
				return exists(dir, f.name)
			}
		}
	}
	for i, f := range files {
		if err := write(dir, f, replace); err != nil {
			if !replace {
				for _, done := range files[:i] {
					os.Remove(filepath.Join(dir, done.name))
				}
			}
			return err
		}
	}
	return nil
}

func exists(dir, name string) error {
	return fmt.Errorf("%s: %w; nothing was written", filepath.Join(dir, name), fs.ErrExist)
}

// write writes one file, whole or not at all. A temporary file has mode 0600.
func write(dir string, f file, replace bool) error {
	temp, err := os.CreateTemp(dir, f.name+".")
	if err != nil {
		return err
	}
	defer os.Remove(temp.Name())
	_, err = temp.Write(f.data)
	if err == nil {
		err = temp.Sync()
	}
	if err = errors.Join(err, temp.Close()); err != nil {
		return err
	}
	path := filepath.Join(dir, f.name)
	if replace {
		return os.Rename(temp.Name(), path)
	}
	if err := os.Link(temp.Name(), path); err != nil {
		if errors.Is(err, fs.ErrExist) {
			return exists(dir, f.name)
		}
		return err
	}
	return nil
}

// read reads a file of a directory. A secret one must be for its owner alone.
func read(dir, name string, secret bool) ([]byte, error) {
	f, err := os.Open(filepath.Join(dir, name))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if secret && info.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("%s can be used by others than its owner (mode %#o): chmod 600 %[1]s", f.Name(), info.Mode().Perm())
	}
	b, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, err
	}
	if len(b) > maxFile {
		return nil, fmt.Errorf("%s has more than %d bytes", f.Name(), maxFile)
	}
	return b, nil
}

const (
	pemCertificate = "CERTIFICATE"
	pemKey         = "PRIVATE KEY" // PKCS #8
)

func encodeCertificates(certs ...*x509.Certificate) []byte {
	var b bytes.Buffer
	for _, c := range certs {
		pem.Encode(&b, &pem.Block{Type: pemCertificate, Bytes: c.Raw}) // to memory, without headers: no error
	}
	return b.Bytes()
}

// readCertificates reads a file of one or more certificates, and whom each belongs to.
func readCertificates(dir, name string) (certs []*x509.Certificate, names []Name, err error) {
	rest, err := read(dir, name, false)
	if err != nil {
		return nil, nil, err
	}
	path := filepath.Join(dir, name)
	for len(bytes.TrimSpace(rest)) > 0 {
		var block *pem.Block
		block, rest = pem.Decode(rest)
		if block == nil || block.Type != pemCertificate {
			return nil, nil, fmt.Errorf("%s: not a PEM file of certificates", path)
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, nil, fmt.Errorf("%s: %w", path, err)
		}
		n, err := NameOf(c)
		if err != nil {
			return nil, nil, fmt.Errorf("%s: %w: it was not made by orrery ca", path, err)
		}
		certs, names = append(certs, c), append(names, n)
	}
	if len(certs) == 0 {
		return nil, nil, fmt.Errorf("%s: no certificate in it", path)
	}
	return certs, names, nil
}

func encodeKey(key *ecdsa.PrivateKey) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: pemKey, Bytes: der}), nil
}

// readKey reads the private key of a certificate.
func readKey(dir, name string, cert *x509.Certificate) (*ecdsa.PrivateKey, error) {
	b, err := read(dir, name, true)
	if err != nil {
		return nil, err
	}
	path := filepath.Join(dir, name)
	block, _ := pem.Decode(b)
	if block == nil || block.Type != pemKey {
		return nil, fmt.Errorf("%s: not a PEM file of a private key", path)
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	key, ok := parsed.(*ecdsa.PrivateKey)
	if !ok || !key.PublicKey.Equal(cert.PublicKey) {
		return nil, fmt.Errorf("%s: not the key of the certificate beside it", path)
	}
	return key, nil
}

func encodeSecrets(secrets ...[]byte) []byte {
	var b []byte
	for _, s := range secrets {
		b = append(hex.AppendEncode(b, s), '\n')
	}
	return b
}

// readSecrets reads a file of secrets of n bytes, one a line in hexadecimal.
func readSecrets(dir, name string, n int) ([][]byte, error) {
	b, err := read(dir, name, true)
	if err != nil {
		return nil, err
	}
	var secrets [][]byte
	for _, line := range bytes.Fields(b) {
		s, err := hex.AppendDecode(nil, line)
		if err != nil || len(s) != n {
			return nil, fmt.Errorf("%s: line %d is not %d bytes in hexadecimal", filepath.Join(dir, name), len(secrets)+1, n)
		}
		secrets = append(secrets, s)
	}
	if len(secrets) == 0 {
		return nil, fmt.Errorf("%s is empty", filepath.Join(dir, name))
	}
	return secrets, nil
}
