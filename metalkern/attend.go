package metalkern

import (
	"github.com/orrery-ai/orrery/attention"
	"github.com/orrery-ai/orrery/device"
	"github.com/orrery-ai/orrery/metalkern/gpu"
	"github.com/orrery-ai/orrery/metalkern/kernels"
)

// pending is a partial that was not written yet, because most often it need not be: it was reset, and so many parts of it were computed since.
// What comes next merges them on its way, or settle does.
type pending struct {
	partial attention.Partial // without rows: none
	parts   kernels.Partial
	count   int
}

// is reports whether p is the partial, all of it.
func (p *pending) is(q attention.Partial) bool {
	return p.partial.Rows > 0 && p.partial.Rows == q.Rows && &p.partial.M[0] == &q.M[0]
}

func shapeOf(p attention.Partial) attention.Shape {
	return attention.Shape{Heads: p.Heads, KVHeads: p.Heads, HeadDim: p.Dim}
}

// where is where a partial lies.
func (s *stream) where(p attention.Partial) kernels.Partial {
	m := s.device.memory
	return kernels.Partial{O: m.floats(p.O), M: m.floats(p.M), L: m.floats(p.L)}
}

// settle launches the products that are held, and writes the partial that is pending.
func (s *stream) settle() error {
	if err := s.multiply(); err != nil {
		return err
	}
	p := s.pending
	s.pending = pending{}
	switch {
	case p.partial.Rows == 0:
		return nil
	case p.count == 0:
		return s.device.set.Reset(s.queue, s.where(p.partial), p.partial.Rows*p.partial.Heads, p.partial.Dim)
	}
	return s.device.merge.Into(s.queue, s.where(p.partial), false, p.parts, p.count, p.partial.Rows, shapeOf(p.partial))
}

// Reset implements [device.Stream].
func (s *stream) Reset(p attention.Partial) {
	if p.Rows > 0 {
		s.do(func() error {
			s.pending = pending{partial: p}
			return nil
		})
	}
}

// Merge implements [device.Stream].
func (s *stream) Merge(dst, src attention.Partial) {
	if dst.Rows != src.Rows || dst.Heads != src.Heads || dst.Dim != src.Dim {
		mismatch("Merge", "[%d][%d][%d] into [%d][%d][%d]", src.Rows, src.Heads, src.Dim, dst.Rows, dst.Heads, dst.Dim)
	}
	if dst.Rows > 0 {
		s.do(func() error {
			return s.device.merge.Into(s.queue, s.where(dst), true, s.where(src), 1, dst.Rows, shapeOf(dst))
		})
	}
}

// Finish implements [device.Stream].
func (s *stream) Finish(dst device.Tensor, p attention.Partial) {
	if dst.Rows != p.Rows || dst.Cols != p.Heads*p.Dim {
		mismatch("Finish", "a partial [%d][%d][%d] into [%d][%d]", p.Rows, p.Heads, p.Dim, dst.Rows, dst.Cols)
	}
	if p.Rows == 0 || !s.begin() {
		return
	}
	if s.err = s.multiply(); s.err == nil && s.pending.is(p) && s.pending.count > 0 {
		parts, count := s.pending.parts, s.pending.count
		s.pending = pending{}
		s.err = s.device.merge.Finish(s.queue, s.at(dst), gpu.Range{}, parts, count, p.Rows, shapeOf(p))
		return
	}
	s.do(func() error {
		return s.device.merge.Finish(s.queue, s.at(dst), gpu.Range{}, s.where(p), 1, p.Rows, shapeOf(p))
	})
}

// Attend implements [device.Stream]. Blocks must be in one format, and not in F32.
func (s *stream) Attend(p attention.Partial, q device.Tensor, first int, shape attention.Shape, kv []attention.KV) {
	if q.Rows != p.Rows || q.Cols != shape.Heads*shape.HeadDim || p.Heads != shape.Heads || p.Dim != shape.HeadDim {
		mismatch("Attend", "queries [%d][%d] and a partial [%d][%d][%d], of shape %+v", q.Rows, q.Cols, p.Rows, p.Heads, p.Dim, shape)
	}
	if q.Rows == 0 || len(kv) == 0 || !s.begin() {
		return
	}
	if s.err = stored(kv[0].Format); s.err == nil {
		s.err = s.attend(p, q, first, kernels.Layer{Shape: shape, Bits: kv[0].Format.Bits()}, kv)
	}
}

func (s *stream) attend(p attention.Partial, q device.Tensor, first int, l kernels.Layer, kv []attention.KV) error {
	list, err := s.list(kv, first+q.Rows-1)
	if err != nil || list.count == 0 {
		return err
	}
	fresh := s.pending.is(p) && s.pending.count == 0
	if fresh {
		s.pending = pending{}
		if err := s.multiply(); err != nil {
			return err
		}
	} else if err := s.settle(); err != nil {
		return err
	}
	parts, count, err := s.compute(p, q, first, l, list)
	if err != nil {
		return err
	}
	if fresh {
		s.pending = pending{p, parts, count}
		return nil
	}
	return s.device.merge.Into(s.queue, s.where(p), true, parts, count, p.Rows, shapeOf(p))
}

// compute makes parts of the attention, as many as there are to be merged.
func (s *stream) compute(p attention.Partial, q device.Tensor, first int, l kernels.Layer, list listed) (parts kernels.Partial, count int, err error) {
	if q.Rows > kernels.DecodeRows || l.Shape.Group() > kernels.DecodeGroup {
		prefill := s.fills[l]
		if prefill == nil {
			if prefill, err = s.device.set.Prefill(l); err != nil {
				return parts, 0, err
			}
			s.fills[l] = prefill
		}
		if parts, err = s.takeParts(p, 1); err == nil {
			prefill.Launch(s.queue, s.at(q), s.device.origin, list.at, list.count, list.tiles, first, q.Rows, parts, false)
		}
		return parts, 1, err
	}
	decode := s.decodes[l]
	if decode == nil {
		if decode, err = s.device.set.Decode(l); err != nil {
			return parts, 0, err
		}
		s.decodes[l] = decode
	}
	queries, err := s.query(first, q.Rows, list)
	if err != nil {
		return parts, 0, err
	}
	split := decode.Split(list.tiles, q.Rows)
	if parts, err = s.takeParts(p, split.Parts); err == nil {
		decode.Launch(s.queue, s.at(q), s.device.origin, list.at, queries, q.Rows, split, parts)
	}
	return parts, split.Parts, err
}

// takeParts is memory for n partials like p, one after the other. What was there is lost.
func (s *stream) takeParts(p attention.Partial, n int) (kernels.Partial, error) {
	o, m := int64(4*n*len(p.O)), int64(4*n*len(p.M))
	at, err := s.parts.atLeast(int(o + 2*m))
	from := func(offset int64) gpu.Range { return gpu.Range{Buffer: at.Buffer, Offset: at.Offset + offset} }
	return kernels.Partial{O: at, M: from(o), L: from(o + m)}, err
}

// queries are those of the last attention of few queries: every layer of a step has the same.
type queries struct {
	first, rows, count, tiles int // count is 0 if there are none
	at                        gpu.Range
	made                      [kernels.DecodeRows]kernels.Query
}

// query is the list of queries of positions first, first+1, …, each of which sees the blocks of the list.
func (s *stream) query(first, rows int, list listed) (gpu.Range, error) {
	q := &s.queries
	if q.first == first && q.rows == rows && q.count == list.count && q.tiles == list.tiles {
		return q.at, nil
	}
	for i := range rows {
		q.made[i] = kernels.Query{Count: uint32(list.count), Tiles: uint32(list.tiles), Position: int32(first + i)}
	}
	made := bytesOf(q.made[:rows])
	on, err := s.now().temps.take(len(made))
	if err != nil {
		return gpu.Range{}, err
	}
	q.first, q.rows, q.count, q.tiles, q.at = first, rows, list.count, list.tiles, s.device.memory.bytes(on)
	return q.at, s.send(q.at, made)
}
