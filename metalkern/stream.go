package metalkern

import (
	"errors"
	"fmt"
	"time"
	"unsafe"

	"github.com/orrery-ai/orrery/attention"
	"github.com/orrery-ai/orrery/device"
	"github.com/orrery-ai/orrery/metalkern/gpu"
	"github.com/orrery-ai/orrery/metalkern/kernels"
)

// stream records operations on a queue of the host's, which runs them meanwhile. Whatever goes wrong is for Wait to tell.
type stream struct {
	device *Device
	queue  gpu.Queue
	err    error // the first that happened; nothing is recorded after it until Wait has returned it
	waited bool  // nothing was recorded since Wait

	crossing [2]crossing // of the part that is recorded, and of the one before, by turns
	current  int         // of them
	terms    room        // of activations, for products
	orders   room        // in which experts compute, and the parts of an arg-max
	parts    room        // partials that are to be merged

	slots   map[*device.Lane][2][]byte // of the lanes of the queue
	message []gpu.Part                 // the parts of the last one

	lists   lists
	decodes map[kernels.Layer]*kernels.Decode
	fills   map[kernels.Layer]*kernels.Prefill
	queries queries
	pending pending
	held    products
	norm    heldNorm
	rope    heldRope
}

var _ device.Stream = (*stream)(nil)

func newStream(d *Device) *stream {
	s := &stream{device: d, terms: room{memory: d.memory}, orders: room{memory: d.memory}, parts: room{memory: d.memory},
		lists: lists{memory: d.memory}, decodes: map[kernels.Layer]*kernels.Decode{}, fills: map[kernels.Layer]*kernels.Prefill{}}
	for i := range s.crossing {
		s.crossing[i] = crossing{staging{host: d.host}, temps{memory: d.memory}}
	}
	s.queue, s.err = d.host.NewQueue()
	return s
}

// begin reports whether to record an operation.
func (s *stream) begin() bool {
	if s.err != nil {
		return false
	}
	if s.waited {
		s.waited = false
		s.cross()
	}
	return true
}

// crossing is what goes between the host and the device until it has been waited for, on both sides.
type crossing struct {
	staging staging
	temps   temps
}

// now is that of the part that is recorded.
func (s *stream) now() *crossing { return &s.crossing[s.current] }

// cross begins anew with what crosses in the part that is recorded.
func (s *stream) cross() {
	s.now().staging.reset()
	s.now().temps.reset()
	s.queries.count = 0
}

// do records an operation that reads or writes partials like any other tensor.
func (s *stream) do(record func() error) {
	if !s.begin() {
		return
	}
	if s.err = s.settle(); s.err == nil {
		s.err = record()
	}
}

// Wait implements [device.Stream].
func (s *stream) Wait() error {
	s.do(func() error { return nil })
	err := s.err
	if s.queue == nil {
		return err
	}
	s.err = nil
	s.pending, s.held.count, s.norm, s.rope = pending{}, 0, heldNorm{}, heldRope{}
	err = errors.Join(err, s.queue.Wait(time.Now().Add(stepTimeout)))
	s.waited = true
	s.terms.tidy()
	s.orders.tidy()
	s.parts.tidy()
	s.lists.tidy()
	return err
}

// Close implements [device.Stream].
func (s *stream) Close() error {
	if s.queue == nil {
		return nil
	}
	err := s.queue.Close()
	s.queue, s.err = nil, errors.New("metalkern: the stream was closed")
	s.terms.free()
	s.orders.free()
	s.parts.free()
	s.lists.free()
	for i := range s.crossing {
		s.crossing[i].temps.free()
		err = errors.Join(err, s.crossing[i].staging.free())
	}
	s.freeLanes()
	s.device.forget(s)
	return err
}

func bytesOf[T any](x []T) []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(x))), len(x)*int(unsafe.Sizeof(*new(T))))
}

// at is where a tensor lies.
func (s *stream) at(t device.Tensor) gpu.Range { return s.device.memory.floats(t.Data[:t.Rows*t.Cols]) }

// send copies src, of the host, to a place on the device.
func (s *stream) send(dst gpu.Range, src []byte) error {
	staged, err := s.now().staging.take(len(src))
	if err != nil {
		return err
	}
	copy(staged, src)
	s.queue.Write(dst, staged)
	return nil
}

// Write implements [device.Stream].
func (s *stream) Write(dst device.Tensor, src []float32) {
	if len(src) != dst.Rows*dst.Cols {
		mismatch("Write", "%d elements into [%d][%d]", len(src), dst.Rows, dst.Cols)
	}
	if len(src) > 0 {
		s.do(func() error { return s.send(s.at(dst), bytesOf(src)) })
	}
}

// Upload implements [device.Stream].
func (s *stream) Upload(src []byte) (on []byte) {
	if len(src) == 0 {
		return nil
	}
	s.do(func() (err error) {
		if on, err = s.now().temps.take(len(src)); err != nil {
			return err
		}
		return s.send(s.device.memory.bytes(on), src)
	})
	if on == nil { // an error, which Wait gives; nothing will be read
		on = make([]byte, len(src))
	}
	return on
}

// Download implements [device.Stream].
func (s *stream) Download(src []byte) (at []byte) {
	if len(src) == 0 {
		return nil
	}
	s.do(func() (err error) {
		if at, err = s.now().staging.take(len(src)); err == nil {
			s.queue.Read(at, s.device.memory.bytes(src))
		}
		return err
	})
	if at == nil {
		at = make([]byte, len(src))
	}
	return at
}

// Embed implements [device.Stream].
func (s *stream) Embed(dst device.Tensor, table device.Matrix, ids []int32) {
	if dst.Rows != len(ids) || dst.Cols != table.Cols {
		mismatch("Embed", "%d ids of a table [%d][%d] into [%d][%d]", len(ids), table.Rows, table.Cols, dst.Rows, dst.Cols)
	}
	for i, id := range ids {
		if id < 0 || int(id) >= table.Rows {
			mismatch("Embed", "id %d at %d, of a table of %d rows", id, i, table.Rows)
		}
	}
	if len(ids) == 0 {
		return
	}
	s.do(func() error {
		list, err := s.now().temps.take(4 * len(ids))
		if err != nil {
			return err
		}
		at := s.device.memory.bytes(list)
		if err := s.send(at, bytesOf(ids)); err != nil {
			return err
		}
		return s.device.set.Embed(s.queue, s.at(dst), s.weights(table), at, len(ids))
	})
}

// AddBias implements [device.Stream].
func (s *stream) AddBias(dst device.Tensor, b []float32) {
	if dst.Cols != len(b) {
		mismatch("AddBias", "%d to [%d][%d]", len(b), dst.Rows, dst.Cols)
	}
	if dst.Rows > 0 {
		s.do(func() error {
			return s.device.set.AddBias(s.queue, s.at(dst), s.device.memory.floats(b), dst.Rows, dst.Cols)
		})
	}
}

// Append implements [device.Stream]. Blocks must not be in F32.
func (s *stream) Append(kv *attention.KV, at int, k, v device.Tensor) {
	dim := kv.HeadDim
	if dim <= 0 || k.Cols%dim != 0 || k.Rows != v.Rows || k.Cols != v.Cols || at < 0 || at+k.Rows > kv.Cap {
		mismatch("Append", "[%d][%d] and [%d][%d] at token %d of a block of %d tokens with heads of %d elements", k.Rows, k.Cols, v.Rows, v.Cols, at, kv.Cap, dim)
	}
	if k.Rows == 0 {
		return
	}
	s.do(func() error {
		if err := stored(kv.Format); err != nil {
			return err
		}
		shape := attention.Shape{Heads: k.Cols / dim, KVHeads: k.Cols / dim, HeadDim: dim}
		keys, values := s.device.memory.bytes(kv.K), s.device.memory.bytes(kv.V)
		if keys.Buffer != values.Buffer || keys.Offset > values.Offset {
			mismatch("Append", "a block whose values do not follow its keys")
		}
		b := kernels.Block{V: uint64(values.Offset - keys.Offset), Capacity: uint32(kv.Cap)}
		return s.device.set.Append(s.queue, keys, b, kv.Format.Bits(), at, s.at(k), s.at(v), k.Rows, shape)
	})
}

// stored says whether the kernels read blocks in a format.
func stored(f attention.Format) error {
	if f != attention.F16 && !f.Quantized() {
		return fmt.Errorf("keys and values in %v are not what GPU kernels read: use --kv f16, q8 or q4", f)
	}
	return nil
}

// mismatch panics: shapes do not fit, which is a mistake in Orrery.
func mismatch(operation, format string, args ...any) {
	panic("metalkern: " + operation + ": " + fmt.Sprintf(format, args...))
}
