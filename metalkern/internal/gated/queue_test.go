package gated

import (
	"encoding/binary"
	"errors"
	"flag"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"

	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"github.com/orrery-ai/orrery/device"
	"github.com/orrery-ai/orrery/metalkern/dialect"
	"github.com/orrery-ai/orrery/metalkern/gpu"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// mix is a kernel that must run once for each message: running it twice, or with another message, gives another result.
const mix = `
struct MixParams { uint n, step; };
KERNEL(mix, 32, 1)(BUF(0, uint, sum), BUF(1, const uint, message), BUF(2, uint, out), ARG(3, MixParams, P) GRID_ARGS) {
    const Ctx t = GRID;
    for (uint i = t.lane; i < P.n; i += 32u) { sum[i] = sum[i] * 31u + message[i] + P.step; out[i] = sum[i] ^ 0x5a5a5a5au; }
}`

func mixed(sum, message, step uint32) (uint32, uint32) {
	sum = sum*31 + message + step
	return sum, sum ^ 0x5a5a5a5a
}

// words is how many each message has.
const words = 33

type mixParams struct{ n, step uint32 }

// bench is a queue on a host, with a sum, and the lanes of one neighbour.
type bench struct {
	tb
	device  *hosted
	queue   *Queue
	mix     gpu.Kernel
	sum     gpu.Range
	in, out *device.Lane

	message, answer gpu.Range // of pass
	step            uint32
}

func newBench(t tb, o Options) *bench {
	d := newHosted(t)
	q, err := New(d, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := q.Close(); err != nil {
			t.Error(err)
		}
	})
	library, err := d.Compile(dialect.Unit{Name: "mix", Files: []dialect.File{{Name: "mix.metal", Text: mix}}})
	if err != nil {
		t.Fatal(err)
	}
	k, err := library.Kernel("mix")
	if err != nil {
		t.Fatal(err)
	}
	b := &bench{tb: t, device: d, queue: q, mix: k}
	b.sum, b.message, b.answer = b.buffer(make([]uint32, words)), b.buffer(make([]uint32, words)), b.buffer(make([]uint32, words))
	if b.in, err = q.NewLane(device.LaneEnd{Size: 4 * words, Spin: true}); err == nil {
		b.out, err = q.NewLane(device.LaneEnd{Size: 4 * words, Out: true, Spin: true})
	}
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func (b *bench) buffer(data []uint32) gpu.Range {
	m, err := b.device.Alloc(int64(4*len(data)), gpu.Mapped)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { m.Free() })
	b.queue.Write(gpu.Range{Buffer: m}, bytesOf(data))
	return gpu.Range{Buffer: m}
}

func bytesOf(x []uint32) []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(x))), 4*len(x))
}

// send puts message seq in its slot, each word the same.
func (b *bench) send(seq, value uint32) {
	slot := b.in.Slots[seq%2]
	for i := range words {
		binary.LittleEndian.PutUint32(slot[4*i:], value)
	}
	b.in.Words.Bytes[seq%2].Store(4 * words)
	b.in.SetReady(seq + 1)
}

// exchange records the use of message seq, and the answer to it.
func (b *bench) exchange(seq uint32) {
	b.queue.Await(b.in, seq, 4*words)
	b.queue.Await(b.out, seq, 0)
	in, err := b.queue.Slot(b.in, seq)
	if err != nil {
		b.Fatal(err)
	}
	out, err := b.queue.Slot(b.out, seq)
	if err != nil {
		b.Fatal(err)
	}
	p := mixParams{words, b.step}
	b.step++
	gpu.Launch(b.queue, b.mix, gpu.Grid{X: 1, Y: 1, Z: 1, Threads: 32}, gpu.Buffers(b.sum, in, out), p)
	b.queue.Signal(b.in, seq, 0)
	b.queue.Signal(b.out, seq, 4*words)
}

// pass records the use of message seq by Receive, and the answer to it by Send: the same as exchange.
func (b *bench) pass(seq uint32) {
	half := int64(4 * (words / 2))
	at := func(r gpu.Range, from, n int64) gpu.Part {
		return gpu.Part{At: gpu.Range{Buffer: r.Buffer, Offset: r.Offset + from}, Bytes: n}
	}
	b.queue.Await(b.out, seq, 0)
	b.queue.Receive(b.in, seq, at(b.message, 0, half), at(b.message, half, 4*words-half))
	p := mixParams{words, b.step}
	b.step++
	gpu.Launch(b.queue, b.mix, gpu.Grid{X: 1, Y: 1, Z: 1, Threads: 32}, gpu.Buffers(b.sum, b.message, b.answer), p)
	b.queue.Send(b.out, seq, at(b.answer, 0, 4*words))
}

// read is the sum, recorded.
func (b *bench) read() []uint32 {
	got := make([]uint32, words)
	b.queue.Read(bytesOf(got), b.sum)
	return got
}

func (b *bench) wait(d time.Duration) error { return b.queue.Wait(time.Now().Add(d)) }

func (b *bench) all(got []uint32, want uint32) {
	b.Helper()
	for i, v := range got {
		if v != want {
			b.Fatalf("word %d is %#x, not %#x", i, v, want)
		}
	}
}

// ways are how a queue can wait for messages, with bounds that no test reaches.
var ways = map[string]Options{
	"fast":        {Fast: true, Looks: 1 << 30, Patience: time.Hour},
	"safe":        {Looks: 1 << 30, Patience: time.Hour},
	"fast, halts": {Fast: true, Coherent: true, Halts: true, Looks: 1 << 30, Patience: time.Hour},
	"safe, halts": {Coherent: true, Halts: true, Looks: 1 << 30, Patience: time.Hour},
}

func inBothWays(t *testing.T, test func(t *testing.T, o Options)) {
	for name, o := range ways {
		t.Run(name, func(t *testing.T) { test(t, o) })
	}
}

func TestCopiesAndLaunchesRunInOrderAtAnyAlignment(t *testing.T) {
	b := newBench(t, ways["safe"])
	a, c := make([]byte, 70000), make([]byte, 70000)
	x, y := b.buffer(make([]uint32, 20000)), b.buffer(make([]uint32, 20000))
	r := rand.New(rand.NewPCG(1, 2))
	for range 12 {
		n, from, to := 1+r.IntN(40000), r.IntN(100), r.IntN(100)
		for i := range n {
			a[i] = byte(r.Uint32())
		}
		want, first := append([]byte{}, a[:n]...), make([]byte, n)
		b.queue.Write(gpu.Range{Buffer: x.Buffer, Offset: int64(from)}, a[:n])
		b.queue.Copy(gpu.Range{Buffer: y.Buffer, Offset: int64(to)}, gpu.Range{Buffer: x.Buffer, Offset: int64(from)}, int64(n))
		b.queue.Read(first, gpu.Range{Buffer: x.Buffer, Offset: int64(from)})
		for i := range n {
			c[i] = ^a[i]
		}
		b.queue.Write(gpu.Range{Buffer: x.Buffer, Offset: int64(from)}, c[:n]) // after the read
		second := make([]byte, n)
		b.queue.Read(second, gpu.Range{Buffer: y.Buffer, Offset: int64(to)})
		if err := b.wait(limit); err != nil {
			t.Fatal(err)
		}
		if string(first) != string(want) || string(second) != string(want) {
			t.Fatalf("%d bytes from %d to %d are not what was written", n, from, to)
		}
		if got := x.Buffer.Bytes()[from : from+n]; string(got) != string(c[:n]) {
			t.Fatal("the last write has not come")
		}
	}
}

func TestBadArgumentsAreErrorsOfTheNextWait(t *testing.T) {
	b := newBench(t, ways["fast"])
	other := newBench(t, ways["fast"])
	for what, record := range map[string]func(){
		"no groups":        func() { gpu.Launch(b.queue, b.mix, gpu.Grid{Threads: 32}, nil, mixParams{}) },
		"half a simdgroup": func() { gpu.Launch(b.queue, b.mix, gpu.Grid{X: 1, Y: 1, Z: 1, Threads: 16}, nil, mixParams{}) },
		"an empty argument": func() {
			gpu.Launch(b.queue, b.mix, gpu.Grid{X: 1, Y: 1, Z: 1, Threads: 32}, gpu.Buffers(gpu.Range{}), mixParams{})
		},
		"a write past the end":  func() { b.queue.Write(gpu.Range{Buffer: b.sum.Buffer, Offset: 4 * words}, []byte{1}) },
		"a read before it":      func() { b.queue.Read(make([]byte, 4), gpu.Range{Buffer: b.sum.Buffer, Offset: -4}) },
		"a copy of too much":    func() { b.queue.Copy(b.sum, b.sum, 1000) },
		"another queue's lane":  func() { b.queue.Await(other.in, 0, 0) },
		"a message that is big": func() { b.queue.Signal(b.out, 0, 1000) },
		"no parts":              func() { b.queue.Receive(b.in, 0) },
		"half a word":           func() { b.queue.Receive(b.in, 0, gpu.Part{At: b.sum, Bytes: 6}) },
		"a part past the end":   func() { b.queue.Send(b.out, 0, gpu.Part{At: b.sum, Bytes: 4*words + 4}) },
		"a part that is big":    func() { b.queue.Send(b.out, 0, gpu.Part{At: gpu.Range{Buffer: b.queue.control}, Bytes: controlBytes}) },
	} {
		record()
		if err := b.wait(limit); err == nil {
			t.Errorf("%s is accepted", what)
		}
		if err := b.wait(limit); err != nil {
			t.Errorf("after %s: %v", what, err)
		}
	}
	if _, err := b.queue.Slot(other.in, 0); err == nil {
		t.Error("another queue's lane has a slot")
	}
	if _, err := b.queue.NewLane(device.LaneEnd{Spin: true}); err == nil {
		t.Error("a lane for messages of no bytes is made")
	}
}

func TestAStepIsGivenUpWhenItHasWaitedAndNothingWasSignalled(t *testing.T) {
	begin := time.Unix(1000, 0)
	at := func(ms int) time.Time { return begin.Add(time.Duration(ms) * time.Millisecond) }
	for _, c := range []struct {
		moved, now int // ms after the step began to wait
		want       bool
	}{{-5000, 0, true}, {-5000, 100, true}, {-5000, 101, false}, {0, 101, false}, {50, 101, true}, {50, 150, true}, {50, 151, false}, {900, 1000, true}} {
		q := &Queue{options: Options{Patience: 100 * time.Millisecond}}
		q.moved.Store(at(c.moved).UnixNano())
		if got := q.patient(begin, at(c.now)); got != c.want {
			t.Errorf("%d ms after it began to wait, and last moved after %d ms: patient is %v", c.now, c.moved, got)
		}
	}
}

func TestAFailureToSubmitIsTheNextWaitsError(t *testing.T) {
	b := newBench(t, ways["safe"])
	b.device.refuse = errors.New("refused")
	b.exchange(0)
	if err := b.wait(limit); err != b.device.refuse {
		t.Fatal(err)
	}
	b.device.refuse = nil
}

func TestMarksSpanWhatRanBetweenThem(t *testing.T) {
	b := newBench(t, ways["fast"])
	start := b.queue.Mark()
	for range 3 * batchLaunches {
		b.queue.Copy(b.sum, b.queue.order[0].slot(0), 8)
	}
	middle := b.queue.Mark()
	same := b.queue.Mark()
	b.queue.Copy(b.sum, b.queue.order[0].slot(0), 8)
	end := b.queue.Mark()
	if err := b.wait(limit); err != nil {
		t.Fatal(err)
	}
	elapsed := func(from, to int) time.Duration {
		d, err := b.queue.Elapsed(from, to)
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	whole, first, second := elapsed(start, end), elapsed(start, middle), elapsed(same, end)
	if first <= 0 || second <= 0 || whole < first+second || elapsed(middle, same) != 0 {
		t.Errorf("the whole took %v, its parts %v and %v, and what lies between two marks after one another %v", whole, first, second, elapsed(middle, same))
	}
	b.queue.ResetMarks()
	if _, err := b.queue.Elapsed(0, 0); err == nil {
		t.Error("a mark is still there")
	}
}

// gateRun runs the gate alone, and returns why it poisoned the step, and how many of four sizes it left.
func gateRun(t *testing.T, prepare func(w *device.LaneWords, c *control)) (why, place uint32, left int) {
	b := newBench(t, ways["fast"])
	grids := b.buffer([]uint32{1, 2, 3, 4})
	l := b.queue.lanes[b.in]
	prepare(&l.Words, b.queue.words)
	p := gateParams{waits: 1, ready: device.WordSent, want: 5, looks: 1000, place: 7, grids: 1}
	done, err := b.device.Submit([]Step{{Call: call(new(arena), b.queue.kernels.gate, oneGroup(gpu.SimdWidth),
		gpu.Buffers(gpu.Range{Buffer: l.buffer}, gpu.Range{Buffer: l.own}, gpu.Range{Buffer: b.queue.control}, grids), p)}})
	if err != nil {
		t.Fatal(err)
	}
	for {
		ended, err := done.Done()
		if err != nil {
			t.Fatal(err)
		}
		if ended {
			break
		}
		time.Sleep(time.Millisecond)
	}
	for i := range 4 {
		if binary.LittleEndian.Uint32(grids.Buffer.Bytes()[4*i:]) != 0 {
			left++
		}
	}
	defer func() { *b.queue.words = control{} }()
	return b.queue.words.poison, b.queue.words.place, left
}

func TestAGateEndsOnArrivalFailureAbortAndItsBound(t *testing.T) {
	for _, c := range []struct {
		name       string
		prepare    func(w *device.LaneWords, c *control)
		why, place uint32
		left       int
	}{
		{"arrived", func(w *device.LaneWords, c *control) { w.Ready.Store(5) }, healthy, 0, 4},
		{"more has arrived", func(w *device.LaneWords, c *control) { w.Ready.Store(6) }, healthy, 0, 4},
		{"arrived, then failed", func(w *device.LaneWords, c *control) { w.Ready.Store(5); w.Failed.Store(1) }, healthy, 0, 4},
		{"failed", func(w *device.LaneWords, c *control) { w.Ready.Store(4); w.Failed.Store(1) }, failed, 7, 1},
		{"aborted", func(w *device.LaneWords, c *control) { w.Ready.Store(4); c.abort = 1 }, aborted, 7, 1},
		{"never", func(w *device.LaneWords, c *control) { w.Ready.Store(4) }, late, 7, 1},
		{"far behind, counts having gone round", func(w *device.LaneWords, c *control) { w.Ready.Store(0xffffffff) }, late, 7, 1},
		{"poisoned before", func(w *device.LaneWords, c *control) { w.Ready.Store(5); c.poison, c.place = late, 3 }, late, 3, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			if why, place, left := gateRun(t, c.prepare); why != c.why || place != c.place || left != c.left {
				t.Errorf("poison %d by %d, %d of 4 sizes left; want %d by %d, %d", why, place, left, c.why, c.place, c.left)
			}
		})
	}
}

func TestAStepRunsWhenItsMessagesArrive(t *testing.T) {
	inBothWays(t, func(t *testing.T, o Options) {
		b := newBench(t, o)
		var other sync.WaitGroup
		var want uint32
		for seq := range uint32(9) {
			if seq%3 == 0 {
				b.exchange(seq)
			} else {
				b.pass(seq)
			}
			got := b.read()
			other.Go(func() {
				time.Sleep(time.Duration(seq%3) * 3 * time.Millisecond)
				b.send(seq, 100+seq)
				<-b.out.Signals()
				b.out.SetReady(seq + 1)
			})
			if err := b.wait(limit); err != nil {
				t.Fatal(err)
			}
			other.Wait()
			var answer uint32
			want, answer = mixed(want, 100+seq, seq)
			b.all(got, want)
			if n := b.out.Words.Bytes[seq%2].Load(); n != 4*words || b.out.Words.Done.Load() != seq+1 || b.in.Words.Done.Load() != seq+1 {
				t.Fatalf("message %d: %d bytes, %d signalled, %d used", seq, n, b.out.Words.Done.Load(), b.in.Words.Done.Load())
			}
			if v := binary.LittleEndian.Uint32(b.out.Slots[seq%2][4*(words-1):]); v != answer {
				t.Fatalf("answer %d is %#x, not %#x", seq, v, answer)
			}
		}
	})
}

func TestNothingIsComputedFromAMessageThatNeverComes(t *testing.T) {
	inBothWays(t, func(t *testing.T, o Options) {
		b := newBench(t, o)
		b.send(0, 5)
		b.exchange(0)
		b.pass(1)
		for range 2 * batchLaunches { // so that there are batches behind
			b.queue.Copy(b.sum, b.queue.order[0].slot(1), 8)
		}
		got := []uint32{77}
		b.queue.Read(bytesOf(got), b.sum)
		if err := b.wait(200 * time.Millisecond); !errors.As(err, new(*gpu.TimeoutError)) {
			t.Fatal(err)
		}
		want, _ := mixed(0, 5, 0)
		if v := binary.LittleEndian.Uint32(b.sum.Buffer.Bytes()); v != want || got[0] != 77 {
			t.Errorf("the sum is %#x, not %#x; what was read is %d", v, want, got[0])
		}
		if b.out.Words.Done.Load() != 1 || b.in.Words.Done.Load() != 1 {
			t.Errorf("%d messages are signalled, %d used", b.out.Words.Done.Load(), b.in.Words.Done.Load())
		}
		// The queue goes on.
		b.send(1, 6)
		b.exchange(1)
		after := b.read()
		if err := b.wait(limit); err != nil {
			t.Fatal(err)
		}
		want, _ = mixed(want, 6, 2)
		b.all(after, want)
	})
}

func TestAFailedLanesErrorIsTheWaits(t *testing.T) {
	inBothWays(t, func(t *testing.T, o Options) {
		b := newBench(t, o)
		b.exchange(0)
		cause := errors.New("the peer is gone")
		var other sync.WaitGroup
		other.Go(func() { time.Sleep(5 * time.Millisecond); b.in.Fail(cause) })
		if err := b.wait(limit); err != cause {
			t.Fatal(err)
		}
		other.Wait()
		if v := binary.LittleEndian.Uint32(b.sum.Buffer.Bytes()); v != 0 || b.out.Words.Done.Load() != 0 {
			t.Errorf("the sum is %d, %d messages are signalled", v, b.out.Words.Done.Load())
		}
	})
}

func TestAStepThatIsPoisonedGoesOnSplitAndRunsEachOperationOnce(t *testing.T) {
	for name, o := range map[string]Options{
		"bound":                 {Fast: true, Looks: 100, Patience: time.Hour},
		"patience, fast":        {Fast: true, Looks: 1 << 30, Patience: 5 * time.Millisecond},
		"patience, safe":        {Patience: 5 * time.Millisecond},
		"bound, halts":          {Fast: true, Coherent: true, Halts: true, Looks: 100, Patience: time.Hour},
		"patience, safe, halts": {Coherent: true, Halts: true, Patience: 5 * time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, o)
			var want uint32
			b.send(0, 7)
			b.exchange(0)
			b.pass(1)
			b.pass(2)
			got := b.read()
			var other sync.WaitGroup
			other.Go(func() {
				for seq := uint32(1); seq < 3; seq++ {
					time.Sleep(20 * time.Millisecond)
					for seq > b.in.Words.Done.Load()+1 { // its slot is not free
						time.Sleep(time.Millisecond)
					}
					b.send(seq, 7+seq)
				}
				time.Sleep(20 * time.Millisecond)
				b.out.SetReady(1)
			})
			if err := b.wait(limit); err != nil {
				t.Fatal(err)
			}
			other.Wait()
			for seq := range uint32(3) {
				want, _ = mixed(want, 7+seq, seq)
			}
			b.all(got, want)
			if n := b.out.Words.Done.Load(); n != 3 {
				t.Errorf("%d messages are signalled", n)
			}
		})
	}
}

func TestAMessageOfAnotherLengthIsAnError(t *testing.T) {
	for name, o := range map[string]Options{"whole": ways["fast"], "halted": ways["safe, halts"], "split": {Fast: true, Looks: 10, Patience: time.Hour}} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, o)
			b.pass(0)
			var other sync.WaitGroup
			other.Go(func() {
				time.Sleep(10 * time.Millisecond)
				b.in.Words.Bytes[0].Store(4*words - 1)
				b.in.SetReady(1)
			})
			wrong := new(device.LengthError)
			if err := b.wait(limit); !errors.As(err, &wrong) || *wrong != (device.LengthError{Seq: 0, Have: 4*words - 1, Want: 4 * words}) {
				t.Fatal(err)
			}
			other.Wait()
			if v := binary.LittleEndian.Uint32(b.sum.Buffer.Bytes()); v != 0 || b.out.Words.Done.Load() != 0 {
				t.Errorf("the sum is %d, %d messages are signalled", v, b.out.Words.Done.Load())
			}
		})
	}
}

func TestASplitStepStopsAtItsDeadlineAndAtAFailure(t *testing.T) {
	b := newBench(t, Options{Fast: true, Looks: 10, Patience: time.Hour})
	b.exchange(0)
	if err := b.wait(100 * time.Millisecond); !errors.As(err, new(*gpu.TimeoutError)) {
		t.Fatal(err)
	}
	b.exchange(0)
	cause := errors.New("the peer is gone")
	var other sync.WaitGroup
	other.Go(func() { time.Sleep(30 * time.Millisecond); b.in.Fail(cause) })
	if err := b.wait(limit); err != cause {
		t.Fatal(err)
	}
	other.Wait()
}

func TestALaunchThatOutlastsTheDeadlineIsWaitedForByTheNextWait(t *testing.T) {
	b := newBench(t, ways["safe"])
	hold, err := b.device.NewEvent()
	if err != nil {
		t.Fatal(err)
	}
	held, err := b.device.Submit([]Step{{Wait: hold, Count: 1}})
	if err != nil {
		t.Fatal(err)
	}
	b.queue.flying = append(b.queue.flying, flight{batch: held})
	b.queue.Copy(b.sum, b.queue.order[0].slot(0), 8)
	if err := b.wait(10 * time.Millisecond); !errors.As(err, new(*gpu.TimeoutError)) {
		t.Fatal(err)
	}
	for range 2 * batchLaunches {
		b.queue.Copy(b.sum, b.queue.order[0].slot(0), 8)
	}
	if b.queue.next != 0 {
		t.Error("a step is given to the device while the one that was given up runs")
	}
	hold.Set(1)
	if err := b.wait(limit); err != nil {
		t.Fatal(err)
	}
}

func TestCountsOfLanesGoRound(t *testing.T) {
	near := uint64(begin)
	var count uint32
	for range 100 {
		count += 0x0fffffff
		next := extend(near, count)
		if next-near != 0x0fffffff || uint32(next) != count {
			t.Fatalf("%#x after %#x is %#x", count, near, next)
		}
		near = next
	}
	if v := extend(near, count-1); v != near-1 {
		t.Errorf("one less than %#x is %#x", near, v)
	}
}

// drawnOptions are of a queue that waits in any way, more or less patiently.
func drawnOptions(t *rapid.T) Options {
	halts := rapid.Bool().Draw(t, "halts")
	return Options{Fast: rapid.Bool().Draw(t, "fast"), Coherent: halts, Halts: halts, Looks: uint32(rapid.SampledFrom([]int{0, 50, 1 << 30}).Draw(t, "looks")),
		Patience: time.Duration(rapid.SampledFrom([]int{0, 1, 1000}).Draw(t, "patience")) * time.Millisecond}
}

// Whatever is awaited, in whatever order messages come and however impatient the queue is, results are those of the messages in order.
func TestAnyScheduleGivesTheSameResult(t *testing.T) {
	if err := flag.Set("rapid.checks", "20"); err != nil { // each takes tens of milliseconds
		t.Fatal(err)
	}
	rapid.Check(t, func(t *rapid.T) {
		o := drawnOptions(t)
		steps := rapid.SliceOfN(rapid.IntRange(1, 3), 1, 4).Draw(t, "messages of each step")
		naps := rapid.SliceOfN(rapid.IntRange(0, 3), 16, 16).Draw(t, "naps")
		b := newBench(t, o)
		total := 0
		for _, n := range steps {
			total += n
		}
		var other sync.WaitGroup
		var wrong atomic.Uint32
		other.Go(func() { // the neighbour: it sends when there is room, and reads what comes
			var sum, read uint32
			for seq := uint32(0); int(read) < total; {
				time.Sleep(time.Duration(naps[(seq+read)%16]) * 200 * time.Microsecond)
				if int(seq) < total && seq < b.in.Words.Done.Load()+2 {
					b.send(seq, seq*seq)
					seq++
				}
				for ; read != b.out.Words.Done.Load(); read++ {
					var answer uint32
					sum, answer = mixed(sum, read*read, read)
					if binary.LittleEndian.Uint32(b.out.Slots[read%2]) != answer || binary.LittleEndian.Uint32(b.out.Slots[read%2][4*(words-1):]) != answer {
						wrong.Add(1)
					}
					b.out.SetReady(read + 1)
				}
			}
		})
		var want uint32
		seq := uint32(0)
		for _, n := range steps {
			for range n {
				if rapid.Bool().Draw(t, "passed") {
					b.pass(seq)
				} else {
					b.exchange(seq)
				}
				want, _ = mixed(want, seq*seq, seq)
				seq++
			}
			got := b.read()
			if err := b.wait(limit); err != nil {
				t.Fatal(err)
			}
			b.all(got, want)
		}
		other.Wait()
		if wrong.Load() != 0 {
			t.Errorf("%d answers are wrong", wrong.Load())
		}
	})
}
