package engine

import (
	"errors"
	"fmt"

	"github.com/orrery-ai/orrery/attention"
	"github.com/orrery-ai/orrery/placement"
	"github.com/orrery-ai/orrery/transport"
)

// lanes are the engine's ends of the lanes of one model. Slices are by node index; the entry of this
// node itself is nil.
type lanes struct {
	step   *transport.Receiver // from the driver
	result *transport.Sender   // to the driver

	hiddenIn, queryIn, partialIn, moveIn, ringIn      []*transport.Receiver
	hiddenOut, queryOut, partialOut, moveOut, ringOut []*transport.Sender
}

// sizes are the largest messages of each purpose, in bytes. Both ends derive them from the model.
type sizes struct{ step, hidden, query, partial, block, parcel, result int }

func sizesOf(c Config, s attention.Shape) sizes {
	width, asking := s.Heads*s.HeadDim, c.Room.Asking
	vocab := c.Model.Config.Vocab
	rows := rowBytes * BatchRows
	return sizes{
		step:    headerBytes + max(4*max(c.Rows, c.RoundTokens)+pieceBytes*(c.RoundTokens/c.BlockTokens+2), rows),
		hidden:  headerBytes + 4*c.Rows*c.Model.Config.Hidden + rows,
		query:   headerBytes + 4*asking*width + rows,
		partial: headerBytes + 4*asking*(width+2*s.Heads),
		block:   headerBytes + s.BlockBytes(c.KV, c.BlockTokens),
		parcel:  headerBytes + placement.ParcelBlocks(c.BlockTokens)*(extentBytes+s.BlockBytes(c.KV, c.BlockTokens)),
		result:  headerBytes + 4*logitRows(c.Rows, vocab)*vocab + maxReason,
	}
}

// maxReason bounds the text of a failure that travels, in bytes.
const maxReason = 4096

// register makes the receiving ends. It must have happened on every member before any connects.
func (l *lanes) register(c Config, s attention.Shape) error {
	size := sizesOf(c, s)
	receiver := func(from string, p transport.Purpose, most int) (*transport.Receiver, error) {
		return c.Endpoint.Receiver(from, transport.LaneKey{Model: c.ModelID, Purpose: p}, most)
	}
	var err error
	if l.step, err = receiver(c.Client, transport.Step, size.step); err != nil {
		return err
	}
	for _, in := range []struct {
		lanes   *[]*transport.Receiver
		purpose transport.Purpose
		most    int
		single  bool // messages are released before the next is waited for
	}{
		{&l.hiddenIn, transport.Hidden, size.hidden, true},
		{&l.queryIn, transport.Query, size.query, true},
		{&l.partialIn, transport.Partial, size.partial, true},
		{&l.moveIn, transport.KVMove, size.block, false},
		{&l.ringIn, transport.KVRing, size.parcel, false},
	} {
		*in.lanes = make([]*transport.Receiver, len(c.Nodes))
		for n, name := range c.Nodes {
			if n == c.Node {
				continue
			}
			if (*in.lanes)[n], err = receiver(name, in.purpose, in.most); err != nil {
				return err
			}
			if in.single {
				(*in.lanes)[n].Single()
			}
		}
	}
	return nil
}

// connect opens the sending ends.
func (l *lanes) connect(c Config, s attention.Shape) error {
	size := sizesOf(c, s)
	sender := func(to string, p transport.Purpose, most int) (*transport.Sender, error) {
		s, err := c.Endpoint.Sender(to, transport.LaneKey{Model: c.ModelID, Purpose: p}, most)
		if err != nil {
			return nil, fmt.Errorf("%s lane to %s: %w", p, to, err)
		}
		return s, nil
	}
	var err error
	if l.result, err = sender(c.Client, transport.Result, size.result); err != nil {
		return err
	}
	for _, out := range []struct {
		lanes   *[]*transport.Sender
		purpose transport.Purpose
		most    int
	}{
		{&l.hiddenOut, transport.Hidden, size.hidden},
		{&l.queryOut, transport.Query, size.query},
		{&l.partialOut, transport.Partial, size.partial},
		{&l.moveOut, transport.KVMove, size.block},
		{&l.ringOut, transport.KVRing, size.parcel},
	} {
		*out.lanes = make([]*transport.Sender, len(c.Nodes))
		for n, name := range c.Nodes {
			if n == c.Node {
				continue
			}
			if (*out.lanes)[n], err = sender(name, out.purpose, out.most); err != nil {
				return err
			}
		}
	}
	return nil
}

func (l *lanes) close() {
	for _, rs := range [][]*transport.Receiver{{l.step}, l.hiddenIn, l.queryIn, l.partialIn, l.moveIn, l.ringIn} {
		for _, r := range rs {
			if r != nil {
				r.Close()
			}
		}
	}
	for _, ss := range [][]*transport.Sender{{l.result}, l.hiddenOut, l.queryOut, l.partialOut, l.moveOut, l.ringOut} {
		for _, s := range ss {
			if s != nil {
				s.Close()
			}
		}
	}
}

// Lost is the node that a failure is about, if it is the loss of one, or "".
func Lost(err error) string {
	var lost *transport.ErrPeerLost
	if errors.As(err, &lost) {
		return lost.Node
	}
	var told *RemoteError
	if errors.As(err, &told) {
		return told.Lost
	}
	var late *transport.ErrTimeout
	if errors.As(err, &late) {
		return late.Node
	}
	return ""
}
