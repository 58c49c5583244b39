//go:build linux

package cuda

import (
	"encoding/binary"
	"errors"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/orrery-ai/orrery/device"
	"github.com/orrery-ai/orrery/metalkern/dialect"
	"github.com/orrery-ai/orrery/metalkern/gpu"
)

// twice is memory that is mapped twice, as two processes have it.
func twice(t *testing.T, n int) (a, b []byte) {
	t.Helper()
	fd, err := unix.MemfdCreate("test", unix.MFD_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if err := unix.Ftruncate(fd, int64(n)); err != nil {
		t.Fatal(err)
	}
	for _, at := range []*[]byte{&a, &b} {
		if *at, err = unix.Mmap(fd, 0, n, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { unix.Munmap(*at) })
	}
	return a, b
}

// talker is one of two GPUs that exchange: its queue, and its ends of the lanes to the other and back.
type talker struct {
	host    *Host
	queue   gpu.Exchanger
	in, out *device.Lane
	kernel  gpu.Kernel
	x       gpu.Buffer // what comes, and is multiplied and sent on
	runs    gpu.Buffer
}

func newTalker(t *testing.T, number int, in, out []byte) *talker {
	t.Helper()
	h, err := Open(number)
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
		h.Close()
	})
	k := &talker{host: h, queue: q.(gpu.Exchanger)}
	lib, err := h.Compile(dialect.Unit{Name: "scale", Files: []dialect.File{{Name: "scale.metal", Text: scale}}})
	if err != nil {
		t.Fatal(err)
	}
	if k.kernel, err = lib.Kernel("scale"); err != nil {
		t.Fatal(err)
	}
	for n, at := range map[int64]*gpu.Buffer{4: &k.runs, 4 * messageWords: &k.x} {
		if *at, err = h.Alloc(n, gpu.Local); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { (*at).Free() })
	}
	end := device.LaneEnd{Size: 4 * messageWords, Spin: true, Memory: in}
	if k.in, err = k.queue.NewLane(end); err == nil {
		end.Out, end.Memory = true, out
		k.out, err = k.queue.NewLane(end)
	}
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// all is the whole of x.
func (k *talker) all() gpu.Part {
	return gpu.Part{At: gpu.Range{Buffer: k.x}, Bytes: 4 * messageWords}
}

// multiply multiplies x.
func (k *talker) multiply(by uint32) {
	p := struct{ n, by uint32 }{messageWords, by}
	gpu.Launch(k.queue, k.kernel, gpu.Grid{X: (messageWords + 63) / 64, Y: 1, Z: 1, Threads: 64}, gpu.Buffers(gpu.Range{Buffer: k.x}, gpu.Range{Buffer: k.x}, gpu.Range{Buffer: k.runs}), p)
}

// factor is what x is multiplied by after message seq.
func factor(seq uint32) uint32 { return 2*seq + 3 }

// converse has two GPUs pass a message to and fro, which each multiplies, all of it recorded before any of it runs, and gives the time that each took.
func converse(t *testing.T, a, b *talker, first, end uint32) time.Duration {
	t.Helper()
	start := time.Now()
	failed := make(chan error, 1)
	go func() {
		for seq := first; seq < end; seq++ {
			b.queue.Await(b.out, seq, 0)
			b.queue.Receive(b.in, seq, b.all())
			b.multiply(factor(seq))
			b.queue.Send(b.out, seq, b.all())
		}
		failed <- b.queue.Wait(time.Now().Add(time.Minute))
	}()
	for seq := first; seq < end; seq++ {
		a.queue.Send(a.out, seq, a.all())
		a.queue.Await(a.out, seq+1, 0)
		a.queue.Receive(a.in, seq, a.all())
		a.multiply(factor(seq))
	}
	if err := errors.Join(a.queue.Wait(time.Now().Add(time.Minute)), <-failed); err != nil {
		t.Fatal(err)
	}
	return time.Since(start) / time.Duration(end-first)
}

// Neither host has anything to do with what the GPUs say to each other.
func TestGPUsExchangeThroughMemoryThatTwoProcessesShare(t *testing.T) {
	h := open(t)
	n, err := Devices()
	if err != nil {
		t.Fatal(err)
	}
	if err := h.Close(); err != nil {
		t.Fatal(err)
	}
	size := device.LaneBytes(4 * messageWords)
	there, here := twice(t, size)
	back, home := twice(t, size)
	a, b := newTalker(t, 0, back, there), newTalker(t, min(1, n-1), here, home)
	data := make([]byte, 4*messageWords)
	for i := range messageWords {
		binary.LittleEndian.PutUint32(data[4*i:], uint32(i)*2654435761)
	}
	a.queue.Write(gpu.Range{Buffer: a.x}, data)
	if err := a.queue.Wait(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	const each = 200
	for round := range uint32(5) {
		took := converse(t, a, b, round*each, (round+1)*each)
		t.Logf("%.1f µs for a message of %d bytes and its answer, on %d GPUs", float64(took.Nanoseconds())/1e3, 4*messageWords, n)
	}
	by := uint32(1)
	for seq := range uint32(5 * each) {
		by *= factor(seq) * factor(seq)
	}
	got := make([]byte, 4*messageWords)
	a.queue.Read(got, gpu.Range{Buffer: a.x})
	if err := a.queue.Wait(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	for i := range messageWords {
		if v, want := binary.LittleEndian.Uint32(got[4*i:]), by*uint32(i)*2654435761; v != want {
			t.Fatalf("element %d is %d, want %d: it was multiplied other than once by each GPU for each message", i, v, want)
		}
	}
	// One end fails while the other waits for what does not come.
	cause := errors.New("the other process has gone")
	next := uint32(5 * each)
	a.queue.Receive(a.in, next, gpu.Part{At: gpu.Range{Buffer: a.x}, Bytes: 4 * messageWords})
	fail := time.AfterFunc(20*time.Millisecond, func() { a.in.Fail(cause) })
	defer fail.Stop()
	if err := a.queue.Wait(time.Now().Add(time.Minute)); !errors.Is(err, cause) {
		t.Errorf("the error is %v", err)
	}
}
