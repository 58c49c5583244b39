package kvcache

import (
	"errors"
	"sync/atomic"

	"github.com/orrery-ai/orrery/attention"
	"github.com/orrery-ai/orrery/device"
)

// region is the memory of one block or, where no part of a region can be given back, of one layer of it. It goes back to the
// device, and its bytes to the budget, when nobody uses it any more.
type region struct {
	memory device.Memory
	all    []byte
	budget *Budget
	taken  atomic.Int64 // bytes of the budget
	left   atomic.Int32 // layers that somebody uses
}

// newRegion takes memory of so many bytes, which took so much of the budget.
func newRegion(memory device.Memory, bytes int, taken int64, budget *Budget, layers int) (*region, error) {
	all, err := memory.Alloc(bytes)
	if err != nil {
		return nil, err
	}
	r := &region{memory: memory, all: all, budget: budget}
	r.taken.Store(taken)
	r.left.Store(int32(layers))
	return r, nil
}

// discard gives back a part of the region, which took so much of the budget.
func (r *region) discard(b []byte, taken int64) {
	r.memory.Discard(b)
	r.taken.Add(-taken)
	r.budget.Give(taken)
}

// extent is one layer of a block's memory, keys and then values. Its users are counted: the block that has
// it, each table that lists it, and whoever reads or writes it now. The last one gives it back.
type extent struct {
	data   []byte
	taken  int64 // bytes of the budget
	users  atomic.Int32
	region *region
}

// part is an extent of a region, which took so much of the budget, with its first user.
func (r *region) part(first, end int, taken int64) *extent {
	x := &extent{data: r.all[first:end:end], taken: taken, region: r}
	x.users.Store(1)
	return x
}

// newExtents takes memory for so many layers of so many tokens each. The caller is their first user.
func newExtents(g Geometry, layers, tokens int, budget *Budget) ([]*extent, error) {
	each, bytes := g.LayerBytes(tokens), 2*g.half(tokens)
	if err := budget.Take(each * int64(layers)); err != nil {
		return nil, err
	}
	together := layers
	if !g.Memory.Discard(nil) {
		together = 1
	}
	xs := make([]*extent, 0, layers)
	for len(xs) < layers {
		r, err := newRegion(g.Memory, bytes*together, each*int64(together), budget, together)
		if err != nil {
			budget.Give(each * int64(layers-len(xs)))
			for _, x := range xs {
				x.release()
			}
			return nil, err
		}
		for i := range together {
			xs = append(xs, r.part(i*bytes, (i+1)*bytes, each))
		}
	}
	return xs, nil
}

// acquire makes the caller a user too, unless there is none any more.
func (x *extent) acquire() bool {
	for n := x.users.Load(); n > 0; n = x.users.Load() {
		if x.users.CompareAndSwap(n, n+1) {
			return true
		}
	}
	return false
}

// release takes back an acquire, or the first use.
func (x *extent) release() {
	if x.users.Add(-1) > 0 {
		return
	}
	r := x.region
	if r.left.Add(-1) > 0 {
		r.discard(x.data, x.taken)
		return
	}
	r.memory.Free(r.all)
	r.budget.Give(r.taken.Load())
}

// shrink moves the keys and values of kv, which lie in the extent, together, and gives back the room behind
// them. It returns the extent in which they are then: another one where no part of a region can be given back.
// Nobody else reads or writes them meanwhile.
func (x *extent) shrink(kv *attention.KV, g Geometry) (*extent, error) {
	k, v, err := Pack(g.Memory, kv, g.Shape)
	if err != nil {
		return nil, err
	}
	small, half, r := x, len(k), x.region
	if keep := g.LayerBytes(kv.Len); r.memory.Discard(nil) {
		rest, over := x.data[2*half:], x.taken-keep
		x.data, x.taken = x.data[:2*half:2*half], keep
		defer r.discard(rest, over)
	} else {
		other, err := newRegion(g.Memory, 2*half, keep, r.budget, 1)
		if err != nil {
			return nil, err
		}
		r.taken.Add(-keep) // which are the other's now
		small = other.part(0, 2*half, keep)
		defer x.release()
	}
	if err := errors.Join(g.Memory.Write(small.data[:half], k), g.Memory.Write(small.data[half:], v)); err != nil {
		return nil, err
	}
	kv.K, kv.V, kv.Cap = small.data[:half], small.data[half:], kv.Len
	return small, nil
}

// extents are some that the holder is a user of.
type extents []*extent

// add acquires x, which must have a user, and notes it.
func (xs *extents) add(x *extent) {
	x.acquire()
	*xs = append(*xs, x)
}

// release releases all, and keeps the room for others.
func (xs *extents) release() {
	for i, x := range *xs {
		x.release()
		(*xs)[i] = nil
	}
	*xs = (*xs)[:0]
}
