//go:build linux

package cuda

import (
	"encoding/binary"
	"errors"
	"testing"
	"time"

	"github.com/orrery-ai/orrery/device"
	"github.com/orrery-ai/orrery/metalkern/dialect"
	"github.com/orrery-ai/orrery/metalkern/gpu"
)

const scale = `
struct Params { uint n, by; };
KERNEL(scale, 64, 1)(BUF(0, uint, x), BUF(1, const uint, y), BUF(2, uint, runs), ARG(3, Params, P) GRID_ARGS) {
    const Ctx t = GRID;
    const uint i = t.tg.x * 64 + t.tid;
    if (i < P.n) x[i] = P.by * y[i];
    if (i == 0) runs[0] += 1;
}`

// exchangeBench is a queue whose steps multiply what comes on one lane into another, and count how often.
type exchangeBench struct {
	*testing.T
	host    *Host
	queue   gpu.Exchanger
	kernel  gpu.Kernel
	runs    gpu.Buffer
	in, out *device.Lane

	message, answer gpu.Buffer // of Receive and Send
}

const messageWords = 3000

func newExchangeBench(t *testing.T, spin bool) *exchangeBench {
	h := open(t)
	lib, err := h.Compile(dialect.Unit{Name: "scale", Files: []dialect.File{{Name: "scale.metal", Text: scale}}})
	if err != nil {
		t.Fatal(err)
	}
	b := &exchangeBench{T: t, host: h}
	if b.kernel, err = lib.Kernel("scale"); err != nil {
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
	b.queue = q.(gpu.Exchanger)
	for n, at := range map[int64]*gpu.Buffer{4: &b.runs, 4 * messageWords: &b.message, 4*messageWords + 16: &b.answer} {
		if *at, err = h.Alloc(n, gpu.Local); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { (*at).Free() })
	}
	b.queue.Write(gpu.Range{Buffer: b.runs}, make([]byte, 4))
	if b.in, err = b.queue.NewLane(device.LaneEnd{Size: 4 * messageWords, Spin: spin}); err == nil {
		b.out, err = b.queue.NewLane(device.LaneEnd{Size: 4 * messageWords, Out: true, Spin: spin})
	}
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func (b *exchangeBench) launch(to, from gpu.Range, by uint32) {
	p := struct{ n, by uint32 }{messageWords, by}
	gpu.Launch(b.queue, b.kernel, gpu.Grid{X: (messageWords + 63) / 64, Y: 1, Z: 1, Threads: 64}, gpu.Buffers(to, from, gpu.Range{Buffer: b.runs}), p)
}

// step records the answer to message seq, in one of the two ways.
func (b *exchangeBench) step(seq uint32) {
	b.Helper()
	b.queue.Await(b.out, seq, 0)
	if seq%3 != 0 {
		message, answer := gpu.Range{Buffer: b.message}, gpu.Range{Buffer: b.answer, Offset: 16}
		half := gpu.Range{Buffer: b.message, Offset: 2 * messageWords}
		b.queue.Receive(b.in, seq, gpu.Part{At: message, Bytes: 2 * messageWords}, gpu.Part{At: half, Bytes: 2 * messageWords})
		b.launch(answer, message, 3+seq)
		b.queue.Send(b.out, seq, gpu.Part{At: answer, Bytes: 4 * messageWords})
		return
	}
	b.queue.Await(b.in, seq, 4*messageWords)
	from, err := b.queue.Slot(b.in, seq)
	if err != nil {
		b.Fatal(err)
	}
	to, err := b.queue.Slot(b.out, seq)
	if err != nil {
		b.Fatal(err)
	}
	b.launch(to, from, 3+seq)
	b.queue.Signal(b.in, seq, 0)
	b.queue.Signal(b.out, seq, 4*messageWords)
}

// send puts message seq into its slot.
func (b *exchangeBench) send(seq uint32) {
	for i := range messageWords {
		binary.LittleEndian.PutUint32(b.in.Slots[seq%2][4*i:], seq+uint32(i))
	}
	b.in.Words.Bytes[seq%2].Store(4 * messageWords)
	b.in.SetReady(seq + 1)
}

// converse sends messages one after the other, the next when the answer has come, and returns how many words were wrong.
func (b *exchangeBench) converse(first, end uint32) <-chan int {
	done := make(chan int, 1)
	go func() {
		wrong := 0
		for seq := first; seq < end; seq++ {
			b.send(seq)
			for start := time.Now(); b.out.Words.Done.Load() != seq+1; {
				if time.Since(start) > time.Minute {
					done <- -1
					return
				}
			}
			for i := range messageWords {
				if binary.LittleEndian.Uint32(b.out.Slots[seq%2][4*i:]) != (3+seq)*(seq+uint32(i)) {
					wrong++
				}
			}
			b.out.SetReady(seq + 1)
		}
		done <- wrong
	}()
	return done
}

func (b *exchangeBench) wait(d time.Duration) error { return b.queue.Wait(time.Now().Add(d)) }

// ran is how often the kernel ran.
func (b *exchangeBench) ran() int {
	got := make([]byte, 4)
	b.queue.Read(got, gpu.Range{Buffer: b.runs})
	if err := b.wait(time.Minute); err != nil {
		b.Fatal(err)
	}
	return int(binary.LittleEndian.Uint32(got))
}

func inBothWays(t *testing.T, test func(t *testing.T, b *exchangeBench)) {
	for name, spin := range map[string]bool{"safe": false, "fast": true} {
		t.Run(name, func(t *testing.T) { test(t, newExchangeBench(t, spin)) })
	}
}

func TestStepsRecordedAheadAnswerEachMessageOnce(t *testing.T) {
	inBothWays(t, func(t *testing.T, b *exchangeBench) {
		const steps, each = 40, 20
		done := b.converse(0, steps*each)
		start := time.Now()
		for s := range uint32(steps) {
			for i := range uint32(each) {
				b.step(s*each + i)
			}
			if err := b.wait(time.Minute); err != nil {
				t.Fatal(err)
			}
		}
		t.Logf("%.1f µs for a message and its answer", float64(time.Since(start).Microseconds())/steps/each)
		if wrong := <-done; wrong != 0 {
			t.Errorf("%d words are wrong", wrong)
		}
		if n := b.ran(); n != steps*each {
			t.Errorf("%d messages were answered %d times", steps*each, n)
		}
	})
}

func TestStepsWithMessagesAreRecordedWhileTheOneBeforeRuns(t *testing.T) {
	inBothWays(t, func(t *testing.T, b *exchangeBench) {
		const steps, each = 40, 20
		f := b.queue.(gpu.Fencer)
		done := b.converse(0, steps*each)
		start := time.Now()
		for s := range uint32(steps) {
			for i := range uint32(each) {
				b.step(s*each + i)
			}
			f.Fence()
			if s == 0 {
				continue
			}
			if err := f.Reach(time.Now().Add(time.Minute)); err != nil {
				t.Fatal(err)
			}
			if n := b.out.Words.Done.Load(); n < s*each {
				t.Fatalf("%d messages are signalled before the fence of step %d", n, s)
			}
		}
		if err := f.Reach(time.Now().Add(time.Minute)); err != nil || !f.Reached() {
			t.Fatal(err)
		}
		t.Logf("%.1f µs for a message and its answer", float64(time.Since(start).Microseconds())/steps/each)
		if wrong := <-done; wrong != 0 {
			t.Errorf("%d words are wrong", wrong)
		}
		if n := b.ran(); n != steps*each {
			t.Errorf("%d messages were answered %d times", steps*each, n)
		}
	})
}

func TestNothingRunsBehindAMessageThatNeverComes(t *testing.T) {
	inBothWays(t, func(t *testing.T, b *exchangeBench) {
		b.send(0)
		for seq := range uint32(20) {
			b.step(seq)
		}
		if err := b.wait(300 * time.Millisecond); !errors.As(err, new(*gpu.TimeoutError)) {
			t.Fatalf("the error is %v", err)
		}
		if n, d := b.ran(), b.out.Words.Done.Load(); n != 1 || d != 1 {
			t.Errorf("%d messages were answered, %d signalled; 1 had come", n, d)
		}
		// The queue goes on.
		b.out.SetReady(1)
		done := b.converse(1, 11)
		for seq := uint32(1); seq < 11; seq++ {
			b.step(seq)
		}
		if err := b.wait(time.Minute); err != nil {
			t.Fatal(err)
		}
		if wrong := <-done; wrong != 0 {
			t.Errorf("%d words are wrong", wrong)
		}
		if n := b.ran(); n != 11 {
			t.Errorf("11 messages were answered %d times", n)
		}
	})
}

func TestAStepWhoseMessagesAreLateGoesOnSplit(t *testing.T) {
	inBothWays(t, func(t *testing.T, b *exchangeBench) {
		done := make(chan int, 1)
		go func() {
			time.Sleep(patience + 200*time.Millisecond)
			done <- <-b.converse(0, 10)
		}()
		for seq := range uint32(10) {
			b.step(seq)
		}
		if err := b.wait(time.Minute); err != nil {
			t.Fatal(err)
		}
		if wrong := <-done; wrong != 0 {
			t.Errorf("%d words are wrong", wrong)
		}
		if n := b.ran(); n != 10 {
			t.Errorf("10 messages were answered %d times", n)
		}
	})
}

func TestAFailedLaneEndsTheStepWithItsError(t *testing.T) {
	inBothWays(t, func(t *testing.T, b *exchangeBench) {
		cause := errors.New("the peer is gone")
		b.step(0)
		fail := time.AfterFunc(20*time.Millisecond, func() { b.in.Fail(cause) })
		defer fail.Stop()
		if err := b.wait(time.Minute); !errors.Is(err, cause) {
			t.Fatalf("the error is %v", err)
		}
		if n, d := b.ran(), b.out.Words.Done.Load(); n != 0 || d != 0 {
			t.Errorf("%d messages were answered, %d signalled", n, d)
		}
	})
}

// Where a step's own launches lie before and behind its messages, all run in the order in which they were recorded.
func TestLaunchesBeforeAndBehindMessagesRunInOrder(t *testing.T) {
	inBothWays(t, func(t *testing.T, b *exchangeBench) {
		x, err := b.host.Alloc(4*messageWords, gpu.Local)
		if err != nil {
			t.Fatal(err)
		}
		defer x.Free()
		data, got := make([]byte, 4*messageWords), make([]byte, 4*messageWords)
		for i := range messageWords {
			binary.LittleEndian.PutUint32(data[4*i:], uint32(i))
		}
		times := func(by uint32) { b.launch(gpu.Range{Buffer: x}, gpu.Range{Buffer: x}, by) }
		for round := range uint32(4) {
			done := b.converse(round, round+1)
			b.queue.Write(gpu.Range{Buffer: x}, data)
			times(3)
			b.step(round)
			times(5)
			b.queue.Read(got, gpu.Range{Buffer: x})
			b.queue.Write(gpu.Range{Buffer: x}, data)
			if err := b.wait(time.Minute); err != nil {
				t.Fatal(err)
			}
			if wrong := <-done; wrong != 0 {
				t.Errorf("%d words are wrong", wrong)
			}
			for i := range messageWords {
				if v := binary.LittleEndian.Uint32(got[4*i:]); v != uint32(15*i) {
					t.Fatalf("element %d is %d, not %d", i, v, 15*i)
				}
			}
		}
	})
}
