package cluster

import (
	"fmt"
	"strings"

	"github.com/orrery-ai/orrery/placement"
)

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
	Name      string          // unique in the cluster
	Role      Role            //
	Gossip    string          // host:port of its gossip endpoint, as the others reach it
	Transport string          // host:port of its transport endpoint
	Memory    int64           // bytes offered for weights, KV cache and activations
	Promised  int64           // of them, to models that are loaded
	Short     int64           // bytes of what is promised that other programs took; 0: everything is there
	Bandwidth float64         // memory bandwidth, bytes/s: what shares of layers and tokens go by
	Cores     int             // CPU cores offered
	Device    string          // for people: "cpu (2 threads, avx2)"
	Version   string          // of the program
	Machine   string          // what tells its machine from others, while that runs; "" if it is not known
	CPUs      string          // the processors that it may use, as "0-3", or [GPU] and the GPU that it computes on
	Rates     placement.Rates // measured with the node's kernels; zero if they were not
}

// GPU is what CPUs begins with of a node that computes on a GPU, which has memory and caches of its own.
const GPU = "gpu "

// OnGPU reports whether the node computes on a GPU.
func (n *Node) OnGPU() bool { return strings.HasPrefix(n.CPUs, GPU) }

// Placement is the node as placement knows it. A GPU is a machine of its own: it shares caches and memory only with nodes on the same one.
func (n *Node) Placement() placement.Node {
	p := placement.Node{Name: n.Name, Memory: n.Memory, Promised: n.Withheld(), Bandwidth: n.Bandwidth, Rates: n.Rates, Machine: n.Machine, CPUs: n.CPUs}
	if n.OnGPU() && p.Machine != "" {
		p.Machine += " " + n.CPUs
	}
	return p
}

// Withheld is how many bytes of the node's memory are not to be had. A node that is short of what it has
// promised takes on nothing new.
func (n *Node) Withheld() int64 {
	if n.Short > 0 {
		return n.Memory
	}
	return min(n.Promised, n.Memory)
}

const maxName = 64 // bytes

// CheckName holds names to what can stand unquoted in addresses, logs and tables.
func CheckName(s string) error {
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
