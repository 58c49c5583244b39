//go:build linux

package cuda

import (
	"bytes"
	"hash/maphash"
	"runtime"
	"slices"
	"unsafe"

	"github.com/orrery-ai/orrery/metalkern/gpu"
)

const (
	// leastGraph is how many launches are worth a graph.
	leastGraph = 4
	// mostGraphs bounds the graphs of a queue: those of the steps of some sequences, of which a graph's buffers are.
	mostGraphs = 256
	// mostSeen bounds the shapes that were seen once.
	mostSeen = 4096
)

// graph is launches that the driver has prepared. They go to the device together, with other values and grids if need be.
type graph struct {
	graph, exec uintptr
	nodes       []uintptr
	shape       []byte
	data        []byte     // arguments that the nodes have now
	grids       []gpu.Grid // likewise
	used        uint64     // when, in uses of the queue's graphs
}

// graphs are the graphs of a queue.
type graphs struct {
	seed maphash.Seed
	all  map[uint64]*graph // by the hash of their shape
	seen map[uint64]bool   // hashes of shapes without a graph
	uses uint64
}

func newGraphs() graphs {
	return graphs{seed: maphash.MakeSeed(), all: map[uint64]*graph{}, seen: map[uint64]bool{}}
}

// find is the graph of a shape, or nil; seen is whether the shape has come before.
func (gs *graphs) find(shape []byte) (g *graph, seen bool) {
	h := maphash.Bytes(gs.seed, shape)
	if g := gs.all[h]; g != nil && bytes.Equal(g.shape, shape) {
		gs.uses++
		g.used = gs.uses
		return g, true
	}
	seen = gs.seen[h] && gs.all[h] == nil
	if len(gs.seen) == mostSeen {
		clear(gs.seen)
	}
	gs.seen[h] = true
	return nil, seen
}

func (gs *graphs) add(g *graph) {
	gs.uses++
	g.used = gs.uses
	h := maphash.Bytes(gs.seed, g.shape)
	gs.all[h] = g
	delete(gs.seen, h)
}

// oldest takes out the half of the graphs that was not used for longest, if there are many.
func (gs *graphs) oldest() (out []*graph) {
	if len(gs.all) <= mostGraphs {
		return nil
	}
	for _, g := range gs.all {
		out = append(out, g)
	}
	slices.SortFunc(out, func(a, b *graph) int { return int(int64(a.used) - int64(b.used)) })
	out = out[:len(out)/2]
	for _, g := range out {
		delete(gs.all, maphash.Bytes(gs.seed, g.shape))
	}
	return out
}

// nodeParams is CUDA_KERNEL_NODE_PARAMS, in its first version.
type nodeParams struct {
	function                     uintptr
	gridX, gridY, gridZ          uint32
	threadsX, threadsY, threadsZ uint32
	pool                         uint32
	params                       *unsafe.Pointer
	extra                        uintptr
}

func (q *queue) nodeParams(r *recording, l *launch) *nodeParams {
	r.params(l, &q.params)
	g := l.grid
	q.node = nodeParams{function: l.kernel.function, gridX: uint32(g.X), gridY: uint32(g.Y), gridZ: uint32(g.Z), threadsX: uint32(g.Threads), threadsY: 1, threadsZ: 1,
		pool: uint32(g.Pool), params: &q.params[0]}
	return &q.node
}

// capture makes a graph of the launches, each of which follows the one before. A driver that cannot has refused: launches by themselves
// do the same, slower.
func (q *queue) capture(r *recording) (g *graph, refused bool) {
	d := q.host.driver
	g = &graph{shape: slices.Clone(r.shape), data: slices.Clone(r.data), nodes: make([]uintptr, len(r.launches)), grids: make([]gpu.Grid, len(r.launches))}
	if call(d.graphCreate, uintptr(unsafe.Pointer(&g.graph)), 0) != 0 {
		return nil, true
	}
	for i := range r.launches {
		p := q.nodeParams(r, &r.launches[i])
		g.grids[i] = r.launches[i].grid
		status := call(d.graphAddKernel, uintptr(unsafe.Pointer(&g.nodes[i])), g.graph, 0, 0, uintptr(unsafe.Pointer(p)))
		runtime.KeepAlive(p)
		if status == 0 && i > 0 {
			status = q.follow(g.graph, &g.nodes[i-1], &g.nodes[i])
		}
		if status != 0 {
			q.destroy(g)
			return nil, true
		}
	}
	if call(d.graphInstantiate, uintptr(unsafe.Pointer(&g.exec)), g.graph, 0) != 0 {
		q.destroy(g)
		return nil, true
	}
	runtime.KeepAlive(r)
	return g, false
}

// replay launches a graph with the arguments of a recording of its shape.
func (q *queue) replay(g *graph, r *recording) {
	d := q.host.driver
	for i := range r.launches {
		l := &r.launches[i]
		if g.grids[i] == l.grid && bytes.Equal(g.data[l.at:l.end], r.data[l.at:l.end]) {
			continue
		}
		p := q.nodeParams(r, l)
		if status := call4(d.graphSetKernel, g.exec, g.nodes[i], uintptr(unsafe.Pointer(p)), 0); status != 0 {
			q.note("new arguments for "+l.kernel.name, status)
			return
		}
		runtime.KeepAlive(p)
		copy(g.data[l.at:l.end], r.data[l.at:l.end])
		g.grids[i] = l.grid
	}
	if status := call4(d.graphLaunch, g.exec, q.stream, 0, 0); status != 0 {
		q.note("cuGraphLaunch", status)
	}
}

// destroy gives back a graph that is not running.
func (q *queue) destroy(g *graph) {
	d := q.host.driver
	if g.exec != 0 {
		call(d.graphExecDestroy, g.exec)
	}
	call(d.graphDestroy, g.graph)
}
