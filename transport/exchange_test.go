package transport

import (
	"encoding/binary"
	"errors"
	"math"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/orrery-ai/orrery/attention"
	"github.com/orrery-ai/orrery/device"
	"github.com/orrery-ai/orrery/device/cpu"
)

// emulated is a stream of a device that runs beside the host: what is recorded runs on a thread of its
// own, in order, and it exchanges by itself. It computes with a CPU's stream.
type emulated struct {
	device.Stream
	ops  chan func() error
	idle chan error // answers an op that is nil: the error that stopped the stream

	frees []func() // of its lanes' memory
}

var _ device.Exchanger = (*emulated)(nil)

func newEmulated(t *testing.T) *emulated {
	t.Helper()
	c := cpu.New(1)
	e := &emulated{Stream: c.NewStream(), ops: make(chan func() error, 1000), idle: make(chan error)}
	var wg sync.WaitGroup
	wg.Go(func() {
		var failed error
		for op := range e.ops {
			switch {
			case op == nil:
				e.idle <- failed
			case failed == nil:
				failed = op()
			}
		}
	})
	t.Cleanup(func() {
		close(e.ops)
		wg.Wait()
		c.Close()
		for _, free := range e.frees {
			free()
		}
	})
	return e
}

// Add records an addition. Other operations are not recorded: nothing here uses them.
func (e *emulated) Add(dst, x device.Tensor) {
	e.ops <- func() error { e.Stream.Add(dst, x); return e.Stream.Wait() }
}

// Do records anything.
func (e *emulated) do(op func()) { e.ops <- func() error { op(); return nil } }

func (e *emulated) Wait() error { e.ops <- nil; return <-e.idle }

func (e *emulated) NewLane(end device.LaneEnd) (*device.Lane, error) {
	if end.Memory == nil {
		end.Memory = make([]byte, device.LaneBytes(end.Size))
	}
	if end.Free != nil {
		e.frees = append(e.frees, end.Free)
	}
	return device.NewLane(end.Memory, end, new(atomic.Uint32), nil), nil
}

func (e *emulated) Signal(l *device.Lane, seq uint32, n int) {
	e.do(func() {
		if l.Out {
			l.Words.Bytes[seq%2].Store(uint32(n))
		}
		l.Words.Done.Store(seq + 1)
		l.Signalled()
	})
}

func (e *emulated) Slot(l *device.Lane, seq uint32) []byte { return l.Slots[seq%2] }

func (e *emulated) Receive(l *device.Lane, seq uint32, dst ...[]byte) {
	n := 0
	for _, d := range dst {
		n += len(d)
	}
	e.Await(l, seq, n)
	e.do(func() {
		from := l.Slots[seq%2]
		for _, d := range dst {
			from = from[copy(d, from):]
		}
	})
	e.Signal(l, seq, 0)
}

func (e *emulated) Send(l *device.Lane, seq uint32, src []byte) {
	e.do(func() { copy(l.Slots[seq%2], src) })
	e.Signal(l, seq, len(src))
}

// FinishAll records nothing: nothing here uses it.
func (e *emulated) FinishAll(device.Tensor, attention.Partial, int) {}

func (e *emulated) Await(l *device.Lane, seq uint32, n int) {
	e.ops <- func() error {
		for !device.Reached(l.Words.Ready.Load(), l.Needs(seq)) {
			if l.Words.Failed.Load() != 0 && !device.Reached(l.Words.Ready.Load(), l.Needs(seq)) {
				return l.Err()
			}
			time.Sleep(10 * time.Microsecond)
		}
		if have := int(l.Words.Bytes[seq%2].Load()); n != 0 && have != n {
			return &device.LengthError{Seq: seq, Have: have, Want: n}
		}
		return nil
	}
}

// The test's messages are vectors.
const vector = 300

var sizes = LaneSizes{Sent: 4 * vector, Shared: 8 * vector}

func store(slot []byte, v []float32) {
	for i, x := range v {
		binary.LittleEndian.PutUint32(slot[4*i:], math.Float32bits(x))
	}
}

func load(v []float32, slot []byte) {
	for i := range v {
		v[i] = math.Float32frombits(binary.LittleEndian.Uint32(slot[4*i:]))
	}
}

// party is one end of an exchange by devices: it adds one to what comes, and sends that on.
type party struct {
	stream  *emulated
	in, out *device.Lane
	inbox   *Inbox
	outbox  *Outbox
	sum, on device.Tensor
	seq     uint32
}

// eachPath runs a test for each way that the messages of devices take.
func eachPath(t *testing.T, f func(t *testing.T, c Config)) {
	for name, c := range map[string]Config{
		"safe":                   {Synch: Safe},
		"fast, over connections": {Synch: Fast, NoSharedMemory: true},
		"in shared memory":       {Synch: Fast},
	} {
		t.Run(name, func(t *testing.T) { f(t, c) })
	}
}

func parties(t *testing.T, c Config) (a, b *Endpoint, x, y *party) {
	t.Helper()
	a, b = pair(t, c)
	x, y = between(t, a, b)
	return a, b, x, y
}

// between makes two ends that exchange.
func between(t *testing.T, a, b *Endpoint) (x, y *party) {
	t.Helper()
	x, y = newParty(t, a, "b", LaneKey{1, Partial}), newParty(t, b, "a", LaneKey{1, Query})
	x.open(t, a, "b", LaneKey{1, Query})
	y.open(t, b, "a", LaneKey{1, Partial})
	return x, y
}

func newParty(t *testing.T, e *Endpoint, peer string, in LaneKey) *party {
	t.Helper()
	p := &party{stream: newEmulated(t), sum: device.NewTensor(1, vector), on: device.NewTensor(1, vector)}
	for i := range p.on.Data {
		p.on.Data[i] = 1
	}
	var err error
	if p.inbox, err = e.Inbox(peer, in, sizes, p.maker(false)); err != nil {
		t.Fatal(err)
	}
	p.in = p.inbox.Lane()
	t.Cleanup(p.inbox.Close)
	return p
}

func (p *party) open(t *testing.T, e *Endpoint, peer string, out LaneKey) {
	t.Helper()
	var err error
	if p.outbox, err = e.Outbox(peer, out, sizes, p.maker(true)); err != nil {
		t.Fatal(err)
	}
	p.out = p.outbox.Lane()
	t.Cleanup(p.outbox.Close)
}

func (p *party) maker(out bool) MakeLane {
	return func(size int, memory []byte, free func()) (*device.Lane, error) {
		return p.stream.NewLane(device.LaneEnd{Size: size, Out: out, Spin: true, Memory: memory, Free: free})
	}
}

// send and receive record one message.
func (p *party) send() {
	seq := p.seq
	p.stream.Await(p.out, seq, 0)
	p.stream.do(func() { store(p.out.Slots[seq%2], p.sum.Data) })
	p.stream.Signal(p.out, seq, 4*vector)
}

func (p *party) receive(deadline time.Time) {
	seq := p.seq
	p.inbox.Expect(seq, deadline)
	p.stream.Await(p.in, seq, 4*vector)
	p.stream.do(func() { load(p.sum.Data, p.in.Slots[seq%2]) })
	p.stream.Signal(p.in, seq, 0)
	p.stream.Add(p.sum, p.on)
}

// Two devices pass a vector to and fro, and each adds one to it. All is recorded before any of it runs.
func TestDevicesExchangeAStepRecordedAhead(t *testing.T) {
	eachPath(t, func(t *testing.T, c Config) {
		_, _, x, y := parties(t, c)
		const exchanges = 100
		for step := range 2 {
			gate := make(chan struct{})
			for _, p := range []*party{x, y} {
				p.stream.do(func() { <-gate })
			}
			for range exchanges {
				x.send()
				x.receive(soon())
				y.receive(soon())
				y.send()
				x.seq, y.seq = x.seq+1, y.seq+1
			}
			close(gate)
			if err := errors.Join(x.stream.Wait(), y.stream.Wait()); err != nil {
				t.Fatal(err)
			}
			for i, v := range x.sum.Data {
				if want := float32(2 * exchanges * (step + 1)); v != want {
					t.Fatalf("element %d is %v, want %v", i, v, want)
				}
			}
		}
	})
}

func TestADeviceComputesNothingFromWhatHasNotCome(t *testing.T) {
	eachPath(t, func(t *testing.T, c Config) {
		for name, way := range map[string]struct {
			end   func(a, b *Endpoint, x *party)
			check func(t *testing.T, err error)
		}{
			"the peer closes": {func(_, b *Endpoint, _ *party) { b.Close() },
				func(t *testing.T, err error) { wantLost(t, err, "b", LaneKey{1, Partial}) }},
			"the peer is dropped": {func(a, _ *Endpoint, _ *party) { a.DropPeer("b", errors.New("dead")) },
				func(t *testing.T, err error) { wantLost(t, err, "b", LaneKey{1, Partial}) }},
			"the deadline passes": {func(_, _ *Endpoint, x *party) { x.inbox.Expect(3, past()) },
				func(t *testing.T, err error) {
					var late *ErrTimeout
					if !errors.As(err, &late) || *late != (ErrTimeout{"b", LaneKey{1, Partial}, 3}) {
						t.Errorf("error is %v, want a timeout for message 3", err)
					}
				}},
			"the host closes the lane": {func(_, _ *Endpoint, x *party) { x.inbox.Close() },
				func(t *testing.T, err error) {
					if !errors.Is(err, ErrClosed) {
						t.Errorf("error is %v", err)
					}
				}},
		} {
			t.Run(name, func(t *testing.T) {
				a, b, x, y := parties(t, c)
				for range 3 {
					x.send()
					x.receive(soon())
					y.receive(soon())
					y.send()
					x.seq, y.seq = x.seq+1, y.seq+1
				}
				if err := y.stream.Wait(); err != nil {
					t.Fatal(err)
				}
				for range 2 { // which y does not answer
					x.send()
					x.receive(soon())
					x.seq++
				}
				eventually(t, "what has come is used", func() bool { return x.in.Words.Done.Load() == 3 })
				way.end(a, b, x)
				for range 2 { // and so it stays
					way.check(t, x.stream.Wait())
				}
				if got := x.sum.Data[0]; got != 6 {
					t.Errorf("the sum is %v after 3 exchanges, want 6", got)
				}
			})
		}
	})
}

func TestADeviceLearnsThatItsMessagesAreNotWanted(t *testing.T) {
	eachPath(t, func(t *testing.T, c Config) {
		_, _, x, y := parties(t, c)
		y.inbox.Close()
		var err error
		eventually(t, "the lane fails", func() bool {
			x.send()
			x.seq++
			err = x.stream.Wait()
			return err != nil
		})
		if !isNoReceiver(err) {
			t.Errorf("error is %v", err)
		}
	})
}

func TestADeviceCannotSignalMoreThanItsSlotHolds(t *testing.T) {
	_, _, x, _ := parties(t, Config{Synch: Safe})
	x.stream.Signal(x.out, 0, 4*vector+1)
	x.stream.Await(x.out, 2, 0)
	if err := x.stream.Wait(); err == nil {
		t.Error("it did")
	}
}
