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

// newRegion takes memory for so many layers of so many tokens each, whose bytes have been taken from the budget.
func newRegion(g Geometry, layers, tokens int, budget *Budget) (*region, error) {
	all, err := g.Memory.Alloc(2 * g.half(tokens) * layers)
	if err != nil {
		return nil, err
	}
	r := &region{memory: g.Memory, all: all, budget: budget}
	r.taken.Store(g.LayerBytes(tokens) * int64(layers))
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

// part is extent i of a region, of so many tokens, with its first user.
func (r *region) part(g Geometry, i, tokens int) *extent {
	n := 2 * g.half(tokens)
	x := &extent{data: r.all[i*n : (i+1)*n : (i+1)*n], taken: g.LayerBytes(tokens), region: r}
	x.users.Store(1)
	return x
}

// newExtents takes memory for so many layers of so many tokens each. The caller is their first user.
func newExtents(g Geometry, layers, tokens int, budget *Budget) ([]*extent, error) {
	each := g.LayerBytes(tokens)
	size := each * int64(layers)
	if err := budget.Take(size); err != nil {
		return nil, err
	}
	together := layers
	if !g.Memory.Discard(nil) {
		together = 1
	}
	xs := make([]*extent, 0, layers)
	for len(xs) < layers {
		r, err := newRegion(g, together, tokens, budget)
		if err != nil {
			budget.Give(size - each*int64(len(xs)))
			for _, x := range xs {
				x.release()
			}
			return nil, err
		}
		for i := range together {
			xs = append(xs, r.part(g, i, tokens))
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
	if r.memory.Discard(nil) {
		rest, over := x.data[2*half:], x.taken-g.LayerBytes(kv.Len)
		x.data, x.taken = x.data[:2*half:2*half], x.taken-over
		defer r.discard(rest, over)
	} else {
		other, err := newRegion(g, 1, kv.Len, r.budget)
		if err != nil {
			return nil, err
		}
		r.taken.Add(-g.LayerBytes(kv.Len)) // which are the other's now
		small = other.part(g, 0, kv.Len)
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
