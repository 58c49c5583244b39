package metalkern

import (
	"errors"
	"time"

	"github.com/orrery-ai/orrery/attention"
	"github.com/orrery-ai/orrery/device"
	"github.com/orrery-ai/orrery/metalkern/gpu"
	"github.com/orrery-ai/orrery/metalkern/internal/gated"
)

var _ device.Exchanger = (*stream)(nil)

// How steps on hosts whose queues know nothing of messages wait for one before the host takes over. A gate there keeps a core busy.
const (
	runnerLooks    = 1 << 16
	runnerPatience = time.Second
)

// exchanger is the stream's queue as one with lanes. If the host's queues are none, as the emulator's, batches are run on it launch by launch
// from then on; nothing may be pending. All lanes wait as the first was asked to.
func (s *stream) exchanger(spin bool) (gpu.Exchanger, error) {
	if e, ok := s.queue.(gpu.Exchanger); ok {
		return e, nil
	}
	if s.queue == nil {
		return nil, s.err
	}
	r := gated.NewRunner(s.device.host, s.queue)
	q, err := gated.New(r, gated.Options{Fast: spin, Coherent: true, Halts: true, Looks: runnerLooks, Patience: runnerPatience})
	if err != nil {
		s.queue, s.err = nil, errors.Join(err, r.Close())
		return nil, s.err
	}
	s.queue = q
	return q, nil
}

// NewLane implements [device.Exchanger].
func (s *stream) NewLane(end device.LaneEnd) (*device.Lane, error) {
	q, err := s.exchanger(end.Spin)
	if err != nil {
		return nil, err
	}
	l, err := q.NewLane(end)
	if err != nil {
		return nil, err
	}
	var slots [2][]byte
	for i := range slots {
		at, err := q.Slot(l, uint32(i))
		if err == nil {
			slots[i], err = s.device.memory.enter(at, end.Size)
		}
		if err != nil {
			s.device.memory.free(slots[0])
			return nil, err
		}
	}
	if s.slots == nil {
		s.slots = map[*device.Lane][2][]byte{}
	}
	s.slots[l] = slots
	return l, nil
}

// freeLanes gives back the addresses of lanes; their memory was the queue's.
func (s *stream) freeLanes() {
	for _, slots := range s.slots {
		for _, b := range slots {
			s.device.memory.free(b)
		}
	}
	s.slots = nil
}

// Slot implements [device.Exchanger].
func (s *stream) Slot(l *device.Lane, seq uint32) []byte { return s.slots[l][seq%2] }

// Signal implements [device.Exchanger].
func (s *stream) Signal(l *device.Lane, seq uint32, n int) {
	s.exchange(l, func(q gpu.Exchanger) { q.Signal(l, seq, n) })
}

// Await implements [device.Exchanger].
func (s *stream) Await(l *device.Lane, seq uint32, n int) {
	s.exchange(l, func(q gpu.Exchanger) { q.Await(l, seq, n) })
}

// Receive implements [device.Exchanger].
func (s *stream) Receive(l *device.Lane, seq uint32, dst ...[]byte) {
	s.exchange(l, func(q gpu.Exchanger) {
		s.message = s.message[:0]
		for _, b := range dst {
			s.message = append(s.message, s.part(b))
		}
		q.Receive(l, seq, s.message...)
	})
}

// Send implements [device.Exchanger].
func (s *stream) Send(l *device.Lane, seq uint32, src []byte) {
	s.exchange(l, func(q gpu.Exchanger) { q.Send(l, seq, s.part(src)) })
}

func (s *stream) part(b []byte) gpu.Part {
	return gpu.Part{At: s.device.memory.bytes(b), Bytes: int64(len(b))}
}

// FinishAll implements [device.Exchanger].
func (s *stream) FinishAll(dst device.Tensor, p attention.Partial, parts int) {
	if dst.Rows*parts != p.Rows || dst.Cols != p.Heads*p.Dim {
		mismatch("FinishAll", "%d parts of a partial [%d][%d][%d] into [%d][%d]", parts, p.Rows, p.Heads, p.Dim, dst.Rows, dst.Cols)
	}
	if dst.Rows > 0 {
		s.do(func() error {
			return s.device.merge.Finish(s.queue, s.at(dst), gpu.Range{}, s.where(p), parts, dst.Rows, shapeOf(p))
		})
	}
}

func (s *stream) exchange(l *device.Lane, record func(q gpu.Exchanger)) {
	s.do(func() error {
		q, ok := s.queue.(gpu.Exchanger)
		if _, own := s.slots[l]; !ok || !own {
			return errors.New("metalkern: the lane is not of this stream")
		}
		record(q)
		return nil
	})
}
