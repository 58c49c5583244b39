package calibrate

import (
	"context"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/orrery-ai/orrery/transport"
)

// Link is what was measured between two nodes.
type Link struct {
	Busy      time.Duration // an exchange of a KiB each way right after another: the median
	Paused    time.Duration // an exchange when the other node has had nothing to do for a while, as in decode: the median
	Sending   time.Duration // of Paused, what handing the message over took: the median
	Bandwidth float64       // bytes/s of messages sent one after another
	Ahead     time.Duration // an exchange of the nodes' devices, see [MeasureExchange]; 0 if they make none
	Telling   time.Duration // what telling of a piece of work, and taking in the next one, takes the other node of its time to compute: the median
}

// What is sent to measure a link. Every part ends after its share of the time, whatever it has measured then.
const (
	exchangeBytes = 1 << 10
	parcelBytes   = 128 << 10              // about a layer of a block of a small model
	parcels       = 64                     // 8 MiB
	pause         = 500 * time.Microsecond // about what a node takes for a layer before it sends again
	busyTime      = 15 * time.Millisecond
	pausedTime    = 45 * time.Millisecond
	parcelsTime   = 40 * time.Millisecond
	fewest        = 3 // exchanges to take a median of, however long they take
	most          = 300
	// LinkTime bounds one measurement altogether, its preparation included, and how long an Echo serves.
	LinkTime = 5 * time.Second
)

// What the first byte of a probe message asks for.
const (
	answer byte = iota // send it back
	swallow
	working // compute as often as the next byte says, each time for one more message; tell of each, and then what that took
)

// probeLane is the lane of a measurement to the node that measures, or to the peer, which may be the same.
func probeLane(id uint64, back bool) transport.LaneKey {
	id &^= 1
	if back {
		id |= 1
	}
	return transport.LaneKey{Model: id, Purpose: transport.Probe}
}

// MeasureLink measures the way between this node and a peer over a lane of its own in each direction. They
// go by id, which no other measurement may have; its lowest bit does not count. When this node's end is ready it calls invite, which must see to it that the peer has
// made its Echo.
func MeasureLink(ctx context.Context, e *transport.Endpoint, peer string, id uint64, invite func(context.Context) error) (Link, error) {
	ctx, cancel := context.WithTimeout(ctx, LinkTime)
	defer cancel()
	deadline, _ := ctx.Deadline()
	in, err := e.Receiver(peer, probeLane(id, true), parcelBytes)
	if err != nil {
		return Link{}, err
	}
	defer in.Close()
	defer context.AfterFunc(ctx, in.Close)()
	if err := invite(ctx); err != nil {
		return Link{}, err
	}
	out, err := e.Sender(peer, probeLane(id, false), parcelBytes)
	if err != nil {
		return Link{}, err
	}
	defer out.Close()
	p := prober{in: in, out: out, deadline: deadline, parcel: make([]byte, parcelBytes)}
	var l Link
	if _, _, err = p.exchanges(0, 0); err != nil { // the first ones find buffers cold
		return l, err
	}
	if l.Paused, l.Sending, err = p.exchanges(pause, pausedTime); err != nil {
		return l, err
	}
	if l.Busy, _, err = p.exchanges(0, busyTime); err != nil {
		return l, err
	}
	if l.Telling, err = p.telling(); err != nil {
		return l, err
	}
	l.Bandwidth, err = p.throughput()
	return l, err
}

// Check finds what no link has: it may have come from another node.
func (l Link) Check() error {
	if l.Busy <= 0 || l.Paused <= 0 || l.Sending < 0 || l.Ahead < 0 || l.Telling < 0 || l.Telling > LinkTime || !(l.Bandwidth >= 1 && l.Bandwidth <= 1e18) {
		return fmt.Errorf("a link of %+v cannot be", l)
	}
	return nil
}

// Typical is the median of several measurements of a link, one field at a time.
func Typical(all []Link) Link {
	middle := func(of func(Link) float64) float64 {
		var samples []float64
		for _, l := range all {
			samples = append(samples, of(l))
		}
		slices.Sort(samples)
		return samples[len(samples)/2]
	}
	return Link{
		Busy:      time.Duration(middle(func(l Link) float64 { return float64(l.Busy) })),
		Paused:    time.Duration(middle(func(l Link) float64 { return float64(l.Paused) })),
		Sending:   time.Duration(middle(func(l Link) float64 { return float64(l.Sending) })),
		Bandwidth: middle(func(l Link) float64 { return l.Bandwidth }),
		Ahead:     time.Duration(middle(func(l Link) float64 { return float64(l.Ahead) })),
		Telling:   time.Duration(middle(func(l Link) float64 { return float64(l.Telling) })),
	}
}

type prober struct {
	in       *transport.Receiver
	out      *transport.Sender
	deadline time.Time
	parcel   []byte
}

// exchange sends a message and waits until it is back. It returns how long the sending took.
func (p *prober) exchange(size int) (sending time.Duration, err error) {
	p.parcel[0] = answer
	start := time.Now()
	if err := p.out.Send(p.deadline, p.parcel[:size]); err != nil {
		return 0, err
	}
	sending = time.Since(start)
	m, err := p.in.Receive(p.deadline)
	if err != nil {
		return 0, err
	}
	defer m.Release()
	if len(m.Bytes) != size {
		return 0, fmt.Errorf("a probe of %d bytes came back with %d", size, len(m.Bytes))
	}
	return sending, nil
}

// exchanges is the median time of some exchanges, at least fewest, and of the sending in them, each after a
// pause in which this node computes and the other one has nothing to do.
func (p *prober) exchanges(pause, within time.Duration) (took, sending time.Duration, err error) {
	var all, sends []time.Duration
	for begin := time.Now(); len(all) < fewest || len(all) < most && time.Since(begin) < within; {
		start := time.Now()
		for time.Since(start) < pause {
		}
		start = time.Now()
		sent, err := p.exchange(exchangeBytes)
		if err != nil {
			return 0, 0, err
		}
		all, sends = append(all, time.Since(start)), append(sends, sent)
	}
	slices.Sort(all)
	slices.Sort(sends)
	return all[len(all)/2], sends[len(sends)/2], nil
}

// throughput sends parcels, the last of which is answered, and gives bytes/s.
func (p *prober) throughput() (float64, error) {
	start := time.Now()
	sent := 0
	for ; sent < parcels-1 && time.Since(start) < parcelsTime; sent++ {
		p.parcel[0] = swallow
		if err := p.out.Send(p.deadline, p.parcel); err != nil {
			return 0, err
		}
	}
	if _, err := p.exchange(parcelBytes); err != nil {
		return 0, err
	}
	return float64(sent+2) * parcelBytes / time.Since(start).Seconds(), nil
}

// Echo is the other end of a measurement.
type Echo struct {
	in  *transport.Receiver
	out *transport.Sender
}

// NewEcho makes the lanes to the node that measures, which must be ready.
func NewEcho(e *transport.Endpoint, from string, id uint64) (*Echo, error) {
	in, err := e.Receiver(from, probeLane(id, false), parcelBytes)
	if err != nil {
		return nil, err
	}
	out, err := e.Sender(from, probeLane(id, true), parcelBytes)
	if err != nil {
		in.Close()
		return nil, err
	}
	return &Echo{in, out}, nil
}

// Serve answers until the node that measures closes its lanes, ctx ends, or LinkTime has passed. Then the
// Echo is closed.
func (e *Echo) Serve(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, LinkTime)
	defer cancel()
	deadline, _ := ctx.Deadline()
	defer e.out.Close()
	defer e.in.Close()
	defer context.AfterFunc(ctx, e.in.Close)()
	for {
		m, err := e.in.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		todo := 0
		switch {
		case len(m.Bytes) > 0 && m.Bytes[0] == answer:
			err = e.out.Send(deadline, m.Bytes)
		case len(m.Bytes) > 1 && m.Bytes[0] == working:
			todo = int(m.Bytes[1])
		}
		m.Release()
		if todo > 0 {
			err = e.work(deadline, todo)
		}
		if err != nil {
			return err
		}
	}
}
