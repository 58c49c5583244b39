package rdma

import (
	"fmt"

	"github.com/orrery-ai/orrery/transport/verbs"
)

// Adapter is an RDMA adapter of this machine, for people.
type Adapter struct {
	Name           string `json:"name"`
	Firmware       string `json:"firmware"`
	QueuePairs     int    `json:"queue_pairs"`   // at most
	Registrations  int    `json:"registrations"` // at most
	Ports          []Port `json:"ports"`
	CannotBeOpened string `json:"cannot_be_opened,omitempty"` // why nothing else is known of it
}

// Port is a port of an adapter.
type Port struct {
	Number    int       `json:"number"`
	State     string    `json:"state"`
	Link      string    `json:"link"`
	Gbits     float64   `json:"gbit_per_second"` // 0 if not known
	MTU       int       `json:"mtu"`
	LID       int       `json:"lid"` // 0 if it has none
	Addresses []Address `json:"addresses"`
}

// Address is an entry of a port's table of GIDs.
type Address struct {
	Index int    `json:"index"`
	IP    string `json:"ip"`
	Type  string `json:"type"`
}

// Inventory lists the adapters that the library at path finds, and the path under which it was found. An empty
// path means the one that would be used.
func Inventory(path string) (library string, adapters []Adapter, err error) {
	lib, err := verbs.Open(path)
	if err != nil {
		return "", nil, err
	}
	list, err := lib.Devices()
	if err != nil {
		return lib.Path(), nil, fmt.Errorf("listing adapters: %w", err)
	}
	defer list.Close()
	for _, d := range list.All {
		a := Adapter{Name: d.Name}
		if err := a.look(d); err != nil {
			a.CannotBeOpened = err.Error()
		}
		adapters = append(adapters, a)
	}
	return lib.Path(), adapters, nil
}

// look fills in what the adapter says of itself.
func (a *Adapter) look(d verbs.Device) error {
	ctx, err := d.Open()
	if err != nil {
		return err
	}
	defer ctx.Close()
	info, err := ctx.Info()
	if err != nil {
		return err
	}
	a.Firmware, a.QueuePairs, a.Registrations = info.Firmware, info.MaxQP, info.MaxMR
	for number := 1; number <= info.Ports; number++ {
		p, err := ctx.Port(number)
		if err != nil {
			return err
		}
		port := Port{Number: number, State: p.State.String(), Link: p.Link.String(), Gbits: p.Rate(), MTU: p.ActiveMTU.Bytes(), LID: int(p.LID)}
		for i := range min(p.GIDs, maxGIDs) {
			if gid, kind, ok := ctx.GID(number, i); ok {
				port.Addresses = append(port.Addresses, Address{i, gid.IP().String(), kind.String()})
			}
		}
		a.Ports = append(a.Ports, port)
	}
	return nil
}
