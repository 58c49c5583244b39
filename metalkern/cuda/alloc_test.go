//go:build linux && !race

package cuda

import (
	"testing"
	"time"

	"github.com/ebitengine/purego"

	"github.com/orrery-ai/orrery/metalkern/gpu"
)

// still is a queue whose driver says yes to everything and does nothing: each of its functions is one of the C library's that is such a function.
func still(tb testing.TB) *queue {
	tb.Helper()
	libc, err := purego.Dlopen("libc.so.6", purego.RTLD_NOW)
	if err != nil {
		tb.Skip(err)
	}
	yes, err := purego.Dlsym(libc, "pthread_mutexattr_destroy")
	if err != nil {
		tb.Skip(err)
	}
	d := &driver{
		contextSet: yes, launch: yes, copyTo: yes, copyFrom: yes, copyWithin: yes, eventCreate: yes, eventRecord: yes, eventQuery: yes, streamQuery: yes,
		graphCreate: yes, graphAddKernel: yes, graphInstantiate: yes, graphSetKernel: yes, graphLaunch: yes,
		dependentDriver: dependentDriver{launchEx: yes, graphDepend: yes},
	}
	return &queue{host: &Host{driver: d, dependent: true}, graphs: newGraphs(), fences: [gpu.MostFences]uintptr{1, 2}}
}

// step gives a queue the launches of a step of decode, with buffers and values as they have them, the first of which change.
type step struct {
	queue   *queue
	kernel  *kernel
	buffers [13]gpu.Range
	staging []byte
	number  int
}

func newStep(q *queue) *step {
	s := &step{queue: q, kernel: &kernel{name: "k", function: 1, host: q.host}, staging: make([]byte, 64)}
	for i := range s.buffers {
		s.buffers[i].Buffer = &buffer{host: q.host, device: uintptr(i+1) << 12, size: 1 << 10}
	}
	return s
}

func (s *step) run(tb testing.TB) {
	q := s.queue
	q.Write(s.buffers[0], s.staging)
	for i := range 50 {
		p := [10]int32{int32(i)}
		if i%8 == 0 {
			p[0] = int32(s.number)
		}
		gpu.Launch(q, s.kernel, gpu.Grid{X: 132, Y: 1, Z: 1, Threads: 256}, s.buffers[:8], p)
	}
	q.Read(s.staging, s.buffers[0])
	s.number++
	q.Fence()
	q.Reached()
	if err := q.Reach(time.Now().Add(time.Minute)); err != nil {
		tb.Fatal(err)
	}
}

func TestAStepAllocatesNothing(t *testing.T) {
	s := newStep(still(t))
	for range 4 {
		s.run(t)
	}
	if n := testing.AllocsPerRun(100, func() { s.run(t) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestLaunchesWithOtherGridsAreTheSameGraph(t *testing.T) {
	q := still(t)
	k, x := newStep(q).kernel, gpu.Buffers(gpu.Range{Buffer: &buffer{host: q.host, device: 1 << 12, size: 1 << 10}})
	for round := range 5 {
		for i := range leastGraph {
			gpu.Launch(q, k, gpu.Grid{X: 1 + i*round, Y: 1, Z: 1, Threads: 64}, x, uint64(i))
		}
		if err := q.Wait(time.Now().Add(time.Minute)); err != nil {
			t.Fatal(err)
		}
		for _, g := range q.graphs.all {
			for i, grid := range g.grids {
				if grid.X != 1+i*round {
					t.Errorf("in round %d launch %d has %d groups", round, i, grid.X)
				}
			}
		}
	}
	if n := len(q.graphs.all); n != 1 {
		t.Errorf("%d graphs", n)
	}
}

func BenchmarkStep(b *testing.B) {
	s := newStep(still(b))
	for range 4 {
		s.run(b)
	}
	b.ReportAllocs()
	for b.Loop() {
		s.run(b)
	}
}
