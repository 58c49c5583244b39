package orrery

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"time"

	"github.com/orrery-ai/orrery/actors"
	"github.com/orrery-ai/orrery/calibrate"
	"github.com/orrery-ai/orrery/cluster"
	"github.com/orrery-ai/orrery/device"
	"github.com/orrery-ai/orrery/device/cpu"
	"github.com/orrery-ai/orrery/metalkern"
	"github.com/orrery-ai/orrery/placement"
	"github.com/orrery-ai/orrery/proto"
)

// bandwidthTime is how long memory is read to measure how fast, where nothing else is measured.
const bandwidthTime = 300 * time.Millisecond

// Calibrate is the bandwidth and the rates that a node of the configuration has: as that gives them, as they
// were kept, or as they are measured now. It is for who starts several nodes on one machine, which would
// measure each other.
func Calibrate(ctx context.Context, cfg Config, memory int64) (bandwidth float64, rates placement.Rates, err error) {
	if cfg, err = cfg.withDefaults(); err != nil {
		return 0, rates, fmt.Errorf("orrery: %w", err)
	}
	choice, err := ChooseDevice(cfg.Device)
	if err != nil {
		return 0, rates, fmt.Errorf("orrery: %w", err)
	}
	d, err := openDevice(choice.Kind, cfg.Threads)
	if err != nil {
		return 0, rates, fmt.Errorf("orrery: %w", err)
	}
	bandwidth, rates, err = cfg.measure(ctx, d, memory)
	return bandwidth, rates, errors.Join(err, d.Close())
}

// measure is Calibrate with the defaults filled in, on a device that is open.
func (c *Config) measure(ctx context.Context, d device.Device, memory int64) (float64, placement.Rates, error) {
	bandwidth, rates := c.Bandwidth, c.Rates
	if bandwidth > 0 && (rates.Known() || c.NoCalibration) {
		return bandwidth, rates, nil
	}
	subject, identity := c.subject(d, memory)
	if c.NoCalibration || rates.Known() {
		bandwidth, err := subject.Bandwidth(nil, bandwidthTime)
		return bandwidth, rates, err
	}
	id, err := calibrate.Identify(identity, Version)
	if err != nil {
		return 0, rates, err
	}
	store := calibrate.Store{Dir: c.CalibrationDir, Logger: c.Logger.With("node", c.Name)}
	if store.Dir == "" {
		if store.Dir, err = calibrate.DefaultDir(); err != nil {
			store.Logger.Warn("what is measured cannot be kept", "err", err)
		}
	}
	m, err := store.GetOr(ctx, id, func() (calibrate.Measured, error) { return calibrate.Measure(subject) })
	if err != nil {
		return 0, rates, fmt.Errorf("measuring what the node can do: %w", err)
	}
	if bandwidth == 0 {
		bandwidth = m.Bandwidth
	}
	return bandwidth, m.Rates, nil
}

// subject is what is measured of a device, and what tells it from others.
func (c *Config) subject(d device.Device, memory int64) (s calibrate.Subject, identity string) {
	if d, ok := d.(*cpu.Device); ok {
		another := func() device.Device { return cpu.New(c.Threads) }
		return calibrate.Subject{Device: d, Another: another, Bandwidth: d.ReadRate, Memory: memory, KVHeads: calibrate.KVHeads, HeadDim: calibrate.HeadDim}, d.Name()
	}
	g := d.(*metalkern.Device)
	spin := c.Synch == SynchFast || c.Synch == SynchAuto && runtime.GOMAXPROCS(0) > 1
	info := g.Info()
	identity = fmt.Sprintf("%s, driver %q, %d bytes, %s at %s", d.Name(), info.Driver, info.Memory, info.Arch, info.Place)
	if spin {
		identity += ", spinning"
	}
	s = calibrate.Subject{Device: d, Bandwidth: func(_ []byte, within time.Duration) (float64, error) { return g.MeasureBandwidth(within) }, Memory: memory, KVHeads: 8, HeadDim: 128, Alike: true, Spin: spin} // heads of most models that are worth a GPU
	if info.Place == "" {
		s.KVHeads, s.HeadDim = calibrate.KVHeads, calibrate.HeadDim
	}
	return s, identity
}

// measureNode has a node measure again what it does in decode.
func (c *Cluster) measureNode(ctx context.Context, n cluster.Node) (rates placement.Rates, err error) {
	ctx, cancel := context.WithTimeout(ctx, 2*calibrate.AgainLimit+actors.SettleWait+pairTimeout)
	defer cancel()
	c.endpoint.SetPeer(n.Name, n.Transport)
	m, err := actors.Ask[*proto.NodeMeasured](ctx, c.system, actors.NodePID(n.Name), &proto.MeasureNode{Rates: n.Rates.Values(), Asker: c.membership.Self().Transport})
	if err == nil && m.Error != "" {
		err = errors.New(m.Error)
	}
	if err == nil {
		err = rates.Take(m.Rates)
	}
	if err != nil {
		return rates, fmt.Errorf("orrery: node %s: %w", n.Name, err)
	}
	return rates, nil
}
