package metalkern

import (
	"math"
	"unsafe"

	"github.com/orrery-ai/orrery/attention"
	"github.com/orrery-ai/orrery/device"
	"github.com/orrery-ai/orrery/metalkern/kernels"
)

var _ device.Batcher = (*stream)(nil)

// AttendRows implements [device.Batcher]: in one launch, where every row sees something, in one format. Lists of blocks
// lie where they are, and each query says how far from the first of them its own is.
func (s *stream) AttendRows(p attention.Partial, q device.Tensor, rows []device.Row, shape attention.Shape) {
	if q.Rows != len(rows) || p.Rows != len(rows) || q.Cols != shape.Heads*shape.HeadDim || p.Heads != shape.Heads || p.Dim != shape.HeadDim {
		mismatch("AttendRows", "queries [%d][%d] of %d rows and a partial [%d][%d][%d], of shape %+v", q.Rows, q.Cols, len(rows), p.Rows, p.Heads, p.Dim, shape)
	}
	if s.alike(rows, shape) && s.begin() {
		var done bool
		if done, s.err = s.attendRows(p, q, rows, kernels.Layer{Shape: shape, Bits: rows[0].KV[0].Format.Bits()}); done || s.err != nil {
			return
		}
	}
	device.AttendEach(s, p, q, rows, shape)
}

// alike says whether one launch can do for rows.
func (s *stream) alike(rows []device.Row, shape attention.Shape) bool {
	if len(rows) == 0 || len(rows) > kernels.DecodeRows || shape.Group() > kernels.DecodeGroup {
		return false
	}
	for _, r := range rows {
		if len(r.KV) == 0 || r.KV[0].Format != rows[0].KV[0].Format || stored(r.KV[0].Format) != nil {
			return false
		}
	}
	return true
}

// attendRows leaves the rows' parts pending, unless one of them sees nothing, or lists lie too far from each other.
func (s *stream) attendRows(p attention.Partial, q device.Tensor, rows []device.Row, l kernels.Layer) (done bool, err error) {
	var lists [kernels.DecodeRows]listed
	var made [kernels.DecodeRows]kernels.Query
	first, tiles := 0, 0
	for i, r := range rows {
		if lists[i], err = s.list(r.KV, r.First); err != nil || lists[i].count == 0 {
			return false, err
		}
		if addressOf(lists[i].at) < addressOf(lists[first].at) {
			first = i
		}
		tiles = max(tiles, lists[i].tiles)
	}
	for i, list := range lists[:len(rows)] {
		const size = uint64(unsafe.Sizeof(kernels.Block{}))
		away := addressOf(list.at) - addressOf(lists[first].at)
		if away%size != 0 || away/size > math.MaxUint32-uint64(list.count) {
			return false, nil
		}
		made[i] = kernels.Query{Begin: uint32(away / size), Count: uint32(list.count), Tiles: uint32(list.tiles), Position: int32(rows[i].First)}
	}
	if err := s.settle(); err != nil {
		return false, err
	}
	decode := s.decodes[l]
	if decode == nil {
		if decode, err = s.device.set.Decode(l); err != nil {
			return false, err
		}
		s.decodes[l] = decode
	}
	split := decode.Split(tiles, len(rows))
	parts, err := s.takeParts(p, split.Parts)
	if err != nil {
		return false, err
	}
	queries, err := s.now().temps.take(len(bytesOf(made[:len(rows)])))
	if err != nil {
		return false, err
	}
	at := s.device.memory.bytes(queries)
	if err := s.send(at, bytesOf(made[:len(rows)])); err != nil {
		return false, err
	}
	decode.Launch(s.queue, s.at(q), s.device.origin, lists[first].at, at, len(rows), split, parts)
	s.pending = pending{p, parts, split.Parts}
	return true, nil
}
