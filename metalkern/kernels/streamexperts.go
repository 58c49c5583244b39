package kernels

import (
	"fmt"

	"github.com/orrery-ai/orrery/metalkern/gpu"
)

// streamExperts is the kernel for gate and up of a token's experts, PAIRED, or for all their downs, TOGETHER.
func streamExperts(kind kindOfStream, f WeightFormat, g streamForm) instance {
	name := fmt.Sprintf("stream_experts_%s_%v_r%d_d%d_t%d", kind, f, g.rows, g.depth, g.threads)
	return instance{"stream.cu", name, fmt.Sprintf("STREAM_EXPERTS(%s, %s)", name, g.args(f, kind))}
}

// expertStreams are the forms of the two launches for a token's experts, if this host is for them.
func (s *Set) expertStreams(e Experts, active int) (gate, down streamForm, ok bool) {
	info, all := &s.info, e.Down
	all.Cols *= active
	gate, ok = s.streams(e.Gate, 2*e.Gate.Rows, 1, streamPaired)
	if !ok || gate.pool(e.Gate.Format, e.Gate.Cols, rowsOf(2*e.Gate.Rows, max(1, info.Units/active)))+streamOwn > info.Pool || e.Down.Format.scaled() && e.Down.Cols%streamCols != 0 {
		return gate, down, false
	}
	down, ok = s.streams(all, all.Rows, 1, streamTogether)
	return gate, down, ok
}

// streamOneTokensExperts is [Set.oneTokensExperts] by kernels of stream.cu.
func (s *Set) streamOneTokensExperts(queue gpu.Queue, dst, x gpu.Range, to Routes, e Experts, room ExpertsRoom, gate, down streamForm) error {
	units := s.info.Units
	p := streamParams{rows: int32(2 * e.Gate.Rows), cols: int32(e.Gate.Cols)}
	if err := s.streamExperts(queue, streamPaired, room.Gate, room.Other, x, to, e, e.Gate.Format, p, gpu.Grid{X: max(1, units/to.Active), Y: to.Active}, gate); err != nil {
		return err
	}
	p = streamParams{rows: int32(e.Down.Rows), cols: int32(to.Active * e.Down.Cols), part: int32(e.Down.Cols), add: 1}
	return s.streamExperts(queue, streamTogether, dst, dst, room.Gate, to, e, e.Down.Format, p, gpu.Grid{X: units, Y: 1}, down)
}

func (s *Set) streamExperts(queue gpu.Queue, kind kindOfStream, out, up, x gpu.Range, to Routes, e Experts, f WeightFormat, p streamParams, grid gpu.Grid, g streamForm) error {
	k, err := s.made(g.recipe(kind, true, f), func() instance { return streamExperts(kind, f, g) })
	if err != nil {
		return err
	}
	warps, slots := g.shape(int(p.cols))
	p.warps, p.slots = int32(warps), int32(slots)
	grid.Z, grid.Threads, grid.Pool = 1, warps*slots*gpu.SimdWidth, g.pool(f, int(p.cols), rowsOf(int(p.rows), grid.X))
	gpu.Launch(queue, k, grid, gpu.Buffers(x, e.Origin, e.Table, to.Chosen, to.Weights, out, up), p)
	return nil
}
