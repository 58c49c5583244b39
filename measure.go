package orrery

import (
	"context"
	"fmt"
	"time"

	"github.com/orrery-ai/orrery/calibrate"
	"github.com/orrery-ai/orrery/device"
	"github.com/orrery-ai/orrery/device/cpu"
	"github.com/orrery-ai/orrery/placement"
)

// bandwidthTime is how long memory is read to measure how fast, where nothing else is measured.
const bandwidthTime = 150 * time.Millisecond

// Calibrate is the bandwidth and the rates that a node of the configuration has: as that gives them, as they
// were kept, or as they are measured now. It is for who starts several nodes on one machine, which would
// measure each other.
func Calibrate(ctx context.Context, cfg Config, memory int64) (bandwidth float64, rates placement.Rates, err error) {
	if cfg, err = cfg.withDefaults(); err != nil {
		return 0, rates, fmt.Errorf("orrery: %w", err)
	}
	return cfg.measure(ctx, memory)
}

// measure is Calibrate with the defaults filled in.
func (c *Config) measure(ctx context.Context, memory int64) (float64, placement.Rates, error) {
	bandwidth, rates := c.Bandwidth, c.Rates
	if bandwidth > 0 && (rates.Known() || c.NoCalibration) {
		return bandwidth, rates, nil
	}
	if c.NoCalibration || rates.Known() {
		return cpu.MeasureBandwidth(bandwidthTime), rates, nil
	}
	d := cpu.New(c.Threads)
	name := d.Name()
	if err := d.Close(); err != nil {
		return 0, rates, err
	}
	id, err := calibrate.Identify(name, Version)
	if err != nil {
		return 0, rates, err
	}
	store := calibrate.Store{Dir: c.CalibrationDir, Logger: c.Logger.With("node", c.Name)}
	if store.Dir == "" {
		if store.Dir, err = calibrate.DefaultDir(); err != nil {
			store.Logger.Warn("what is measured cannot be kept", "err", err)
		}
	}
	m, err := store.GetOr(ctx, id, func() (calibrate.Measured, error) {
		return calibrate.Measure(calibrate.Subject{NewDevice: func() device.Device { return cpu.New(c.Threads) },
			Bandwidth: cpu.MeasureBandwidth, Memory: memory})
	})
	if err != nil {
		return 0, rates, fmt.Errorf("measuring what the node can do: %w", err)
	}
	if bandwidth == 0 {
		bandwidth = m.Bandwidth
	}
	return bandwidth, m.Rates, nil
}
