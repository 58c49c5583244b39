package kernels

import (
	"fmt"

	"github.com/orrery-ai/orrery/metalkern/gpu"
)

// What attend.cu has.
const (
	attendDim     = 128
	attendRows    = 128
	attendThreads = 384
	attendStages  = 4
)

func (l Layer) attend() instance {
	format := map[int]string{16: "F16", 8: "Q8", 4: "Q4"}[l.Bits]
	name := "attend_" + format
	return instance{"attend.cu", name, fmt.Sprintf("ATTEND(%s, %s, %d)", name, format, attendStages)}
}

// attendFor reports whether attention of many queries of a layer is for attend.cu.
func (s *Set) attendFor(l Layer) bool {
	return s.info.Arch == hopper && l.Shape.HeadDim == attendDim && l.SoftCap == 0
}

func (s *Set) attend(l Layer) (*Prefill, error) {
	pool := attendStages*2*TileKeys*attendDim*2 + 1024 // tiles at a multiple of 1024
	return s.prefillBy(l, l.attend(), attendRows, gpu.Grid{Threads: attendThreads, Pool: pool})
}
