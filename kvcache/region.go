package kvcache

import (
	"sync/atomic"

	"github.com/orrery-ai/orrery/attention"
	"github.com/orrery-ai/orrery/internal/offheap"
)

// region is the memory of one block. It does not lie in the Go heap: it goes back to the system, and its
// bytes to the budget, when nobody uses it any more.
type region struct {
	all    []byte
	budget *Budget
	left   atomic.Int32 // layers that somebody uses
}

// extent is one layer of a block's memory, keys and then values. Its users are counted: the block that has
// it, each table that lists it, and whoever reads or writes it now. The last one gives it back.
type extent struct {
	data   []byte
	users  atomic.Int32
	region *region
}

// newExtents takes memory for so many layers of so many bytes each. The caller is their first user.
func newExtents(layers int, bytes int64, budget *Budget) ([]*extent, error) {
	size := bytes * int64(layers)
	if err := budget.Take(size); err != nil {
		return nil, err
	}
	all, err := offheap.MapHuge(int(size))
	if err != nil {
		budget.Give(size)
		return nil, err
	}
	r := &region{all: all, budget: budget}
	r.left.Store(int32(layers))
	xs := make([]*extent, layers)
	for i := range xs {
		xs[i] = &extent{data: all[int64(i)*bytes:][:bytes:bytes], region: r}
		xs[i].users.Store(1)
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
	r, n := x.region, int64(len(x.data))
	if r.left.Add(-1) > 0 {
		offheap.Discard(x.data)
	} else {
		offheap.Unmap(r.all)
	}
	r.budget.Give(n)
}

// shrink moves the keys and values of kv, which lie in the extent, together, and gives back the room behind
// them. Nobody else reads or writes them meanwhile.
func (x *extent) shrink(kv *attention.KV, s attention.Shape) {
	n := kv.Len * kv.Format.BytesPerHead(s.HeadDim)
	from := kv.Cap * kv.Format.BytesPerHead(s.HeadDim)
	half := n * s.KVHeads
	for h := range s.KVHeads {
		copy(x.data[h*n:(h+1)*n], kv.K[h*from:])
	}
	for h := range s.KVHeads {
		copy(x.data[half+h*n:half+(h+1)*n], kv.V[h*from:])
	}
	rest := x.data[2*half:]
	x.data = x.data[: 2*half : 2*half]
	kv.K, kv.V, kv.Cap = x.data[:half], x.data[half:], kv.Len
	offheap.Discard(rest)
	x.region.budget.Give(int64(len(rest)))
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
