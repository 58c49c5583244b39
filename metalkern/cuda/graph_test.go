//go:build linux

package cuda

import (
	"encoding/binary"
	"testing"
	"time"

	"github.com/orrery-ai/orrery/metalkern/dialect"
	"github.com/orrery-ai/orrery/metalkern/gpu"
)

const addUp = `
struct Params { uint n, by; };
KERNEL(add, 64, 1)(BUF(0, uint, x), ARG(1, Params, P) GRID_ARGS) {
    const Ctx t = GRID;
    const uint i = t.tg.x * 64 + t.tid;
    if (i < P.n) x[i] = x[i] * 3 + P.by;
}`

// TestGraphsTakeTheArgumentsAndGridsOfEachRound repeats launches, which become a graph, with other values and grids, and then with another buffer.
func TestGraphsTakeTheArgumentsAndGridsOfEachRound(t *testing.T) {
	h := open(t)
	lib, err := h.Compile(dialect.Unit{Name: "add", Files: []dialect.File{{Name: "add.metal", Text: addUp}}})
	if err != nil {
		t.Fatal(err)
	}
	k, err := lib.Kernel("add")
	if err != nil {
		t.Fatal(err)
	}
	q, err := h.NewQueue()
	if err != nil {
		t.Fatal(err)
	}
	defer q.Close()
	const n = 100
	for round := range 6 {
		x, err := h.Alloc(4*n, gpu.Local)
		if err != nil {
			t.Fatal(err)
		}
		for again := range 4 {
			q.Write(gpu.Range{Buffer: x}, make([]byte, 4*n))
			launches, want := mostRecorded+leastGraph+round, [2]uint32{} // of the elements of each group
			for i := range launches {
				p := struct{ n, by uint32 }{n, uint32(i * (again + 1) / 7)}
				groups := 1 + (i+again)%len(want)
				gpu.Launch(q, k, gpu.Grid{X: groups, Y: 1, Z: 1, Threads: 64}, gpu.Buffers(gpu.Range{Buffer: x}), p)
				for j := range groups {
					want[j] = want[j]*3 + p.by
				}
			}
			got := make([]byte, 4*n)
			q.Read(got, gpu.Range{Buffer: x})
			if err := q.Wait(time.Now().Add(time.Minute)); err != nil {
				t.Fatal(err)
			}
			for i := range n {
				if v := binary.LittleEndian.Uint32(got[4*i:]); v != want[i/64] {
					t.Fatalf("round %d, %d: element %d is %d, not %d", round, again, i, v, want[i/64])
				}
			}
		}
		if err := x.Free(); err != nil {
			t.Error(err)
		}
	}
	if len(q.(*exchanger).graphs.all) == 0 {
		t.Error("no graph was made")
	}
}
