package metalkern

import (
	"unsafe"

	"github.com/orrery-ai/orrery/attention"
	"github.com/orrery-ai/orrery/metalkern/gpu"
	"github.com/orrery-ai/orrery/metalkern/kernels"
)

// mostLists bounds the lists that are kept: those of the layers of some sequences.
const mostLists = 4096

// lists are the lists of blocks that are on the device. From one token to the next a list grows by a block at most, so that only this is copied.
type lists struct {
	memory  *memory
	all     map[*byte]*list // by the keys of the first block
	frees   uint64          // of the memory, when it was last looked at
	retired [][]byte        // memory that is given back when nothing uses it
}

// list is one of them. Its first blocks are those that keys names.
type list struct {
	keys   []*byte // where each block's keys lie
	count  int     // of the blocks, if the list was last made of all of so many; else 0
	blocks []kernels.Block
	data   []byte // of the device: blocks
}

// listed is what of a list a launch looks at.
type listed struct {
	at           gpu.Range
	count, tiles int
}

// list is the list of those of some blocks that the query at a position sees.
func (s *stream) list(kv []attention.KV, position int) (listed, error) {
	for len(kv) > 0 && kv[0].Visible(position) == 0 {
		kv = kv[1:]
	}
	if len(kv) == 0 {
		return listed{}, nil
	}
	l := s.lists.of(kv)
	if tiles, same := l.same(kv, position); same {
		return listed{s.device.memory.bytes(l.data), len(kv), tiles}, nil
	}
	var out listed
	tiles, from, to := 0, len(kv), 0 // what has changed
	for i := range kv {
		b := &kv[i]
		n := b.Visible(position)
		if n == 0 {
			continue
		}
		if b.Format != kv[0].Format || b.Skip != 0 {
			mismatch("Attend", "a list of blocks in %v and in %v, %d tokens within one", kv[0].Format, b.Format, b.Skip)
		}
		// Where the position limits what is seen, the block does not: so the last one is listed once, not with each of its tokens.
		length := b.Len
		if n == position+1-b.First {
			length = b.Cap
		}
		at, key := out.count, unsafe.SliceData(b.K)
		out.count++
		out.tiles = tiles + kernels.Tiles(n)
		if at < len(l.keys) && l.keys[at] == key && int(l.blocks[at].Length) == length && int(l.blocks[at].First) == b.First && int(l.blocks[at].Tile) == tiles {
			tiles += kernels.Tiles(length)
			continue
		}
		if at == len(l.keys) {
			l.keys, l.blocks = append(l.keys, nil), append(l.blocks, kernels.Block{})
		}
		l.keys[at] = key
		l.blocks[at] = kernels.Block{K: s.device.distance(b.K), V: s.device.distance(b.V), First: int32(b.First), Length: uint32(length), Capacity: uint32(b.Cap), Tile: uint32(tiles)}
		tiles += kernels.Tiles(length)
		from, to = min(from, at), at+1
	}
	if l.count = 0; out.count == len(kv) {
		l.count = len(kv)
	}
	if size := len(bytesOf(l.blocks)); size > len(l.data) {
		data, err := s.device.memory.alloc(2 * size)
		if err != nil {
			return listed{}, err
		}
		s.lists.retired = append(s.lists.retired, l.data)
		l.data, from, to = data, 0, len(l.blocks)
	}
	out.at = s.device.memory.bytes(l.data)
	if from >= to {
		return out, nil
	}
	changed := bytesOf(l.blocks[from:to])
	at := int64(len(bytesOf(l.blocks[:from])))
	return out, s.send(gpu.Range{Buffer: out.at.Buffer, Offset: out.at.Offset + at}, changed)
}

// same reports whether the list is already that of some blocks, and how many tiles a query at a position sees of it. From one token to the next it nearly always is: only the last
// block grows, and what of that is seen the position says.
func (l *list) same(kv []attention.KV, position int) (tiles int, ok bool) {
	last := len(kv) - 1
	if l.count != len(kv) {
		return 0, false
	}
	b, have := &kv[last], &l.blocks[last]
	n, length := b.Visible(position), b.Len
	if n == position+1-b.First {
		length = b.Cap
	}
	if n == 0 || int(have.First) != b.First || int(have.Length) != length {
		return 0, false
	}
	for i := range kv {
		if l.keys[i] != unsafe.SliceData(kv[i].K) {
			return 0, false
		}
	}
	return int(have.Tile) + kernels.Tiles(n), true
}

// distance is how far from the origin a slice of the device's lies for kernels.
func (d *Device) distance(b []byte) uint64 {
	return d.memory.address(b) - d.origin.Buffer.Address() - uint64(d.origin.Offset)
}

// of is the list that begins with the same block, as it was left, or an empty one.
func (ls *lists) of(kv []attention.KV) *list {
	if n := ls.memory.frees.Load(); n != ls.frees { // other blocks may lie where those of the lists lay
		ls.frees = n
		for _, l := range ls.all {
			l.keys, l.blocks, l.count = l.keys[:0], l.blocks[:0], 0
		}
	}
	if ls.all == nil || len(ls.all) == mostLists {
		for _, l := range ls.all {
			ls.retired = append(ls.retired, l.data)
		}
		ls.all = map[*byte]*list{}
	}
	key := unsafe.SliceData(kv[0].K)
	l := ls.all[key]
	if l == nil {
		l = &list{}
		ls.all[key] = l
	}
	return l
}

// tidy gives back what nothing uses any more: nothing is pending.
func (ls *lists) tidy() {
	for _, b := range ls.retired {
		ls.memory.free(b)
	}
	ls.retired = ls.retired[:0]
}

func (ls *lists) free() {
	for _, l := range ls.all {
		ls.memory.free(l.data)
	}
	ls.all = nil
	ls.tidy()
}
