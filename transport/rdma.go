package transport

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"time"

	"github.com/orrery-ai/orrery/transport/rdma"
)

// RDMA says how an endpoint uses RDMA. The zero value is not at all.
//
// Connections begin over TCP, and move to RDMA if both ends offer it and their adapters reach each other; if
// not, they stay with TCP, and a line in the log says why.
type RDMA struct {
	// Use is "off" (as is ""), "auto" for the adapter that has the address of the TCP connection, or the
	// name of an adapter. One that is named has to be there.
	Use string
	// Unencrypted allows RDMA also for connections that are encrypted. Adapters do not encrypt: TLS
	// then protects who talks to whom, and nothing of what they say. Without it such connections stay
	// with TCP.
	Unencrypted bool
	// Library is the path of the library to use instead of the system's libibverbs or librdma, or of the
	// one that the environment variable ORRERY_VERBS_LIBRARY names.
	Library string
}

// open looks for adapters, if they are to be used. With "auto" their absence is logged, and no error.
func (r RDMA) open(log *slog.Logger) (*rdma.Provider, error) {
	o := rdma.Options{Library: r.Library, Device: r.Use}
	switch r.Use {
	case "", "off":
		return nil, nil
	case "auto":
		o.Device = ""
	}
	p, err := rdma.Open(o)
	if err != nil && r.Use == "auto" {
		log.Warn("RDMA is not used", "reason", err)
		return nil, nil
	}
	return p, err
}

// spinner is a connection that can try again and again by itself before it waits, as those over RDMA can.
type spinner interface {
	SetSpin(time.Duration, rdma.SpinGuard)
}

// setSpin makes a link over RDMA wait for small messages as the endpoint does.
func (l *link) setSpin() {
	l.mu.Lock()
	defer l.mu.Unlock()
	c, ok := l.nc.(spinner)
	if !ok || l.class != classSmall {
		return
	}
	if l.e.Synch() == Fast {
		c.SetSpin(attendFor, &l.e.spins)
	} else {
		c.SetSpin(0, nil)
	}
}

func closeFabric(p *rdma.Provider) error {
	if p == nil {
		return nil
	}
	return p.Close()
}

// features is what this node offers on a connection.
func (e *Endpoint) features(nc net.Conn) uint32 {
	features := uint32(0)
	if e.wantsSums(nc) {
		features |= featureSums
	}
	_, encrypted := nc.(interface{ ConnectionState() tls.ConnectionState })
	if e.fabric != nil && (!encrypted || e.c.RDMA.Unencrypted) {
		features |= featureRDMA
	}
	return features
}

// upgrade moves a connection to RDMA if both ends offer that and it succeeds. Otherwise it gives nc back, and
// logs why; an error is of nc itself.
func (e *Endpoint) upgrade(nc net.Conn, peer string, theirs uint32) (net.Conn, error) {
	offered := e.features(nc)
	if e.fabric != nil && offered&theirs&featureRDMA == 0 {
		reason := fmt.Sprintf("peer %s does not offer it", peer)
		if offered&featureRDMA == 0 {
			reason = "the connection is encrypted, which RDMA is not, and that was not allowed"
		}
		e.logDeclined(peer, reason)
	}
	if offered&theirs&featureRDMA != 0 {
		c, err := e.fabric.Upgrade(nc, peer, time.Now().Add(e.c.DialTimeout))
		var declined *rdma.Declined
		switch {
		case err == nil:
			e.c.Logger.Info("connection over RDMA", "peer", peer, "device", c.String())
			return c, nil
		case !errors.As(err, &declined):
			return nil, err
		}
		e.logDeclined(peer, declined.Error())
	}
	return nc, nc.SetDeadline(time.Time{})
}

// logDeclined says why a peer is reached over TCP; not again for each of its connections.
func (e *Endpoint) logDeclined(peer, reason string) {
	if e.firstTime("RDMA", peer, reason) {
		e.c.Logger.Warn("RDMA is not used", "peer", peer, "reason", reason)
	}
}

// firstTime says that this was not the last reason why what it names is not used with a peer.
func (e *Endpoint) firstTime(what, peer, reason string) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	k := declined{what, peer}
	said := e.declined[k] == reason
	if len(e.declined) >= 2*e.c.MaxConnections {
		clear(e.declined) // peers come and go; better said twice than kept for ever
	}
	e.declined[k] = reason
	return !said
}
