package ca

import (
	"crypto/rand"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"net/url"
	"strings"
)

// ServerName is the DNS name in every certificate: what crypto/tls compares. It tells nobody apart.
const ServerName = "orrery"

// MaxName is the most bytes of the names that are issued. With a suffix for a session they are still names
// of nodes.
const MaxName = 56

const uriScheme = "orrery"

// Name is whom a certificate belongs to. In that of an authority Node is empty.
type Name struct {
	Cluster string
	Node    string
}

// String is "NODE of cluster CLUSTER".
func (n Name) String() string {
	if n.Node == "" {
		return "the authority of cluster " + n.Cluster
	}
	return n.Node + " of cluster " + n.Cluster
}

// Covers says whether who holds the certificate may be called node in its cluster: by the certificate's name,
// or by that name, a plus sign and more.
func (n Name) Covers(node string) bool {
	rest, ok := strings.CutPrefix(node, n.Node)
	return ok && n.Node != "" && (rest == "" || rest[0] == '+')
}

// Session is a name that the certificate covers and that nobody else has: the node's, and a random suffix.
func (n Name) Session() string {
	var b [3]byte
	rand.Read(b[:]) // never fails
	return n.Node + "+" + hex.EncodeToString(b[:])
}

// NameOf is whom a certificate of an Orrery cluster belongs to.
func NameOf(c *x509.Certificate) (Name, error) {
	var found []Name
	for _, u := range c.URIs {
		if u.Scheme != uriScheme {
			continue
		}
		cluster, node, both := strings.Cut(u.Opaque, "/")
		if CheckName(cluster) != nil || both && CheckName(node) != nil {
			return Name{}, fmt.Errorf("a certificate for %.150q, which is no name", u)
		}
		found = append(found, Name{cluster, node})
	}
	if len(found) != 1 {
		return Name{}, fmt.Errorf("a certificate that names %d nodes, not one", len(found))
	}
	if (found[0].Node == "") != c.IsCA {
		return Name{}, errors.New("a certificate that is neither of a node nor of an authority")
	}
	return found[0], nil
}

func (n Name) uri() *url.URL {
	u := &url.URL{Scheme: uriScheme, Opaque: n.Cluster}
	if n.Node != "" {
		u.Opaque += "/" + n.Node
	}
	return u
}

// CheckName holds names to what nodes may be called, without the plus sign of sessions.
func CheckName(s string) error {
	if s == "" || len(s) > MaxName {
		return fmt.Errorf("name %.70q has %d bytes, want 1 to %d", s, len(s), MaxName)
	}
	for _, c := range []byte(s) {
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '-', c == '_', c == '.':
		default:
			return fmt.Errorf("name %q: only letters, digits, '-', '_' and '.' are allowed", s)
		}
	}
	return nil
}
