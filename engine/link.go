package engine

import (
	"cmp"
	"errors"
	"fmt"

	"github.com/orrery-ai/orrery/device"
	"github.com/orrery-ai/orrery/residence"
	"github.com/orrery-ai/orrery/transport"
)

// Where the devices of all owners can, a step of one token is relayed: its hidden state goes from device to device, and
// the token that is chosen from the last device to the first, which embeds it. Each owner announces the step to the
// next ([kindAhead], on the lane of hidden states) when it begins to record, and the next records its own part
// meanwhile. So all owners record a step while the one before runs, and between two steps only devices have anything to
// do.
//
// Messages are bare: which step one belongs to follows from its number, which both ends count. So links on which a step
// has failed are never used again; later steps go by way of the hosts.

// link is the lanes between this node's steps and another's.
type link struct {
	node       int // the other
	peer       string
	stream     device.Exchanger
	in, out    *device.Lane
	inbox      *transport.Inbox
	outbox     *transport.Outbox // nil if the peer's device makes no exchanges by itself
	came, sent uint32            // messages that were recorded
	broken     bool
}

func linkSizes(c *Config) transport.LaneSizes {
	n := 4 * c.Model.Config.Hidden
	return transport.LaneSizes{Sent: n, Shared: n}
}

// newLink registers the lane on which messages come in; nil if the stream's device makes no exchanges by itself, or
// steps cannot follow each other on it.
func newLink(c *Config, w *workspace, node int) (*link, error) {
	if w.exchanger == nil || w.pacer == nil {
		return nil, nil
	}
	peer := c.Nodes[node]
	l := &link{node: node, peer: peer, stream: w.exchanger}
	var err error
	if l.inbox, err = c.Endpoint.Inbox(peer, transport.LaneKey{Model: c.ModelID, Purpose: transport.HiddenAhead}, linkSizes(c), makesLanes(c, l.stream, false)); err != nil {
		return nil, fmt.Errorf("hidden states from %s: %w", peer, err)
	}
	l.in = l.inbox.Lane()
	return l, nil
}

// connect opens the lane on which messages go out, if the peer has the other end. Nothing uses the stream yet.
func (l *link) connect(c *Config) error {
	if l == nil {
		return nil
	}
	b, err := c.Endpoint.Outbox(l.peer, transport.LaneKey{Model: c.ModelID, Purpose: transport.HiddenAhead}, linkSizes(c), makesLanes(c, l.stream, true))
	if nobody := new(transport.ErrNoReceiver); errors.As(err, &nobody) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("hidden states to %s: %w", l.peer, err)
	}
	l.outbox, l.out = b, b.Lane()
	return nil
}

// usable says whether both ends can exchange.
func (l *link) usable() bool {
	return l != nil && l.outbox != nil && !l.broken && l.in.Err() == nil && l.out.Err() == nil
}

// close ends both lanes; what waits for their messages fails.
func (l *link) close() {
	if l == nil {
		return
	}
	if l.outbox != nil {
		l.outbox.Close()
	}
	l.inbox.Close()
}

// receive records that the next message comes into dst, and send that src goes out by the next.
func (l *link) receive(dst []byte) {
	l.stream.Receive(l.in, l.came, dst)
	l.inbox.Passed(1, len(dst))
	l.came++
}

func (l *link) send(src []byte) {
	l.stream.Send(l.out, l.sent, src)
	l.outbox.Passed(1, len(src))
	l.sent++
}

// relay is the links of a step that is relayed: none of one that is not.
type relay struct {
	from, to *link // of the hidden state; nil at the first owner, and at the last
	token    *link // of the token: on which it comes to the first owner, and goes from the last
	course   course
}

func (r *relay) used() bool { return r.from != nil || r.to != nil }

// end is the node that has the last layers of a step that begins here, or nobody.
func (r *relay) end() int {
	if !r.used() || r.token == nil {
		return nobody
	}
	return r.token.node
}

// links are those that are used, and nil for others.
func (r *relay) links() [3]*link { return [...]*link{r.from, r.to, r.token} }

// relayOf is how a step of this node's layers is relayed: as its announcement says or, at the first owner, if that can be.
func (e *Engine) relayOf(h *header, ep *residence.Epoch, layers residence.Span) (relay, error) {
	var r relay
	first, last := layers.First == 0, layers.End == e.layers
	if !first {
		r.from = e.links[ep.OwnerOf(layers.First-1)]
	}
	if !last {
		r.to = e.links[ep.OwnerOf(layers.End)]
	}
	switch {
	case first && last:
		return relay{}, nil
	case first:
		r.token = e.links[ep.OwnerOf(e.layers-1)]
	case last:
		r.token = e.links[ep.OwnerOf(0)]
	}
	can := h.Count == 1 && h.Flags&(wantToken|wantLogits|each) == wantToken|each && e.work.choosesItself(h)
	can = can && (first || r.from.usable()) && (last || r.to.usable()) && (!first && !last || r.token.usable())
	switch {
	case first && !can && h.Flags&(follows|each) == follows|each:
		return r, fmt.Errorf("the token for position %d was to come from another device: %w", h.First, r.failure())
	case first && !can || !first && h.Kind != kindAhead:
		return relay{}, nil
	case !can:
		return r, fmt.Errorf("the device of %s hands on no hidden states by itself any more", e.self())
	case !first && h.C != r.from.came, last && h.Flags&followed != 0 && h.A != r.token.sent:
		return r, fmt.Errorf("the announcement to %s does not fit: message %d is to bring the hidden state (%d is next), and %d the token", e.self(), h.C, r.from.came, h.A)
	}
	return r, nil
}

// pass announces a relayed step to the next owner, if there is one, and has what this one waits for watched.
func (e *Engine) pass(h header, ep *residence.Epoch, layers residence.Span) error {
	r := &e.work.relay
	by := e.deadline()
	if r.from != nil {
		r.from.inbox.Expect(r.from.came, by)
	} else if r.course.takes {
		r.token.inbox.Expect(r.token.came, by)
	}
	if r.to == nil {
		if r.course.tells {
			r.token.out.Signalled()
		}
		return nil
	}
	if r.from == nil {
		h.A = r.token.came
		if r.course.takes {
			h.A++
		}
	}
	h.Kind, h.Layer, h.C = kindAhead, uint32(layers.End), r.to.sent
	if err := e.lanes.hiddenOut[ep.OwnerOf(layers.End)].Send(by, h.encode(&e.work.head)); err != nil {
		return fmt.Errorf("announcement to %s: %w", r.to.peer, err)
	}
	r.to.out.Signalled() // soon: whoever sends may spin for it
	return nil
}

// begin records what a relayed step begins with: the token that comes, even if nobody needs it, or the hidden state.
// The slots that it sends from are awaited at once: they have been free for long.
func (r *relay) begin(w *workspace) {
	switch {
	case r.from != nil:
		r.from.receive(bytesOf(w.scratch.X.Data))
	case r.course.takes:
		r.token.receive(bytesOf(w.scratch.Choice(1)))
	}
	if r.to != nil {
		r.to.stream.Await(r.to.out, r.to.sent, 0)
	} else if r.course.tells {
		r.token.stream.Await(r.token.out, r.token.sent, 0)
	}
}

// failure is why no step can be relayed.
func (r *relay) failure() error {
	for _, l := range r.links() {
		if l == nil || l.outbox == nil {
			continue
		}
		if err := cmp.Or(l.in.Err(), l.out.Err()); err != nil {
			return fmt.Errorf("hidden states from and to %s: %w", l.peer, err)
		}
	}
	return errors.New("not all owners hand on hidden states by themselves")
}

// blame adds to the cause of a step's failure whose link has failed, if one has.
func (r *relay) blame(cause error) error {
	for _, l := range r.links() {
		if l == nil || l.outbox == nil {
			continue
		}
		for what, lane := range map[string]*device.Lane{"from": l.in, "to": l.out} {
			if err := lane.Err(); err != nil && errors.Is(cause, err) {
				return fmt.Errorf("hidden state or token %s %s: %w", what, l.peer, cause)
			}
		}
	}
	return cause
}

// unlink ends the links of a relayed step that has failed. Whoever waits for a message of it finds out.
func (e *Engine) unlink(r relay, cause error) {
	for _, l := range r.links() {
		if l != nil && !l.broken {
			l.broken = true
			l.close()
			e.succession.lost(l.node)
			e.cfg.Logger.Warn("hidden states go by way of the hosts from now on", "peer", l.peer, "err", cause)
		}
	}
}

// handOn records that the hidden state goes to the next owner, and finishes this node's part of a relayed step.
func (e *Engine) handOn(h header, layers residence.Span) error {
	w := &e.work
	w.relay.to.send(bytesOf(w.scratch.X.Data))
	if e.fly(&h, choice{}, layers) {
		return nil
	}
	e.land()
	if err := w.wait(); err != nil {
		return err
	}
	e.endStep(h.Seq)
	return e.done(h, -1, true)
}
