package cuda

import (
	"encoding/binary"
	"errors"
	"testing"
	"time"

	"github.com/orrery-ai/orrery/metalkern/dialect"
	"github.com/orrery-ai/orrery/metalkern/gpu"
)

// open is the first GPU, or the test is skipped.
func open(t *testing.T) *Host {
	t.Helper()
	h, err := Open(0)
	if unavailable := new(gpu.UnavailableError); errors.As(err, &unavailable) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := h.Close(); err != nil {
			t.Error(err)
		}
	})
	return h
}

func TestWithoutAGPUTheErrorSaysWhatIsMissing(t *testing.T) {
	n, err := Devices()
	if err == nil {
		if _, err := Open(n); err == nil {
			t.Errorf("GPU %d of %d is opened", n, n)
		}
		return
	}
	unavailable := new(gpu.UnavailableError)
	if !errors.As(err, &unavailable) || unavailable.Reason == "" {
		t.Errorf("the error is %v", err)
	}
}

const double = `
struct Params { uint n; };
KERNEL(twice, 64, 1)(BUF(0, uint, x), ARG(1, Params, P) GRID_ARGS) {
    const Ctx t = GRID;
    const uint i = t.tg.x * 64 + t.tid;
    if (i < P.n) x[i] *= 2;
}`

func TestAQueueRunsInOrderInBothKindsOfMemory(t *testing.T) {
	h := open(t)
	lib, err := h.Compile(dialect.Unit{Name: "twice", Files: []dialect.File{{Name: "twice.metal", Text: double}}})
	if err != nil {
		t.Fatal(err)
	}
	k, err := lib.Kernel("twice")
	if err != nil {
		t.Fatal(err)
	}
	q, err := h.NewQueue()
	if err != nil {
		t.Fatal(err)
	}
	defer q.Close()
	const n = 1000
	data, got := make([]byte, 4*n), make([]byte, 4*n)
	for i := range n {
		binary.LittleEndian.PutUint32(data[4*i:], uint32(i))
	}
	for _, m := range []gpu.Memory{gpu.Local, gpu.Mapped} {
		x, err := h.Alloc(4*n, m)
		if err != nil {
			t.Fatal(err)
		}
		if (x.Bytes() != nil) != (m == gpu.Mapped) {
			t.Errorf("memory %d: the host can address it: %v", m, x.Bytes() != nil)
		}
		p := struct{ n uint32 }{n - 1}
		q.Write(gpu.Range{Buffer: x}, data)
		start := q.Mark()
		for range 3 {
			gpu.Launch(q, k, gpu.Grid{X: 16, Y: 1, Z: 1, Threads: 64}, gpu.Buffers(gpu.Range{Buffer: x}), p)
		}
		end := q.Mark()
		q.Read(got, gpu.Range{Buffer: x})
		if err := q.Wait(time.Now().Add(time.Minute)); err != nil {
			t.Fatal(err)
		}
		if d, err := q.Elapsed(start, end); err != nil || d <= 0 {
			t.Errorf("three launches took %v, %v", d, err)
		}
		for i := range n {
			want := uint32(8 * i)
			if i == n-1 {
				want = uint32(i)
			}
			if v := binary.LittleEndian.Uint32(got[4*i:]); v != want {
				t.Fatalf("memory %d: element %d is %d, not %d", m, i, v, want)
			}
		}
		if err := x.Free(); err != nil {
			t.Error(err)
		}
	}
}

func TestBadCopiesAreErrors(t *testing.T) {
	h := open(t)
	q, err := h.NewQueue()
	if err != nil {
		t.Fatal(err)
	}
	defer q.Close()
	x, err := h.Alloc(64, gpu.Local)
	if err != nil {
		t.Fatal(err)
	}
	defer x.Free()
	q.Write(gpu.Range{Buffer: x, Offset: 60}, make([]byte, 8))
	if err := q.Wait(time.Now().Add(time.Minute)); err == nil {
		t.Error("a write past the end is accepted")
	}
}
