package actors

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"golang.org/x/sync/errgroup"

	"github.com/orrery-ai/orrery/calibrate"
	"github.com/orrery-ai/orrery/kvcache"
	"github.com/orrery-ai/orrery/placement"
	"github.com/orrery-ai/orrery/proto"
	"github.com/orrery-ai/orrery/transport"
)

// prober measures the ways to other nodes, answers their probes, and measures with others of its machine, beside the Node actor. It measures one
// at a time, so that they do not disturb each other.
type prober struct {
	machine *Machine
	root    *actor.RootContext
	ctx     context.Context // ends with the node
	cancel  context.CancelFunc
	turn    chan struct{} // held by the measurement that is going on
	places  chan struct{} // one for each goroutine
	wg      sync.WaitGroup
}

// maxProbes bounds the measurements that wait, and the echoes.
const maxProbes = 32

func newProber(system *actor.ActorSystem, m *Machine) *prober {
	p := &prober{machine: m, root: system.Root, turn: make(chan struct{}, 1), places: make(chan struct{}, maxProbes)}
	p.ctx, p.cancel = context.WithCancel(context.Background())
	return p
}

// close ends what is going on, and returns when it has ended.
func (p *prober) close() {
	p.cancel()
	p.wg.Wait()
}

// begin does something beside the actor, unless too much is going on.
func (p *prober) begin(do func()) error {
	select {
	case p.places <- struct{}{}:
	default:
		return fmt.Errorf("%d things are being measured on %s already", maxProbes, p.machine.Name)
	}
	p.wg.Go(func() {
		defer func() { <-p.places }()
		do()
	})
	return nil
}

// measure asks the peer's Node for an echo, measures, and answers who asked.
func (p *prober) measure(msg *proto.MeasureLink, asker *actor.PID) {
	reply := func(l calibrate.Link, err error) {
		m := &proto.LinkMeasured{BusySeconds: l.Busy.Seconds(), PausedSeconds: l.Paused.Seconds(), SendingSeconds: l.Sending.Seconds(), Bandwidth: l.Bandwidth, AheadSeconds: l.Ahead.Seconds()}
		if err != nil {
			m.Error = err.Error()
		}
		p.root.Send(asker, m)
	}
	err := p.begin(func() {
		select {
		case p.turn <- struct{}{}:
			defer func() { <-p.turn }()
		case <-p.ctx.Done():
			reply(calibrate.Link{}, errors.New("the node is leaving"))
			return
		}
		l, err := MeasureLink(p.ctx, p.root.ActorSystem(), p.machine.Endpoint, msg.Peer, msg.Self)
		if err == nil {
			l.Ahead, err = p.exchange(msg)
		}
		reply(l, err)
	})
	if err != nil {
		reply(calibrate.Link{}, err)
	}
}

// seat has this node sit with others of its machine, and answers who asked when it has its memory.
func (p *prober) seat(msg *proto.TakeSeat, memory *kvcache.Budget, asker *actor.PID) {
	reply := func(err error) { p.root.Send(asker, &proto.EchoReady{Error: errorText(err)}) }
	err := p.begin(func() {
		select {
		case p.turn <- struct{}{}:
			defer func() { <-p.turn }()
		case <-p.ctx.Done():
			reply(errors.New("the node is leaving"))
			return
		}
		if err := memory.Take(calibrate.SeatBytes); err != nil {
			reply(err)
			return
		}
		defer memory.Give(calibrate.SeatBytes)
		s, err := calibrate.NewSeat(p.machine.Endpoint, msg.From, msg.Lane, p.machine.Device, calibrate.Layout{Layers: int(msg.Layers), KVHeads: int(msg.KvHeads), HeadDim: int(msg.HeadDim), LayerBytes: msg.LayerBytes})
		reply(err)
		if err == nil {
			p.serve(s, msg.From)
		}
	})
	if err != nil {
		reply(err)
	}
}

// serve is the other end of a measurement until that ends.
func (p *prober) serve(s server, from string) {
	if err := s.Serve(p.ctx); err != nil && p.ctx.Err() == nil {
		p.machine.Logger.Debug("a probe ended early", "peer", from, "err", err)
	}
}

// Sit measures nodes of a machine together, whose Node actors make the seats, see [calibrate.Sit]. self is the address by which they reach this process's endpoint.
func Sit(ctx context.Context, system *actor.ActorSystem, e *transport.Endpoint, nodes []string, self string, l calibrate.Layout, apart bool, within time.Duration) ([]placement.Together, error) {
	chairs := make([]calibrate.Chair, len(nodes))
	for i, n := range nodes {
		chairs[i] = calibrate.Chair{Peer: n, ID: rand.Uint64()}
	}
	return calibrate.Sit(ctx, e, chairs, l, apart, within, func(ctx context.Context) error {
		g, ctx := errgroup.WithContext(ctx)
		for _, c := range chairs {
			g.Go(func() error {
				ready, err := Ask[*proto.EchoReady](ctx, system, NodePID(c.Peer), &proto.TakeSeat{From: system.Address(), Address: self, Lane: c.ID, Layers: uint32(l.Layers), KvHeads: uint32(l.KVHeads), HeadDim: uint32(l.HeadDim), LayerBytes: l.LayerBytes})
				if err == nil {
					err = errorOf(ready.Error)
				}
				if err != nil {
					return fmt.Errorf("node %s: %w", c.Peer, err)
				}
				return nil
			})
		}
		return g.Wait()
	})
}

// node measures again what this node's device does in decode, and answers who asked.
func (p *prober) node(msg *proto.MeasureNode, memory *kvcache.Budget, asker *actor.PID) {
	reply := func(rates []float64, err error) {
		p.root.Send(asker, &proto.NodeMeasured{Rates: rates, Error: errorText(err)})
	}
	var known placement.Rates
	if err := known.Take(msg.Rates); err != nil {
		reply(nil, err)
		return
	}
	err := p.begin(func() {
		select {
		case p.turn <- struct{}{}:
			defer func() { <-p.turn }()
		case <-p.ctx.Done():
			reply(nil, errors.New("the node is leaving"))
			return
		}
		p.machine.settling.wait(p.ctx, SettleWait)
		if err := memory.Take(calibrate.AgainBytes); err != nil {
			reply(nil, err)
			return
		}
		defer memory.Give(calibrate.AgainBytes)
		rates, err := calibrate.Again(known, p.machine.Device)
		reply(rates.Values(), err)
	})
	if err != nil {
		reply(nil, err)
	}
}

// exchange measures how long an exchange of this node's device with that of the peer takes; 0 if they make none.
func (p *prober) exchange(msg *proto.MeasureLink) (time.Duration, error) {
	id := rand.Uint64()
	return calibrate.MeasureExchange(p.ctx, p.machine.Endpoint, p.machine.Device, msg.Peer, id, func(ctx context.Context) (bool, error) {
		ready, err := askEcho(ctx, p.root.ActorSystem(), msg.Peer, &proto.MakeEcho{From: p.machine.Name, Address: msg.Self, Lane: id, Device: true})
		return err == nil && ready.Device, err
	})
}

// server is the other end of a measurement.
type server interface{ Serve(context.Context) error }

// echo makes the other end of a measurement, tells who asked, and serves it.
func (p *prober) echo(msg *proto.MakeEcho, asker *actor.PID) {
	reply := func(device bool, err error) {
		p.root.Send(asker, &proto.EchoReady{Device: device, Error: errorText(err)})
	}
	err := p.begin(func() {
		e, err := p.newEcho(msg)
		reply(msg.Device && e != nil, err)
		if err != nil || e == nil {
			return
		}
		p.serve(e, msg.From)
	})
	if err != nil {
		reply(false, err)
	}
}

// newEcho is nil if this node's device is to answer, and makes no exchanges by itself.
func (p *prober) newEcho(msg *proto.MakeEcho) (server, error) {
	if !msg.Device {
		return calibrate.NewEcho(p.machine.Endpoint, msg.From, msg.Lane)
	}
	e, err := calibrate.NewExchangeEcho(p.machine.Endpoint, p.machine.Device, msg.From, msg.Lane)
	if e == nil {
		return nil, err
	}
	return e, nil
}

// MeasureLink measures the way from this process to a node, whose Node actor makes the echo. self is the
// address by which that reaches this process's endpoint.
func MeasureLink(ctx context.Context, system *actor.ActorSystem, e *transport.Endpoint, peer, self string) (calibrate.Link, error) {
	id := rand.Uint64()
	return calibrate.MeasureLink(ctx, e, peer, id, func(ctx context.Context) error {
		_, err := askEcho(ctx, system, peer, &proto.MakeEcho{From: system.Address(), Address: self, Lane: id})
		return err
	})
}

func askEcho(ctx context.Context, system *actor.ActorSystem, peer string, msg *proto.MakeEcho) (*proto.EchoReady, error) {
	ready, err := Ask[*proto.EchoReady](ctx, system, NodePID(peer), msg)
	if err == nil {
		err = errorOf(ready.Error)
	}
	return ready, err
}
