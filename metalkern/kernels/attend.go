package kernels

import (
	"fmt"

	"github.com/orrery-ai/orrery/metalkern/gpu"
)

// What attend.cu has.
const (
	attendRows    = 128
	attendThreads = 384
	attendStages  = 4
)

func (l Layer) attend() instance {
	format := map[int]string{16: "F16", 8: "Q8", 4: "Q4"}[l.Bits]
	name := fmt.Sprintf("attend_%s_d%d", format, l.Shape.HeadDim)
	if zzSwap {
		name += "_swap"
	}
	if l.SoftCap > 0 {
		name += "_cap"
	}
	return instance{"attend.cu", name, fmt.Sprintf("ATTEND(%s, %s, %d, %d, %v, %v)", name, format, l.Shape.HeadDim, attendStages, l.SoftCap > 0, zzSwap)}
}

// attendFor reports whether attention of many queries of a layer is for attend.cu.
func (s *Set) attendFor(l Layer) bool {
	return s.host.Info().Arch == hopper && (l.Shape.HeadDim == 64 || l.Shape.HeadDim == 128)
}

func (s *Set) attend(l Layer) (*Prefill, error) {
	pool := attendStages*2*TileKeys*l.Shape.HeadDim*2 + 1024 // tiles at a multiple of 1024
	return s.prefillBy(l, l.attend(), attendRows, gpu.Grid{Threads: attendThreads, Pool: pool})
}

var zzSwap bool
