package metalkern

import (
	"fmt"
	"time"
	"unsafe"

	"github.com/orrery-ai/orrery/attention"
	"github.com/orrery-ai/orrery/attention/plane"
	"github.com/orrery-ai/orrery/device"
	"github.com/orrery-ai/orrery/metalkern/gpu"
	"github.com/orrery-ai/orrery/metalkern/kernels"
)

// opTimeout bounds one operation.
const opTimeout = 2 * time.Minute

// stream runs each operation when it is recorded: it copies its arguments to the device, launches kernels, and copies results back.
type stream struct {
	device *Device
	queue  gpu.Queue
	rooms  []gpu.Buffer // memory for arguments, reused from operation to operation
	used   int          // of rooms, by the operation in progress
	err    error        // the first that happened; nothing runs after it until Wait has returned it
}

var _ device.Stream = (*stream)(nil)

// do runs an operation. Whatever goes wrong is for Wait to tell.
func (s *stream) do(record func() error) {
	if s.err != nil {
		return
	}
	s.used = 0
	if s.err = record(); s.err == nil {
		s.err = s.wait()
	}
}

func (s *stream) wait() error { return s.queue.Wait(time.Now().Add(opTimeout)) }

// Wait implements [device.Stream].
func (s *stream) Wait() error {
	err := s.err
	if s.queue != nil {
		s.err = nil
	}
	return err
}

func (s *stream) close() error {
	for _, r := range s.rooms {
		r.Free()
	}
	s.rooms = nil
	if s.queue == nil {
		return nil
	}
	return s.queue.Close()
}

// room is memory of at least n bytes, until the operation ends.
func (s *stream) room(n int) (gpu.Range, error) {
	if s.used == len(s.rooms) {
		s.rooms = append(s.rooms, nil)
	}
	at := s.used
	s.used++
	if b := s.rooms[at]; b == nil || b.Len() < int64(n) {
		if b != nil {
			if err := b.Free(); err != nil {
				return gpu.Range{}, err
			}
			s.rooms[at] = nil
		}
		b, err := s.device.host.Alloc(int64(max(n, 16)), gpu.Local)
		if err != nil {
			return gpu.Range{}, err
		}
		s.rooms[at] = b
	}
	return gpu.Range{Buffer: s.rooms[at]}, nil
}

// up copies arguments to the device.
func (s *stream) up(arguments ...[]float32) ([]gpu.Range, error) {
	all := make([]gpu.Range, len(arguments))
	for i, x := range arguments {
		r, err := s.room(4 * len(x))
		if err != nil {
			return nil, err
		}
		if len(x) > 0 {
			s.queue.Write(r, bytesOf(x))
		}
		all[i] = r
	}
	return all, nil
}

// down copies a result back.
func (s *stream) down(dst []float32, src gpu.Range) {
	if len(dst) > 0 {
		s.queue.Read(bytesOf(dst), src)
	}
}

func bytesOf[T any](x []T) []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(x))), len(x)*int(unsafe.Sizeof(*new(T))))
}

// Embed implements [device.Stream].
func (s *stream) Embed(dst device.Tensor, table device.Matrix, ids []int32) {
	s.do(func() error {
		w, err := s.device.load(s, table)
		if err != nil {
			return err
		}
		to, err := s.room(4 * len(dst.Data))
		if err != nil {
			return err
		}
		list, err := s.room(4 * len(ids))
		if err != nil || len(ids) == 0 {
			return err
		}
		for i, id := range ids {
			if id < 0 || int(id) >= table.Rows {
				mismatch("Embed", "id %d at %d, of a table of %d rows", id, i, table.Rows)
			}
		}
		s.queue.Write(list, bytesOf(ids))
		if err := s.device.set.Embed(s.queue, to, w, list, len(ids)); err != nil {
			return err
		}
		s.down(dst.Data[:len(ids)*dst.Cols], to)
		return nil
	})
}

// RMSNorm implements [device.Stream].
func (s *stream) RMSNorm(dst, x device.Tensor, weight []float32, eps float32) {
	if dst.Rows != x.Rows || dst.Cols != x.Cols || len(weight) != x.Cols {
		mismatch("RMSNorm", "[%d][%d] by %d weights into [%d][%d]", x.Rows, x.Cols, len(weight), dst.Rows, dst.Cols)
	}
	s.do(func() error {
		r, err := s.up(x.Data, weight)
		if err != nil || x.Rows == 0 {
			return err
		}
		if err := s.device.set.Norm(s.queue, r[0], r[0], r[1], x.Rows, x.Cols, eps, 0); err != nil {
			return err
		}
		s.down(dst.Data, r[0])
		return nil
	})
}

// MatMul implements [device.Stream].
func (s *stream) MatMul(dst, x device.Tensor, w device.Matrix) {
	if x.Cols != w.Cols || dst.Rows != x.Rows || dst.Cols != w.Rows {
		mismatch("MatMul", "[%d][%d] by [%d][%d] into [%d][%d]", x.Rows, x.Cols, w.Rows, w.Cols, dst.Rows, dst.Cols)
	}
	s.do(func() error {
		m, err := s.device.load(s, w)
		if err != nil || x.Rows == 0 {
			return err
		}
		r, err := s.up(x.Data)
		if err != nil {
			return err
		}
		out, err := s.room(4 * len(dst.Data))
		if err != nil {
			return err
		}
		scratch, err := s.room(int(s.device.set.ProductBytes(m, x.Rows)))
		if err != nil {
			return err
		}
		if err := s.device.set.Product(s.queue, out, r[0], scratch, m, x.Rows); err != nil {
			return err
		}
		s.down(dst.Data, out)
		return nil
	})
}

// elementwise runs an operation that changes its first argument.
func (s *stream) elementwise(launch func(r []gpu.Range) error, dst []float32, others ...[]float32) {
	s.do(func() error {
		r, err := s.up(append([][]float32{dst}, others...)...)
		if err != nil || len(dst) == 0 {
			return err
		}
		if err := launch(r); err != nil {
			return err
		}
		s.down(dst, r[0])
		return nil
	})
}

// Add implements [device.Stream].
func (s *stream) Add(dst, x device.Tensor) {
	if dst.Rows != x.Rows || dst.Cols != x.Cols {
		mismatch("Add", "[%d][%d] to [%d][%d]", x.Rows, x.Cols, dst.Rows, dst.Cols)
	}
	s.elementwise(func(r []gpu.Range) error { return s.device.set.Add(s.queue, r[0], r[1], len(dst.Data)) }, dst.Data, x.Data)
}

// AddBias implements [device.Stream].
func (s *stream) AddBias(dst device.Tensor, b []float32) {
	if dst.Cols != len(b) {
		mismatch("AddBias", "%d to [%d][%d]", len(b), dst.Rows, dst.Cols)
	}
	s.elementwise(func(r []gpu.Range) error { return s.device.set.AddBias(s.queue, r[0], r[1], dst.Rows, dst.Cols) }, dst.Data, b)
}

// Rope implements [device.Stream].
func (s *stream) Rope(x device.Tensor, headDim int, cos, sin device.Tensor, interleaved bool) {
	if cos.Rows != x.Rows || sin.Rows != x.Rows || cos.Cols != sin.Cols || 2*cos.Cols > headDim || headDim == 0 || x.Cols%headDim != 0 {
		mismatch("Rope", "[%d][%d] of heads of %d by angles [%d][%d] and [%d][%d]", x.Rows, x.Cols, headDim, cos.Rows, cos.Cols, sin.Rows, sin.Cols)
	}
	s.elementwise(func(r []gpu.Range) error {
		return s.device.set.Rope(s.queue, r[0], r[1], r[2], x.Rows, x.Cols/headDim, headDim, cos.Cols, interleaved)
	}, x.Data, cos.Data, sin.Data)
}

// SwiGLU implements [device.Stream].
func (s *stream) SwiGLU(dst, gate, up device.Tensor) {
	if dst.Rows != gate.Rows || dst.Cols != gate.Cols || up.Rows != gate.Rows || up.Cols != gate.Cols {
		mismatch("SwiGLU", "[%d][%d] and [%d][%d] into [%d][%d]", gate.Rows, gate.Cols, up.Rows, up.Cols, dst.Rows, dst.Cols)
	}
	s.elementwise(func(r []gpu.Range) error { return s.device.set.SwiGLU(s.queue, r[0], r[1], r[2], len(dst.Data)) }, dst.Data, gate.Data, up.Data)
}

// head is the size of one head of all tokens for which a block has room, in bytes.
func head(kv *attention.KV, dim int) int { return kv.Cap * kv.Format.BytesPerHead(dim) }

// Append implements [device.Stream]. Blocks must be in F16.
func (s *stream) Append(kv *attention.KV, at int, k, v device.Tensor) {
	dim := kv.HeadDim
	if dim <= 0 || k.Cols%dim != 0 || k.Rows != v.Rows || k.Cols != v.Cols || at < 0 || at+k.Rows > kv.Cap {
		mismatch("Append", "[%d][%d] and [%d][%d] at token %d of a block of %d tokens with heads of %d elements", k.Rows, k.Cols, v.Rows, v.Cols, at, kv.Cap, dim)
	}
	s.do(func() error {
		if err := stored(kv.Format); err != nil || k.Rows == 0 {
			return err
		}
		r, err := s.up(k.Data, v.Data)
		if err != nil {
			return err
		}
		shape := attention.Shape{Heads: k.Cols / dim, KVHeads: k.Cols / dim, HeadDim: dim}
		each := plane.Layout{Bits: 16, Dim: dim}.Bytes(k.Rows)
		block, err := s.room(2 * shape.KVHeads * each)
		if err != nil {
			return err
		}
		b := kernels.Block{V: uint64(shape.KVHeads * each), Capacity: uint32(k.Rows)}
		if err := s.device.set.Append(s.queue, block, b, 0, r[0], r[1], k.Rows, shape); err != nil {
			return err
		}
		row := kv.Format.BytesPerHead(dim)
		for h := range shape.KVHeads {
			to := h*head(kv, dim) + at*row
			s.queue.Read(kv.K[to:to+k.Rows*row], gpu.Range{Buffer: block.Buffer, Offset: int64(h * each)})
			s.queue.Read(kv.V[to:to+k.Rows*row], gpu.Range{Buffer: block.Buffer, Offset: int64(b.V) + int64(h*each)})
		}
		return nil
	})
}

// stored says whether the kernels read blocks in a format.
func stored(f attention.Format) error {
	if f != attention.F16 {
		return fmt.Errorf("metalkern: blocks in %v: the kernels read f16; use --kv f16", f)
	}
	return nil
}

// Attend implements [device.Stream]. Blocks must be in F16.
func (s *stream) Attend(p attention.Partial, q device.Tensor, first int, shape attention.Shape, kv []attention.KV) {
	if q.Rows != p.Rows || q.Cols != shape.Heads*shape.HeadDim || p.Heads != shape.Heads || p.Dim != shape.HeadDim {
		mismatch("Attend", "queries [%d][%d] and a partial [%d][%d][%d], of shape %+v", q.Rows, q.Cols, p.Rows, p.Heads, p.Dim, shape)
	}
	s.do(func() error {
		var list []kernels.Block
		tiles, size, last := 0, 0, first+q.Rows-1
		row := attention.F16.BytesPerHead(shape.HeadDim)
		for i := range kv {
			b := &kv[i]
			n := b.Visible(last)
			if n == 0 {
				continue
			}
			if err := stored(b.Format); err != nil {
				return err
			}
			each := (shape.KVHeads-1)*b.Cap*row + n*row
			list = append(list, kernels.Block{K: uint64(size), V: uint64(size + each), First: int32(b.First), Length: uint32(n), Capacity: uint32(b.Cap), Tile: uint32(tiles)})
			size += 2 * each
			tiles += kernels.Tiles(n)
		}
		if len(list) == 0 {
			return nil
		}
		data, err := s.room(size)
		if err != nil {
			return err
		}
		at := 0
		for i := range kv {
			if kv[i].Visible(last) == 0 {
				continue
			}
			b := list[at]
			each := int(b.V - b.K)
			s.queue.Write(gpu.Range{Buffer: data.Buffer, Offset: int64(b.K)}, kv[i].K[:each])
			s.queue.Write(gpu.Range{Buffer: data.Buffer, Offset: int64(b.V)}, kv[i].V[:each])
			at++
		}
		blocks, err := s.room(len(bytesOf(list)))
		if err != nil {
			return err
		}
		s.queue.Write(blocks, bytesOf(list))
		return s.attend(p, q, first, kernels.Layer{Shape: shape, Bits: 16}, data, blocks, len(list), tiles)
	})
}

// attend computes the part over blocks that are on the device, and merges it into p.
func (s *stream) attend(p attention.Partial, q device.Tensor, first int, l kernels.Layer, kv, blocks gpu.Range, count, tiles int) error {
	r, err := s.up(q.Data, p.O, p.M, p.L)
	if err != nil {
		return err
	}
	whole, parts := kernels.Partial{O: r[1], M: r[2], L: r[3]}, 1
	var part kernels.Partial
	take := func() error {
		for _, t := range []struct {
			to *gpu.Range
			n  int
		}{{&part.O, len(p.O)}, {&part.M, len(p.M)}, {&part.L, len(p.L)}} {
			if *t.to, err = s.room(4 * t.n * parts); err != nil {
				return err
			}
		}
		return nil
	}
	if q.Rows <= kernels.DecodeRows && l.Shape.Group() <= kernels.DecodeGroup {
		decode, err := s.device.set.Decode(l)
		if err != nil {
			return err
		}
		queries := make([]kernels.Query, q.Rows)
		for i := range queries {
			queries[i] = kernels.Query{Count: uint32(count), Tiles: uint32(tiles), Position: int32(first + i)}
		}
		list, err := s.room(len(bytesOf(queries)))
		if err != nil {
			return err
		}
		s.queue.Write(list, bytesOf(queries))
		split := decode.Split(tiles, q.Rows)
		parts = split.Parts
		if err := take(); err != nil {
			return err
		}
		decode.Launch(s.queue, r[0], kv, blocks, list, q.Rows, split, part)
		if err := s.device.merge.Into(s.queue, whole, true, part, parts, q.Rows, l.Shape); err != nil {
			return err
		}
		s.down(p.O, whole.O)
		s.down(p.M, whole.M)
		s.down(p.L, whole.L)
		return s.wait() // the queries must stay until they were copied
	}
	prefill, err := s.device.set.Prefill(l)
	if err != nil {
		return err
	}
	if err := take(); err != nil {
		return err
	}
	prefill.Launch(s.queue, r[0], kv, blocks, count, tiles, first, q.Rows, part, false)
	if err := s.device.merge.Into(s.queue, whole, true, part, 1, q.Rows, l.Shape); err != nil {
		return err
	}
	s.down(p.O, whole.O)
	s.down(p.M, whole.M)
	s.down(p.L, whole.L)
	return nil
}

// Merge implements [device.Stream].
func (s *stream) Merge(dst, src attention.Partial) {
	if dst.Rows != src.Rows || dst.Heads != src.Heads || dst.Dim != src.Dim {
		mismatch("Merge", "[%d][%d][%d] into [%d][%d][%d]", src.Rows, src.Heads, src.Dim, dst.Rows, dst.Heads, dst.Dim)
	}
	s.do(func() error {
		r, err := s.up(dst.O, dst.M, dst.L, src.O, src.M, src.L)
		if err != nil || dst.Rows == 0 {
			return err
		}
		whole := kernels.Partial{O: r[0], M: r[1], L: r[2]}
		shape := attention.Shape{Heads: dst.Heads, KVHeads: dst.Heads, HeadDim: dst.Dim}
		if err := s.device.merge.Into(s.queue, whole, true, kernels.Partial{O: r[3], M: r[4], L: r[5]}, 1, dst.Rows, shape); err != nil {
			return err
		}
		s.down(dst.O, whole.O)
		s.down(dst.M, whole.M)
		s.down(dst.L, whole.L)
		return nil
	})
}

// Finish implements [device.Stream].
func (s *stream) Finish(dst device.Tensor, p attention.Partial) {
	if dst.Rows != p.Rows || dst.Cols != p.Heads*p.Dim {
		mismatch("Finish", "a partial [%d][%d][%d] into [%d][%d]", p.Rows, p.Heads, p.Dim, dst.Rows, dst.Cols)
	}
	s.do(func() error {
		r, err := s.up(p.O, p.M, p.L)
		if err != nil || p.Rows == 0 {
			return err
		}
		out, err := s.room(4 * len(dst.Data))
		if err != nil {
			return err
		}
		shape := attention.Shape{Heads: p.Heads, KVHeads: p.Heads, HeadDim: p.Dim}
		if err := s.device.merge.Finish(s.queue, out, gpu.Range{}, kernels.Partial{O: r[0], M: r[1], L: r[2]}, 1, p.Rows, shape); err != nil {
			return err
		}
		s.down(dst.Data, out)
		return nil
	})
}

// mismatch panics: shapes do not fit, which is a mistake in Orrery.
func mismatch(operation, format string, args ...any) {
	panic("metalkern: " + operation + ": " + fmt.Sprintf(format, args...))
}
