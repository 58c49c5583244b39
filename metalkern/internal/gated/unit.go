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

// Unit is the kernels of every queue.
func Unit() dialect.Unit {
	return dialect.Unit{Name: "gate.metal", Files: []dialect.File{{Name: "host.h", Text: hostText}, {Name: "gate.metal", Text: gateText}}}
}

// kernels are those of Unit.
type kernels struct{ gate, publish, signal, copy gpu.Kernel }

func compile(d Device) (kernels, error) {
	var k kernels
	library, err := d.Compile(Unit())
	if err != nil {
		return k, err
	}
	for name, at := range map[string]*gpu.Kernel{"gate": &k.gate, "publish": &k.publish, "signal": &k.signal, "copy_bytes": &k.copy} {
		if *at, err = library.Kernel(name); err != nil {
			return k, fmt.Errorf("gated: %w", err)
		}
	}
	return k, nil
}

// The parameters, and words, of gate.metal.
type (
	gateParams    struct{ waits, want, looks, place, grids, bytes, length uint32 }
	publishParams struct{ count, bytes uint32 }
	signalParams  struct{ base, slot, bytes, count uint32 }
	copyParams    struct {
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
	wordBytes    = 3 // index of LaneWords.Bytes, in words
	publishWords = 4096
	copyBytes    = 16384
)
