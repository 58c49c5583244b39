package rdma

import (
	"errors"
	"fmt"
	"strings"

	"github.com/orrery-ai/orrery/transport/verbs"
)

// CompletionError is a work request that the adapter could not do. The connection is of no use afterwards.
type CompletionError struct {
	Peer   string
	Op     string // send or receive
	Status verbs.Status
	Vendor uint32 // the adapter's own error number, for its maker
}

// Error names the peer and the status.
func (e *CompletionError) Error() string {
	return fmt.Sprintf("rdma: a %s with peer %s failed: %v (status %d, vendor error %#x)", e.Op, e.Peer, e.Status, int32(e.Status), e.Vendor)
}

// Declined says that two nodes stay with TCP. The connection over which they found out is in order.
type Declined struct {
	Peer   string
	ByPeer bool // it was the peer that could not
	Reason string
}

// Error says why.
func (e *Declined) Error() string {
	if e.ByPeer {
		return fmt.Sprintf("rdma: peer %s cannot: %s", e.Peer, e.Reason)
	}
	return fmt.Sprintf("rdma: not with peer %s: %s", e.Peer, e.Reason)
}

// NoDeviceError says that there is no adapter to use.
type NoDeviceError struct {
	Want  string   // the name that was asked for; empty for any
	Found []string // names
}

// Error names what is there.
func (e *NoDeviceError) Error() string {
	switch {
	case len(e.Found) == 0:
		return "rdma: this machine has no RDMA adapter, or no driver for it"
	case e.Want != "":
		return fmt.Sprintf("rdma: there is no adapter %q; there is %s", e.Want, strings.Join(e.Found, ", "))
	}
	return fmt.Sprintf("rdma: no port of %s is active", strings.Join(e.Found, ", "))
}

// ErrProtocol is in the chain of errors about a peer whose messages break the rules.
var ErrProtocol = errors.New("protocol error")
