package emulator

import (
	"encoding/binary"
	"errors"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/orrery-ai/orrery/metalkern/dialect"
	"github.com/orrery-ai/orrery/metalkern/gpu"
)

const limit = time.Minute

func open(t *testing.T) *Host {
	t.Helper()
	h, err := Open(dialect.CPP)
	if unavailable := new(gpu.UnavailableError); errors.As(err, &unavailable) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// mistakes are kernels with the mistakes that the emulator finds, and without.
const mistakes = `
struct Params { uint n; };
// Each thread reads what its neighbour wrote: right with a barrier between.
KERNEL(rotate, 64, 1)(BUF(0, float, x), ARG(1, Params, P) GRID_ARGS) {
    const Ctx t = GRID;
    SHARED(float, s, 64);
    s[t.tid] = x[t.tid];
    threadgroup_barrier(mem_flags::mem_threadgroup);
    x[t.tid] = s[(t.tid + 1) % 64];
}
KERNEL(rotate_without_barrier, 64, 1)(BUF(0, float, x), ARG(1, Params, P) GRID_ARGS) {
    const Ctx t = GRID;
    SHARED(float, s, 64);
    s[t.tid] = x[t.tid];
    x[t.tid] = s[(t.tid + 1) % 64];
}
KERNEL(barrier_for_some, 64, 1)(BUF(0, float, x), ARG(1, Params, P) GRID_ARGS) {
    if (GRID.sg == 0) threadgroup_barrier(mem_flags::mem_threadgroup);
}
KERNEL(shuffle_for_some, 32, 1)(BUF(0, float, x), ARG(1, Params, P) GRID_ARGS) {
    if (GRID.lane < 5) x[0] = simd_sum(1.0f);
}
KERNEL(past_the_end, 32, 1)(BUF(0, float, x), ARG(1, Params, P) GRID_ARGS) { x[P.n] = 1; }
KERNEL(too_much_shared, 32, 1)(BUF(0, float, x), ARG(1, Params, P) GRID_ARGS) { SHARED(float, s, 100000); s[GRID.tid] = 1; }
KERNEL(unwritten, 32, 1)(BUF(0, float, x), ARG(1, Params, P) GRID_ARGS) { SHARED(float, s, 32); x[GRID.tid] = s[GRID.tid] + ((threadgroup float*)POOL)[GRID.tid]; }
KERNEL(copied, 32, 1)(BUF(0, float, x), BUF(1, const float, y) GRID_ARGS) {
    const Ctx t = GRID;
    SHARED(float4, s, 32);
    async_copy16(s + t.tid, y + 4 * t.tid, true);
    async_commit();
    async_wait<0>();
    x[t.tid] = s[t.tid].x;
}
KERNEL(copied_too_soon, 32, 1)(BUF(0, float, x), BUF(1, const float, y) GRID_ARGS) {
    const Ctx t = GRID;
    SHARED(float4, s, 32);
    async_copy16(s + t.tid, y + 4 * t.tid, true);
    async_commit();
    x[t.tid] = s[t.tid].x;
    async_wait<0>();
}
KERNEL(endless, 32, 1)(BUF(0, float, x), ARG(1, Params, P) GRID_ARGS) { for (float s = 0; s < 1;) s = simd_sum(0.0f); }
KERNEL(place, 64, 1)(BUF(0, uint, x), ARG(1, Params, P) GRID_ARGS) {
    const Ctx t = GRID;
    const uint group = (t.tg.z * t.ntg.y + t.tg.y) * t.ntg.x + t.tg.x;
    x[group * 64 + t.tid] = group * 64 + t.sg * 32 + t.lane;
}
`

type bench struct {
	*testing.T
	h   *Host
	lib gpu.Library
	q   gpu.Queue
}

func newBench(t *testing.T) *bench {
	h := open(t)
	lib, err := h.Compile(dialect.Unit{Name: "mistakes", Files: []dialect.File{{Name: "mistakes.metal", Text: mistakes}}})
	if err != nil {
		t.Fatal(err)
	}
	q, err := h.NewQueue()
	if err != nil {
		t.Fatal(err)
	}
	return &bench{t, h, lib, q}
}

func (b *bench) alloc(n int64) gpu.Buffer {
	b.Helper()
	m, err := b.h.Alloc(n, gpu.Local)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { m.Free() })
	return m
}

type params struct{ n uint32 }

// try runs a kernel over one group.
func try[P any](b *bench, name string, g gpu.Grid, buffers []gpu.Range, value P) error {
	b.Helper()
	k, err := b.lib.Kernel(name)
	if err != nil {
		b.Fatal(err)
	}
	gpu.Launch(b.q, k, g, buffers, value)
	return b.q.Wait(time.Now().Add(limit))
}

func grid(threads int) gpu.Grid { return gpu.Grid{X: 1, Y: 1, Z: 1, Threads: threads} }

func floats(b gpu.Buffer) []float32 {
	out := make([]float32, b.Len()/4)
	for i := range out {
		out[i] = math.Float32frombits(binary.LittleEndian.Uint32(b.Bytes()[4*i:]))
	}
	return out
}

func numbers(b gpu.Buffer) {
	for i := range b.Len() / 4 {
		binary.LittleEndian.PutUint32(b.Bytes()[4*i:], math.Float32bits(float32(i)))
	}
}

// orders are what kernels are run in: forward, backward, and shuffled.
var orders = []uint32{0, 1, 2, 3}

func TestABarrierMakesTheOrderOfThreadsIrrelevant(t *testing.T) {
	b := newBench(t)
	p := params{}
	for _, order := range orders {
		b.h.SetOrder(order)
		x := b.alloc(256)
		numbers(x)
		if err := try(b, "rotate", grid(64), gpu.Buffers(gpu.Range{Buffer: x}), p); err != nil {
			t.Fatal(err)
		}
		for i, v := range floats(x) {
			if v != float32((i+1)%64) {
				t.Fatalf("order %d: element %d is %v", order, i, v)
			}
		}
	}
}

func TestAMissingBarrierShows(t *testing.T) {
	b := newBench(t)
	p, wrong := params{}, 0
	for _, order := range orders {
		b.h.SetOrder(order)
		x := b.alloc(256)
		numbers(x)
		if err := try(b, "rotate_without_barrier", grid(64), gpu.Buffers(gpu.Range{Buffer: x}), p); err != nil {
			t.Fatal(err)
		}
		for i, v := range floats(x) {
			if v != float32((i+1)%64) {
				wrong++
				break
			}
		}
	}
	if wrong == 0 {
		t.Error("the results are right in every order")
	}
}

func TestMistakesEndTheLaunchWithTheirPlace(t *testing.T) {
	b := newBench(t)
	p := params{n: 64}
	x := b.alloc(256)
	for _, c := range []struct {
		kernel  string
		threads int
		want    string
	}{
		{"barrier_for_some", 64, "some threads of a group are at a barrier"},
		{"shuffle_for_some", 32, "different operations"},
		{"past_the_end", 32, "256 bytes past the begin of a buffer of 256"},
		{"too_much_shared", 32, "threadgroup memory of 400000 bytes"},
	} {
		err := try(b, c.kernel, grid(c.threads), gpu.Buffers(gpu.Range{Buffer: x}), p)
		if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), c.kernel) || !strings.Contains(err.Error(), "group (0, 0, 0)") {
			t.Errorf("%s: %v", c.kernel, err)
		}
	}
	if err := try(b, "rotate", grid(64), gpu.Buffers(gpu.Range{Buffer: x}), p); err != nil {
		t.Errorf("after the mistakes: %v", err)
	}
}

func TestMemoryThatWasNotWrittenIsNaN(t *testing.T) {
	b := newBench(t)
	p := params{}
	x := b.alloc(128)
	for i, v := range floats(x) {
		if v == v {
			t.Fatalf("element %d of a new buffer is %v", i, v)
		}
	}
	clear(x.Bytes())
	g := grid(32)
	g.Pool = 128
	if err := try(b, "unwritten", g, gpu.Buffers(gpu.Range{Buffer: x}), p); err != nil {
		t.Fatal(err)
	}
	for i, v := range floats(x) {
		if v == v {
			t.Fatalf("element %d of threadgroup memory is %v", i, v)
		}
	}
}

func TestAsynchronousCopiesAreMadeWhenTheyAreWaitedFor(t *testing.T) {
	b := newBench(t)
	y := b.alloc(512)
	numbers(y)
	for _, c := range []struct {
		kernel string
		right  bool
	}{{"copied", true}, {"copied_too_soon", false}} {
		x := b.alloc(128)
		if err := try(b, c.kernel, grid(32), gpu.Buffers(gpu.Range{Buffer: x}, gpu.Range{Buffer: y}), struct{}{}); err != nil {
			t.Fatal(err)
		}
		if v := floats(x)[5]; (v == 20) != c.right {
			t.Errorf("%s: element 5 is %v", c.kernel, v)
		}
	}
}

func TestAnEndlessKernelEndsAtTheDeadline(t *testing.T) {
	b := newBench(t)
	k, err := b.lib.Kernel("endless")
	if err != nil {
		t.Fatal(err)
	}
	p := params{}
	gpu.Launch(b.q, k, grid(32), gpu.Buffers(gpu.Range{Buffer: b.alloc(128)}), p)
	late := new(gpu.TimeoutError)
	if err := b.q.Wait(time.Now().Add(50 * time.Millisecond)); !errors.As(err, &late) {
		t.Errorf("the error is %v", err)
	}
}

func TestEveryThreadOfEveryGroupRuns(t *testing.T) {
	b := newBench(t)
	p := params{}
	g := gpu.Grid{X: 3, Y: 4, Z: 5, Threads: 64}
	x := b.alloc(3 * 4 * 5 * 64 * 4)
	if err := try(b, "place", g, gpu.Buffers(gpu.Range{Buffer: x}), p); err != nil {
		t.Fatal(err)
	}
	for i := range x.Len() / 4 {
		if got := binary.LittleEndian.Uint32(x.Bytes()[4*i:]); got != uint32(i) {
			t.Fatalf("thread %d wrote %d", i, got)
		}
	}
}

func TestBadLaunchesAndCopiesAreErrors(t *testing.T) {
	b := newBench(t)
	k, err := b.lib.Kernel("rotate")
	if err != nil {
		t.Fatal(err)
	}
	x, freed := b.alloc(256), b.alloc(256)
	freed.Free()
	p := params{}
	for what, record := range map[string]func(){
		"no groups":             func() { gpu.Launch(b.q, k, gpu.Grid{Threads: 64}, gpu.Buffers(gpu.Range{Buffer: x}), p) },
		"half a simdgroup":      func() { gpu.Launch(b.q, k, grid(48), gpu.Buffers(gpu.Range{Buffer: x}), p) },
		"a buffer that is gone": func() { gpu.Launch(b.q, k, grid(64), gpu.Buffers(gpu.Range{Buffer: freed}), p) },
		"an empty argument":     func() { gpu.Launch(b.q, k, grid(64), gpu.Buffers(gpu.Range{}), p) },
		"a write past the end":  func() { b.q.Write(gpu.Range{Buffer: x, Offset: 250}, make([]byte, 8)) },
		"a read before it":      func() { b.q.Read(make([]byte, 8), gpu.Range{Buffer: x, Offset: -8}) },
		"a copy of too much":    func() { b.q.Copy(gpu.Range{Buffer: x}, gpu.Range{Buffer: x}, 300) },
	} {
		record()
		if err := b.q.Wait(time.Now().Add(limit)); err == nil {
			t.Errorf("%s is accepted", what)
		}
	}
	if _, err := b.lib.Kernel("no_such_kernel"); err == nil {
		t.Error("a kernel that does not exist is found")
	}
}

func TestACompilersMessageNamesTheKernelsLine(t *testing.T) {
	h := open(t)
	_, err := h.Compile(dialect.Unit{Name: "wrong", Files: []dialect.File{{Name: "wrong.metal", Text: "\n\nFN void f() { nonsense; }"}}})
	failed := new(gpu.CompileError)
	if !errors.As(err, &failed) || !strings.Contains(failed.Log, "wrong.metal:3:") {
		t.Errorf("the error is %v", err)
	}
}

func TestWithoutACompilerTheErrorSaysSo(t *testing.T) {
	t.Setenv("CXX", "no-such-compiler")
	_, err := Open(dialect.CPP)
	if unavailable := new(gpu.UnavailableError); !errors.As(err, &unavailable) || !strings.Contains(err.Error(), "no-such-compiler") {
		t.Errorf("the error is %v", err)
	}
}
