package cluster

import "fmt"

// Role is what a node does in the cluster.
type Role uint8

// The roles.
const (
	Compute Role = iota // holds weights and KV cache
	Client              // drives generations only
)

// String names the role.
func (r Role) String() string {
	switch r {
	case Compute:
		return "compute"
	case Client:
		return "client"
	}
	return fmt.Sprintf("role(%d)", uint8(r))
}

// Node is a member and what it offers.
type Node struct {
	Name      string  // unique in the cluster
	Role      Role    //
	Gossip    string  // host:port of its gossip endpoint, as the others reach it
	Transport string  // host:port of its transport endpoint
	Memory    int64   // bytes offered for weights, KV cache and activations
	Bandwidth float64 // measured memory bandwidth, bytes/s
	Cores     int     // CPU cores offered
	Device    string  // for people: "cpu (2 threads, avx2)"
	Version   string  // of the program
}

const maxName = 64 // bytes

// checkName holds names to what can stand unquoted in addresses, logs and tables.
func checkName(s string) error {
	if s == "" {
		return fmt.Errorf("name is empty")
	}
	if len(s) > maxName {
		return fmt.Errorf("name %.16q… has %d bytes, at most %d", s, len(s), maxName)
	}
	for _, c := range []byte(s) {
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '-', c == '_', c == '.', c == '+':
		default:
			return fmt.Errorf("name %q: only letters, digits, '-', '_', '.' and '+' are allowed", s)
		}
	}
	return nil
}
