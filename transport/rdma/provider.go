package rdma

import (
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/orrery-ai/orrery/transport/verbs"
)

// Options say which adapter to use.
type Options struct {
	Library string // path; empty: that of [verbs.LibraryVariable], or else the system's
	Device  string // name; empty: the one with the address of the TCP connection
}

// Provider is the adapters of a machine. Its methods may be called from several goroutines.
type Provider struct {
	lib     *verbs.Library
	want    string
	profile profile

	mu      sync.Mutex
	devices map[string]*device // those that are open, by name
	closed  bool
}

// device is an adapter that is open.
type device struct {
	name  string
	ctx   *verbs.Context
	ports int

	mu          sync.Mutex
	pd          *verbs.PD // made for the first connection
	connections int
}

// Open finds the library and looks for adapters. The error is a [*verbs.MissingError] or a [*NoDeviceError] if
// there is nothing to use.
func Open(o Options) (*Provider, error) {
	lib, err := verbs.Open(o.Library)
	if err != nil {
		return nil, fmt.Errorf("rdma: %w", err)
	}
	p := &Provider{lib: lib, want: o.Device, profile: systemProfile(), devices: make(map[string]*device)}
	if err := p.openDevices(); err != nil {
		return nil, errors.Join(err, p.Close())
	}
	return p, nil
}

// openDevices opens the adapters that may be used, and makes sure that one is active.
func (p *Provider) openDevices() error {
	list, err := p.lib.Devices()
	if err != nil {
		return fmt.Errorf("rdma: %w", err)
	}
	defer list.Close()
	var found []string
	active := false
	for _, d := range list.All {
		found = append(found, d.Name)
		if p.want != "" && d.Name != p.want {
			continue
		}
		ctx, err := d.Open()
		if err != nil {
			return fmt.Errorf("rdma: %w", err)
		}
		dev := &device{name: d.Name, ctx: ctx}
		p.devices[d.Name] = dev
		info, err := ctx.Info()
		if err != nil {
			return fmt.Errorf("rdma: device %s: %w", d.Name, err)
		}
		dev.ports = info.Ports
		for port := 1; port <= dev.ports; port++ {
			if i, err := ctx.Port(port); err == nil && i.State == verbs.PortActive {
				active = true
			}
		}
	}
	switch {
	case p.want != "" && len(p.devices) == 0:
		return &NoDeviceError{Want: p.want, Found: found}
	case !active:
		return &NoDeviceError{Found: found}
	}
	return nil
}

// names of the adapters that are open, in order.
func (p *Provider) names() []string {
	names := make([]string, 0, len(p.devices))
	for name := range p.devices {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// Close closes the adapters. Every connection must have been closed before.
func (p *Provider) Close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil
	}
	p.closed = true
	var errs []error
	for _, d := range p.devices {
		if d.pd != nil {
			errs = append(errs, d.pd.Close())
		}
		errs = append(errs, d.ctx.Close())
	}
	return errors.Join(errs...)
}

// enter makes room for a connection, and gives the protection domain that all of them share.
func (d *device) enter() (*verbs.PD, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.connections == maxConnections {
		return nil, fmt.Errorf("%s has %d connections already, as many as it may", d.name, d.connections)
	}
	if d.pd == nil {
		pd, err := d.ctx.PD()
		if err != nil {
			return nil, err
		}
		d.pd = pd
	}
	d.connections++
	return d.pd, nil
}

// leave ends a connection's use of the device.
func (d *device) leave() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.connections--
}
