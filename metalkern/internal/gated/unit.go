package gated

import (
	_ "embed"
	"fmt"

	"github.com/orrery-ai/orrery/metalkern/dialect"
	"github.com/orrery-ai/orrery/metalkern/gpu"
)

//go:embed host.h
var hostText string

//go:embed gate.metal
var gateText string

//go:embed fused.metal
var fusedText string

// Unit is the kernels of every queue.
func Unit() dialect.Unit {
	return dialect.Unit{Name: "gate.metal", Files: []dialect.File{{Name: "host.h", Text: hostText}, {Name: "gate.metal", Text: gateText}}}
}

// CoherentUnit is the kernels of queues of coherent devices, those of [Unit] among them.
func CoherentUnit() dialect.Unit {
	u := Unit()
	return dialect.Unit{Name: "fused.metal", Files: append(u.Files, dialect.File{Name: "fused.metal", Text: fusedText})}
}

// kernels are those of Unit, and of CoherentUnit.
type kernels struct{ gate, publish, signal, copy, receive, send gpu.Kernel }

func compile(d Device, coherent bool) (kernels, error) {
	var k kernels
	u, names := Unit(), map[string]*gpu.Kernel{"gate": &k.gate, "publish": &k.publish, "signal": &k.signal, "copy_bytes": &k.copy}
	if coherent {
		u, names["receive"], names["send"] = CoherentUnit(), &k.receive, &k.send
	}
	library, err := d.Compile(u)
	if err != nil {
		return k, err
	}
	for name, at := range names {
		if *at, err = library.Kernel(name); err != nil {
			return k, fmt.Errorf("gated: %w", err)
		}
	}
	return k, nil
}

// The parameters of gate.metal and fused.metal.
type (
	gateParams    struct{ waits, ready, want, looks, place, grids, bytes, length uint32 }
	publishParams struct{ count, bytes uint32 }
	signalParams  struct{ done, count, at, bytes uint32 }
	receiveParams struct {
		gate        gateParams
		signal      signalParams
		count, wide [mostParts]uint32
	}
	sendParams struct {
		count, wide uint32
		signal      signalParams
	}
	copyParams struct {
		n    uint64
		wide uint32
		_    uint32
	}
)

// why a step is poisoned.
const (
	healthy = iota
	failed
	aborted
	late
	length
)

const (
	mostParts    = 3 // of a message that is received
	publishWords = 4096
	copyBytes    = 16384
)
