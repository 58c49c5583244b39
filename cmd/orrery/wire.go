package main

import (
	"log/slog"

	"github.com/orrery-ai/orrery"
	"github.com/orrery-ai/orrery/transport"
	"github.com/orrery-ai/orrery/transport/fault"
)

// wireFlags say what happens to what a node sends.
type wireFlags struct {
	Checksums checksumsFlag `help:"Whether what is sent carries checksums: auto where it crosses a network without TLS, on or off. It does if either end wants it." default:"auto" placeholder:"WHEN"`
	Faults    faultsFlag    `hidden:"" env:"ORRERY_FAULTS" help:"Faults to inject into the connections to other nodes, for tests: see package transport/fault."`
}

// wire makes a node's configuration as the flags say. What it returns is called when the node has ended.
func (f *wireFlags) wire(c *orrery.Config, log *slog.Logger) (end func()) {
	c.Checksums = transport.Checksums(f.Checksums)
	if len(f.Faults) == 0 {
		return func() {}
	}
	for _, r := range f.Faults {
		log.Warn("FAULTS ARE INJECTED into this node's connections, as --faults or ORRERY_FAULTS says: it is for tests alone", "rule", r.Text)
	}
	in := fault.New(fault.Script(f.Faults), log)
	c.Dial, c.Share = in.Dial, in.Share
	return in.Close
}

// checksumsFlag is auto, on or off.
type checksumsFlag transport.Checksums

// UnmarshalText reads the name.
func (c *checksumsFlag) UnmarshalText(b []byte) error {
	checksums, err := transport.ParseChecksums(string(b))
	*c = checksumsFlag(checksums)
	return err
}

// faultsFlag is a script of faults to inject, which may be empty.
type faultsFlag fault.Script

// UnmarshalText reads the script.
func (f *faultsFlag) UnmarshalText(b []byte) error {
	s, err := fault.Parse(string(b))
	*f = faultsFlag(s)
	return err
}
