package rdma

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"time"

	"github.com/orrery-ai/orrery/transport/verbs"
)

// probeWithin bounds how long the ends wait for each other's first message.
const probeWithin = time.Second

// Upgrade makes a connection over RDMA from one over TCP, on which nothing else may be under way; the peer has
// to call it too. It takes until the deadline at most. On success nc belongs to the Conn. If the error is
// [*Declined], both ends keep nc and go on with it; after any other the caller has to close it.
func (p *Provider) Upgrade(nc net.Conn, peer string, deadline time.Time) (*Conn, error) {
	if err := nc.SetDeadline(deadline); err != nil {
		return nil, err
	}
	c, mine := p.prepare(nc, peer)
	err := c.negotiate(mine, deadline)
	if err == nil {
		err = nc.SetDeadline(time.Time{})
	}
	if err != nil {
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.place.device != nil {
			err = errors.Join(err, c.release())
		}
		return nil, err
	}
	go c.watch()
	return c, nil
}

// prepare makes this end of a connection, as far as that goes, and the offer of it or the reason why there is
// none.
func (p *Provider) prepare(nc net.Conn, peer string) (*Conn, offer) {
	c := &Conn{peer: peer, nc: nc, profile: p.profile, watched: make(chan struct{}), reader: newWaiter(), writer: newWaiter()}
	c.idle = sync.NewCond(&c.mu)
	mine := offer{step: stepOffer}
	if err := c.make(p); err != nil {
		mine.reason = err.Error()
		return c, mine
	}
	mine.service, mine.mtu = c.profile.service, c.place.info.ActiveMTU
	mine.qp, mine.psn = c.qp.Number, rand.Uint32N(1<<24)
	mine.slotBytes, mine.slots = c.profile.slotBytes, c.profile.slots
	mine.lid, mine.gid = c.place.info.LID, c.place.gid
	return c, mine
}

// make makes what the connection needs of the adapter.
func (c *Conn) make(p *Provider) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return net.ErrClosed
	}
	at, err := p.placeFor(localAddr(c.nc))
	if err != nil {
		return err
	}
	pd, err := at.device.enter()
	if err != nil {
		return err
	}
	c.place = at
	ctx := at.device.ctx
	if c.events = newEvents(ctx); c.events != nil {
		c.events.take = c.takeEvent
	}
	var channel *verbs.Channel
	if c.events != nil {
		channel = c.events.channel
	}
	if c.mem, err = newStaging(pd, c.profile); err != nil {
		return err
	}
	if c.cq, err = ctx.CQ(c.profile.sends()+c.profile.receives(), pollBatch, channel); err != nil {
		return err
	}
	if c.qp, err = pd.QP(c.profile.service, c.cq, c.profile.sends(), c.profile.receives()); err != nil {
		return err
	}
	return c.qp.Init(at.port)
}

// negotiate goes through the steps with the peer. After each, both know whether to go on.
func (c *Conn) negotiate(mine offer, deadline time.Time) error {
	theirs, err := c.swap(mine, stepOffer)
	if err != nil {
		return err
	}
	if why := mine.fits(theirs); why != "" {
		return &Declined{Peer: c.peer, Reason: why}
	}
	if _, err := c.swap(verdict(stepConnected, c.connect(mine, theirs)), stepConnected); err != nil {
		return err
	}
	_, err = c.swap(verdict(stepTried, c.probe(deadline)), stepTried)
	return err
}

func verdict(s step, err error) offer {
	o := offer{step: s}
	if err != nil {
		o.reason = err.Error()
	}
	return o
}

// swap tells the peer how this end stands, and hears how it stands. The error is [*Declined] if one of them
// cannot go on.
func (c *Conn) swap(mine offer, s step) (offer, error) {
	if _, err := c.nc.Write(mine.append(nil)); err != nil {
		return offer{}, fmt.Errorf("rdma: peer %s: %w", c.peer, err)
	}
	theirs, err := readOffer(c.nc, s)
	switch {
	case err != nil:
		return theirs, fmt.Errorf("rdma: peer %s: %w", c.peer, err)
	case mine.reason != "":
		return theirs, &Declined{Peer: c.peer, Reason: mine.reason}
	case theirs.reason != "":
		return theirs, &Declined{Peer: c.peer, ByPeer: true, Reason: theirs.reason}
	}
	return theirs, nil
}

// connect takes the queue pair to where it sends and receives.
func (c *Conn) connect(mine, theirs offer) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.slot = min(mine.slotBytes, theirs.slotBytes)
	c.flow = newFlow(mine.slots, theirs.slots)
	for i := range c.profile.sends() {
		c.free = append(c.free, i)
	}
	err := c.qp.Connect(verbs.Path{
		Port: c.place.port, QP: theirs.qp, PSN: theirs.psn, LID: theirs.lid, GID: theirs.gid,
		GIDFrom: c.place.index, HopMax: c.profile.hops, MTU: min(mine.mtu, theirs.mtu),
	})
	if err == nil {
		err = c.qp.Activate(mine.psn)
	}
	if err != nil {
		return err
	}
	// Receives come last, for adapters on Thunderbolt want them so. The peer sends nothing before it knows.
	for i := range c.profile.receives() {
		if !c.post(i) {
			return c.err
		}
	}
	return nil
}

// probe sends a message to the peer, and waits until it has arrived and the peer's has come.
func (c *Conn) probe(deadline time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.speak(kindProbe) {
		return errors.Join(errors.New("the first message could not be sent"), c.err)
	}
	end := time.Now().Add(min(probeWithin, time.Until(deadline)/2))
	for !c.probed || c.busy > 0 {
		c.poll()
		switch {
		case c.err != nil:
			return c.err
		case !time.Now().Before(end):
			return errors.New("the peer's first message did not come: does the network carry RDMA between these ports?")
		}
		c.mu.Unlock()
		time.Sleep(firstPause)
		c.mu.Lock()
	}
	return nil
}
