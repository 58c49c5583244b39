package calibrate

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/orrery-ai/orrery/device"
	"github.com/orrery-ai/orrery/placement"
	"github.com/orrery-ai/orrery/transport"
)

// Where the devices of two nodes exchange by themselves, a message takes another way than one of the hosts': it may go through memory that both devices reach. So that is measured by itself:
// one device sends, the other answers what has come, as both do in a step that was recorded ahead, over lanes such as steps use.

// How many exchanges are made, and in which parts: the time of one is what more of them take, so that handing them over and waiting for the last does not count.
const (
	aheadWarm    = 4 // the first ones find kernels and buffers cold
	aheadFew     = 4
	aheadMore    = 8
	aheadSamples = 6
	aheadInAll   = 2*aheadWarm + aheadSamples*(2*aheadFew+aheadMore)
)

// exchanger is one end of a measurement.
type exchanger struct {
	device device.Device
	stream device.Exchanger
	data   []byte // of the device
	inbox  *transport.Inbox
	outbox *transport.Outbox
}

// aheadLane is like [probeLane].
func aheadLane(id uint64, back bool) transport.LaneKey {
	key := probeLane(id, back)
	if key.Purpose = transport.QueryAhead; back {
		key.Purpose = transport.PartialAhead
	}
	return key
}

// newExchanger makes what messages come in to; nil if the device makes no exchanges by itself.
func newExchanger(e *transport.Endpoint, d device.Device, peer string, in transport.LaneKey) (x *exchanger, err error) {
	stream := d.NewStream()
	ex, ok := stream.(device.Exchanger)
	if !ok {
		return nil, stream.Close()
	}
	x = &exchanger{device: d, stream: ex}
	defer func() {
		if err != nil {
			err = errors.Join(err, x.close())
		}
	}()
	if x.data, err = d.Alloc(placement.AheadBytes); err != nil {
		return nil, err
	}
	if x.inbox, err = e.Inbox(peer, in, aheadSizes, x.makes(e, false)); err != nil {
		return nil, fmt.Errorf("exchanges with %s: %w", peer, err)
	}
	return x, nil
}

var aheadSizes = transport.LaneSizes{Sent: placement.AheadBytes, Shared: placement.AheadBytes}

func (x *exchanger) makes(e *transport.Endpoint, out bool) transport.MakeLane {
	return func(size int, memory []byte, free func()) (*device.Lane, error) {
		return x.stream.NewLane(device.LaneEnd{Size: size, Out: out, Spin: e.Synch() == transport.Fast, Memory: memory, Free: free})
	}
}

// connect makes what messages go out from.
func (x *exchanger) connect(e *transport.Endpoint, peer string, out transport.LaneKey) (err error) {
	if x.outbox, err = e.Outbox(peer, out, aheadSizes, x.makes(e, true)); err != nil {
		return fmt.Errorf("exchanges with %s: %w", peer, err)
	}
	return nil
}

// close ends the lanes, and gives back what the exchanger took. Nobody uses it any more.
func (x *exchanger) close() error {
	if x.outbox != nil {
		x.outbox.Close()
	}
	if x.inbox != nil {
		x.inbox.Close()
	}
	err := x.stream.Close()
	x.device.Free(x.data)
	return err
}

// begin says that messages will pass, and when the last of them must be there.
func (x *exchanger) begin(last uint32, deadline time.Time) {
	x.inbox.Expect(last, deadline)
	x.outbox.Lane().Signalled() // soon
}

// ask makes so many exchanges from message seq on, and returns how long they took.
func (x *exchanger) ask(seq, n uint32, deadline time.Time) (time.Duration, error) {
	in, out := x.inbox.Lane(), x.outbox.Lane()
	start := time.Now()
	x.begin(seq+n-1, deadline)
	for ; n > 0; n-- {
		x.stream.Send(out, seq, x.data)
		x.stream.Await(out, seq+1, 0)
		x.stream.Receive(in, seq, x.data)
		seq++
	}
	err := x.stream.Wait()
	return time.Since(start), err
}

// answer answers so many messages.
func (x *exchanger) answer(n uint32, deadline time.Time) error {
	in, out := x.inbox.Lane(), x.outbox.Lane()
	x.begin(n-1, deadline)
	for seq := range n {
		x.stream.Await(out, seq, 0)
		x.stream.Receive(in, seq, x.data)
		x.stream.Signal(out, seq, len(x.data))
	}
	return x.stream.Wait()
}

// MeasureExchange measures how long an exchange of a device of this node with that of a peer takes that both were given ahead, of [placement.AheadBytes] each way. It is 0 where
// one of them makes none. As in [MeasureLink] lanes go by id, and invite must see to it that the peer has made its ExchangeEcho, and tells whether there is one.
func MeasureExchange(ctx context.Context, e *transport.Endpoint, d device.Device, peer string, id uint64, invite func(context.Context) (bool, error)) (took time.Duration, err error) {
	ctx, cancel := context.WithTimeout(ctx, LinkTime)
	defer cancel()
	deadline, _ := ctx.Deadline()
	x, err := newExchanger(e, d, peer, aheadLane(id, true))
	if x == nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, x.close()) }()
	if there, err := invite(ctx); err != nil || !there {
		return 0, err
	}
	if err := x.connect(e, peer, aheadLane(id, false)); err != nil {
		return 0, err
	}
	defer context.AfterFunc(ctx, x.inbox.Close)()
	seq := uint32(0)
	ask := func(n uint32) time.Duration {
		if err != nil {
			return 0
		}
		var took time.Duration
		took, err = x.ask(seq, n, deadline)
		seq += n
		return took
	}
	few, more, samples := uint32(aheadFew), uint32(aheadMore), aheadSamples
	ask(1)
	if ask(1).Seconds() > launchesFor {
		few, more, samples = 1, 1, 1 // it is slow, and not worth more
	} else {
		ask(aheadWarm)
	}
	var each []time.Duration
	for err == nil && len(each) < samples {
		each = append(each, max((-ask(few)+ask(few+more))/time.Duration(more), 1))
	}
	if err != nil {
		return 0, fmt.Errorf("exchanges with %s: %w", peer, err)
	}
	slices.Sort(each)
	return each[len(each)/2], nil
}

// ExchangeEcho is the other end of a measurement of exchanges.
type ExchangeEcho struct{ x *exchanger }

// NewExchangeEcho makes the lanes to the node that measures, which must be ready. It is nil if the device makes no exchanges by itself.
func NewExchangeEcho(e *transport.Endpoint, d device.Device, from string, id uint64) (*ExchangeEcho, error) {
	x, err := newExchanger(e, d, from, aheadLane(id, false))
	if x == nil {
		return nil, err
	}
	if err := x.connect(e, from, aheadLane(id, true)); err != nil {
		return nil, errors.Join(err, x.close())
	}
	return &ExchangeEcho{x}, nil
}

// Serve answers until the node that measures closes its lanes, which it may do before all exchanges were made, or LinkTime has passed. Then the echo is closed.
func (s *ExchangeEcho) Serve(ctx context.Context) error {
	deadline := time.Now().Add(LinkTime)
	stop := context.AfterFunc(ctx, s.x.inbox.Close)
	err := s.x.answer(aheadInAll, deadline)
	if err == nil {
		s.x.drain(aheadInAll, deadline)
	}
	if !stop() {
		err = errors.Join(context.Cause(ctx), err)
	}
	return errors.Join(err, s.x.close())
}

// drain waits until so many messages have gone: what the device has signalled last may still be on its way.
func (x *exchanger) drain(count uint32, deadline time.Time) {
	for out := x.outbox.Lane(); out.Err() == nil && !device.Reached(out.Words.Ready.Load(), count) && time.Now().Before(deadline); {
		time.Sleep(drainNap)
	}
}

const drainNap = 100 * time.Microsecond
