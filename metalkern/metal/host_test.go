//go:build darwin && arm64

package metal

import (
	"encoding/binary"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/orrery-ai/orrery/device"
	"github.com/orrery-ai/orrery/metalkern/dialect"
	"github.com/orrery-ai/orrery/metalkern/gpu"
	"github.com/orrery-ai/orrery/metalkern/internal/gated"
	"github.com/orrery-ai/orrery/metalkern/kernels"
)

// limit is the longest that a test's launches may take.
const limit = time.Minute

// opened is what a function opens, or the test is skipped.
func opened(t *testing.T, open func() (*Host, error)) *Host {
	t.Helper()
	h, err := open()
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

// Virtual machines have a device, too, whose family is too old to run all kernels. It compiles them.
func TestAllKernelsCompileOnAnyDevice(t *testing.T) {
	for _, way := range []string{"safe", "fast"} {
		t.Run(way, func(t *testing.T) {
			t.Setenv(synchVariable, way)
			if way == "fast" && load() == nil && !atLeast(fastSystem) {
				t.Skip("macOS 15 is needed")
			}
			h := opened(t, find)
			for _, u := range append(kernels.Units(), gated.Unit()) {
				t.Run(u.Name, func(t *testing.T) {
					if _, err := h.Compile(u); err != nil {
						t.Error(err)
					}
				})
			}
		})
	}
}

func TestACompilersMessagesNameTheKernelsLine(t *testing.T) {
	h := opened(t, find)
	_, err := h.Compile(dialect.Unit{Name: "wrong", Files: []dialect.File{{Name: "wrong.metal", Text: "\n\nFN void f() { nonsense; }"}}})
	failed := new(gpu.CompileError)
	if !errors.As(err, &failed) {
		t.Fatal(err)
	}
	if want := "wrong.metal:3"; !strings.Contains(failed.Log, want) {
		t.Errorf("the log does not name %s:\n%s", want, failed.Log)
	}
}

func TestAWayToWaitThatDoesNotExistIsAnError(t *testing.T) {
	t.Setenv(synchVariable, "quick")
	h, err := find()
	if unavailable := new(gpu.UnavailableError); errors.As(err, &unavailable) {
		t.Skip(err)
	}
	if err == nil {
		h.Close()
		t.Error("it is accepted")
	}
}

const double = `
struct Params { uint n; };
KERNEL(twice, 64, 1)(BUF(0, uint, x), BUF(1, const uint, y), ARG(2, Params, P) GRID_ARGS) {
    const Ctx t = GRID;
    const uint i = t.tg.x * 64 + t.tid;
    if (i < P.n) x[i] = 2 * y[i];
}`

// bench is a queue and a kernel.
type bench struct {
	host  *Host
	queue gpu.Exchanger
	twice gpu.Kernel
}

func newBench(t *testing.T) *bench {
	h := opened(t, Open)
	library, err := h.Compile(dialect.Unit{Name: "twice", Files: []dialect.File{{Name: "twice.metal", Text: double}}})
	if err != nil {
		t.Fatal(err)
	}
	k, err := library.Kernel("twice")
	if err != nil {
		t.Fatal(err)
	}
	q, err := h.NewQueue()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := q.Close(); err != nil {
			t.Error(err)
		}
	})
	return &bench{h, q.(gpu.Exchanger), k}
}

func (b *bench) launch(x, y gpu.Range, n int) {
	p := struct{ n uint32 }{uint32(n)}
	gpu.Launch(b.queue, b.twice, gpu.Grid{X: (n + 63) / 64, Y: 1, Z: 1, Threads: 64}, gpu.Buffers(x, y), p)
}

func TestAQueueRunsInOrder(t *testing.T) {
	b := newBench(t)
	const n = 1000
	x, err := b.host.Alloc(4*n, gpu.Local)
	if err != nil {
		t.Fatal(err)
	}
	defer x.Free()
	data, got := make([]byte, 4*n), make([]byte, 4*n)
	for i := range n {
		binary.LittleEndian.PutUint32(data[4*i:], uint32(i))
	}
	b.queue.Write(gpu.Range{Buffer: x}, data)
	start := b.queue.Mark()
	for range 300 { // more than one batch: it doubles until nothing is left, but for the last element
		b.launch(gpu.Range{Buffer: x}, gpu.Range{Buffer: x}, n-1)
	}
	b.queue.Write(gpu.Range{Buffer: x}, data)
	for range 3 {
		b.launch(gpu.Range{Buffer: x}, gpu.Range{Buffer: x}, n-1)
	}
	end := b.queue.Mark()
	b.queue.Read(got, gpu.Range{Buffer: x})
	if err := b.queue.Wait(time.Now().Add(limit)); err != nil {
		t.Fatal(err)
	}
	if d, err := b.queue.Elapsed(start, end); err != nil || d <= 0 {
		t.Errorf("the launches took %v, %v", d, err)
	}
	for i := range n {
		want := uint32(8 * i)
		if i == n-1 {
			want = uint32(i)
		}
		if v := binary.LittleEndian.Uint32(got[4*i:]); v != want {
			t.Fatalf("element %d is %d, not %d", i, v, want)
		}
	}
}

func TestLaunchesReadAMappedFileWhereItLies(t *testing.T) {
	b := newBench(t)
	const n, at = 10000, 4096 + 64
	data := make([]byte, at+4*n)
	for i := range n {
		binary.LittleEndian.PutUint32(data[at+4*i:], uint32(i))
	}
	path := t.TempDir() + "/weights"
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	mapped, err := unix.Mmap(int(f.Fd()), 0, len(data), unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Munmap(mapped)
	y, err := b.host.Adopt(mapped[at:])
	if err != nil {
		t.Fatal(err)
	}
	defer y.Buffer.Free()
	x, err := b.host.Alloc(4*n, gpu.Local)
	if err != nil {
		t.Fatal(err)
	}
	defer x.Free()
	b.launch(gpu.Range{Buffer: x}, y, n)
	if err := b.queue.Wait(time.Now().Add(limit)); err != nil {
		t.Fatal(err)
	}
	for i := range n {
		if v := binary.LittleEndian.Uint32(x.Bytes()[4*i:]); v != uint32(2*i) {
			t.Fatalf("element %d is %d, not %d", i, v, 2*i)
		}
	}
	if _, err := b.host.Adopt(nil); err == nil {
		t.Error("no bytes are adopted")
	}
}

// step doubles what comes on one lane into the other.
func step(t *testing.T, b *bench, in, out *device.Lane, seq uint32, n int) {
	t.Helper()
	b.queue.Await(in, seq, 4*n)
	b.queue.Await(out, seq, 0)
	from, err := b.queue.Slot(in, seq)
	if err != nil {
		t.Fatal(err)
	}
	to, err := b.queue.Slot(out, seq)
	if err != nil {
		t.Fatal(err)
	}
	b.launch(to, from, n)
	b.queue.Signal(in, seq, 0)
	b.queue.Signal(out, seq, 4*n)
}

func TestMessagesReachTheGPUAndComeFromIt(t *testing.T) {
	for _, way := range []string{"safe", "fast"} {
		t.Run(way, func(t *testing.T) {
			t.Setenv(synchVariable, way)
			if way == "fast" && load() == nil && !atLeast(fastSystem) {
				t.Skip("macOS 15 is needed")
			}
			b := newBench(t)
			const n, rounds = 3000, 200
			in, err := b.queue.NewLane(device.LaneEnd{Size: 4 * n, Spin: true})
			if err != nil {
				t.Fatal(err)
			}
			out, err := b.queue.NewLane(device.LaneEnd{Size: 4 * n, Out: true, Spin: true})
			if err != nil {
				t.Fatal(err)
			}
			done := make(chan int, 1)
			go func() { // the neighbour
				wrong := 0
				for seq := range uint32(rounds) {
					for i := range n {
						binary.LittleEndian.PutUint32(in.Slots[seq%2][4*i:], seq+uint32(i))
					}
					in.Words.Bytes[seq%2].Store(4 * n)
					in.SetReady(seq + 1)
					for out.Words.Done.Load() != seq+1 {
						select {
						case <-out.Signals():
						case <-time.After(limit):
							done <- -1
							return
						}
					}
					for i := range n {
						if binary.LittleEndian.Uint32(out.Slots[seq%2][4*i:]) != 2*(seq+uint32(i)) {
							wrong++
						}
					}
					out.SetReady(seq + 1)
				}
				done <- wrong
			}()
			for seq := uint32(0); seq < rounds; seq += 10 {
				for i := range uint32(10) {
					step(t, b, in, out, seq+i, n)
				}
				if err := b.queue.Wait(time.Now().Add(limit)); err != nil {
					t.Fatal(err)
				}
			}
			if wrong := <-done; wrong != 0 {
				t.Errorf("%d words are wrong", wrong)
			}
			// Nothing comes any more: the step ends at its deadline, and nothing is computed.
			step(t, b, in, out, rounds, n)
			if err := b.queue.Wait(time.Now().Add(time.Second)); !errors.As(err, new(*gpu.TimeoutError)) {
				t.Errorf("without a message: %v", err)
			}
			if d := out.Words.Done.Load(); d != rounds {
				t.Errorf("%d messages are signalled, not %d", d, rounds)
			}
		})
	}
}
