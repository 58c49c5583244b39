package metalkern

import (
	"errors"
	"time"

	"github.com/orrery-ai/orrery/device"
	"github.com/orrery-ai/orrery/metalkern/gpu"
)

var _ device.Pacer = (*stream)(nil)

// EmbedChosen implements [device.Pacer].
func (s *stream) EmbedChosen(dst device.Tensor, table device.Matrix, ids []int32) {
	if dst.Rows != len(ids) || dst.Cols != table.Cols {
		mismatch("EmbedChosen", "%d ids of a table [%d][%d] into [%d][%d]", len(ids), table.Rows, table.Cols, dst.Rows, dst.Cols)
	}
	if len(ids) > 0 {
		s.do(func() error {
			return s.device.set.Embed(s.queue, s.at(dst), s.weights(table), s.device.memory.bytes(bytesOf(ids)), len(ids))
		})
	}
}

// Part implements [device.Pacer].
func (s *stream) Part() bool {
	f, ok := s.queue.(gpu.Fencer)
	if !ok {
		return false
	}
	s.do(func() error { return nil })
	f.Fence()
	s.current = 1 - s.current
	s.cross()
	return true
}

// Passed implements [device.Pacer].
func (s *stream) Passed() bool {
	f, ok := s.queue.(gpu.Fencer)
	return !ok || s.err != nil || f.Reached()
}

// WaitPart implements [device.Pacer].
func (s *stream) WaitPart() error {
	f, ok := s.queue.(gpu.Fencer)
	var err error
	if !ok || s.err != nil {
		err = s.Wait()
	}
	if ok {
		err = errors.Join(err, f.Reach(time.Now().Add(stepTimeout)))
	}
	return err
}
